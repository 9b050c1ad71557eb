"""What a random network looks like: sizes, modes of transport, what can go wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

from envs.errors import ConfigError, did_you_mean
from envs.network.lane import Speed


class Mode(NamedTuple):
    """A way to carry goods. pace: km per period. handling: periods. cost: currency per tonne km.
    co2: kg per tonne km; orders of magnitude."""

    pace: float
    handling: int
    cost: float
    co2: float
    speed: Speed = Speed.regular


MODES = {
    "truck": Mode(600.0, 1, 0.10, 0.10),
    "rail": Mode(400.0, 2, 0.05, 0.025),
    "sea": Mode(250.0, 5, 0.01, 0.015),
    "air": Mode(5000.0, 1, 1.00, 0.90, Speed.expedite),
}


@dataclass(frozen=True)
class GenerateConfig:
    """What a random network looks like.

    suppliers, plants, warehouses, stores: nodes; suppliers are outside, without stock. 0 plants or
    warehouses leave the layer out. skus: items. pairs: about how many stocked pairs there are in
    all (stores leave SKUs out); null: every store stocks every SKU.
    plants_per_sku: plants that make a SKU, on average. sources_per_plant, sources_per_warehouse,
    sources_per_store: where a pair can come from, on average; the nearest is the regular source.
    alternate_share: base share of each other source, where the nearest has 1.
    modes: of goods into plants and warehouses; the first is the regular one. Stores: by truck.
    transshipment: lanes both ways between neighbouring warehouses, of base share 0.
    delay: mean and sd of random delays of goods into plants and warehouses [periods].
    demand_mean: units per period of a typical store pair. dispersion: variance / mean - 1 of
    demand (0: Poisson). p_wait: share of unmet customers who wait.
    utilisation: mean demand / capacity of the suppliers; 0: no limit.
    disruptions: suppliers are up, degraded or down. seen_after: see `envs.network.regime.Regime`.
    """

    seed: int
    suppliers: int
    plants: int
    warehouses: int
    stores: int
    skus: int
    pairs: int | None
    plants_per_sku: float
    sources_per_plant: float
    sources_per_warehouse: float
    sources_per_store: float
    alternate_share: float
    modes: list[str]
    transshipment: bool
    delay: float
    demand_mean: float
    dispersion: float
    p_wait: float
    utilisation: float
    disruptions: bool
    seen_after: int | None

    def __post_init__(self) -> None:
        least = {"suppliers": 1, "stores": 1, "skus": 1, "plants_per_sku": 1.0}
        least |= {"sources_per_plant": 1.0, "sources_per_warehouse": 1.0, "sources_per_store": 1.0}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int | float) and not least.get(item.name, 0) <= value < math.inf:
                raise ConfigError(
                    f"generate: {item.name} is {value}; expected a number >= "
                    f"{least.get(item.name, 0):g}."
                )
        if not self.modes or self.modes[0] not in MODES or MODES[self.modes[0]].speed != "regular":
            regular = [name for name, mode in MODES.items() if mode.speed is Speed.regular]
            raise ConfigError(
                f"generate: modes is {list(self.modes)}; expected the regular one first, of "
                f"{', '.join(regular)}."
            )
        for mode in self.modes:
            if mode not in MODES:
                raise ConfigError(f"generate: mode '{mode}' is unknown.{did_you_mean(mode, MODES)}")
        if not (self.p_wait <= 1.0 and self.demand_mean > 0.0):
            raise ConfigError(
                f"generate: p_wait is {self.p_wait} and demand_mean {self.demand_mean}; expected "
                "a share from 0 to 1 and a number > 0."
            )
