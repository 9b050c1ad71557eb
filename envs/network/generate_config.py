"""What a random network looks like: sizes, modes of transport, what can go wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

from envs.errors import ConfigError, did_you_mean
from envs.network.lane import Speed


class Mode(NamedTuple):
    """A way to carry goods; orders of magnitude."""

    pace: float  # km per period
    handling: int  # periods
    cost: float  # currency per tonne km
    co2: float  # kg per tonne km
    speed: Speed = Speed.regular


MODES = {
    "truck": Mode(600.0, 1, 0.10, 0.10),
    "rail": Mode(400.0, 2, 0.05, 0.025),
    "sea": Mode(250.0, 5, 0.01, 0.015),
    "air": Mode(5000.0, 1, 1.00, 0.90, Speed.expedite),
}


@dataclass(frozen=True)
class GenerateConfig:
    """What a random network looks like."""

    seed: int
    suppliers: int  # outside, without stock
    plants: int  # 0: no such layer
    warehouses: int  # 0: no such layer
    stores: int
    skus: int  # items
    # about how many stocked pairs, as stores leave SKUs out; null: none is left out
    pairs: int | None
    plants_per_sku: float  # plants that make a SKU, on average
    # where a pair can come from, on average; the nearest is the regular source
    sources_per_plant: float
    sources_per_warehouse: float
    sources_per_store: float
    alternate_share: float  # base share of each other source, where the nearest has 1
    # of goods into plants and warehouses; the first is the regular one. Stores: by truck
    modes: list[str]
    transshipment: bool  # lanes both ways between neighbouring warehouses, of base share 0
    delay: float  # mean and sd of random delays of goods into plants and warehouses [periods]
    demand_mean: float  # units per period of a typical store pair
    dispersion: float  # variance / mean - 1 of demand; 0: Poisson
    p_wait: float  # share of unmet customers who wait
    utilisation: float  # mean demand / capacity of the suppliers; 0: no limit
    disruptions: bool  # suppliers are up, degraded or down
    seen_after: int | None  # see `envs.network.regime.Regime`

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
