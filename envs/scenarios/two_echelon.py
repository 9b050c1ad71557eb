"""Supply from afar and from nearby, distribution centres that can help each other, stores.

Goods reach the distribution centres on any of the supplies of the configuration (sea, air, a
nearshore truck), stores are served from their own centre. Sizes of stores, popularity and value of
SKUs, promotions and places on the map are drawn from a seed of their own.

Goods keep their value: only what is paid above it is a cost, and a lost sale costs the margin. So
what every policy must pay is left out, and stock at the horizon needs no price.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from envs.dates import parse_start_date
from envs.errors import ConfigError
from envs.network.demand import Demand
from envs.network.lane import Allocation, Lane, LaneInput, Resource, ResourceUse, Speed
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.network.regime import MarkovChain, Regime, RegimeState
from envs.scenario import Scenario
from envs.scenarios.common import ScenarioConfig, make_scenario, must_be_days, pipeline, whole
from envs.scenarios.two_echelon_demand import MarketConfig, draw_demand
from envs.types import Floats


@dataclass  # not frozen: OmegaConf makes entries of frozen classes read-only
class SupplyEntry:
    """A way to get goods to the centres from outside."""

    lead_time: int  # periods; see `envs.network.lead_time.LeadTime`
    delay_mean: float  # periods
    delay_sd: float  # periods
    # price as a factor >= 1 on the SKU's value; what is above it is the lane's cost
    unit_cost: float
    co2: float  # kg per unit
    share: float = 1.0  # of what is ordered at its speed
    speed: Speed = Speed.regular
    capacity: float | None = None  # units per period, as a share of mean demand; null: no limit


@dataclass
class TransportConfig:
    """Transport inside the network."""

    lead_time: int  # periods
    unit_cost: float  # as a factor on the SKU's value
    co2: float  # kg per unit
    delay_mean: float = 0.0
    delay_sd: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TwoEchelonConfig(ScenarioConfig):
    """Supplies, centres, stores; shares are of the SKU's value."""

    structure_seed: int  # draws sizes and places
    centres: int
    stores: int
    skus: int
    value: float  # currency per unit of a typical SKU
    value_spread: float  # sd of its logarithm
    supplies: dict[str, SupplyEntry]  # name -> a way to the centres
    to_store: TransportConfig  # from a store's own centre
    # lanes both ways between neighbouring centres, of base share 0; null: none
    transshipment: TransportConfig | None
    centre_holding: float  # share per period
    store_holding: float  # share per period
    transit_holding: float  # share per period
    lost_sale: float  # share that a lost sale costs: the margin forgone and the ill will
    # whether centres learn how to share out what is scarce, beyond fair share
    learned_allocation: bool
    market: MarketConfig

    def __post_init__(self) -> None:
        for name in ("centres", "stores", "skus"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more.")
        if not self.supplies:
            raise ConfigError("supplies is empty; expected at least one way to the centres.")
        for name, supply in self.supplies.items():
            if not supply.unit_cost >= 1.0:
                raise ConfigError(
                    f"supplies.{name}: unit_cost is {supply.unit_cost}; expected a factor >= 1 on "
                    "the SKU's value, which is the lowest price."
                )


def build_two_echelon(config: TwoEchelonConfig) -> Scenario:
    """Build the scenario. Raises ConfigError or NetworkError."""
    rng = np.random.default_rng(config.structure_seed)
    must_be_days(config, "the market has days of the week")
    drawn = draw_demand(
        config.market,
        config.stores,
        config.skus,
        parse_start_date(config.start_date).weekday(),
        rng,
    )
    value = np.round(config.value * np.exp(config.value_spread * rng.normal(size=config.skus)), 2)
    parts = _Parts(config, drawn, value)
    centres = [f"centre_{i + 1}" for i in range(config.centres)]
    stores = [f"store_{i + 1:02d}" for i in range(config.stores)]
    network = SupplyNetwork(
        _place(centres, stores, rng),
        tuple(Sku(sku) for sku in parts.skus),
        tuple(parts.stocks(centres, stores)),
        tuple(parts.lanes(centres, stores)),
        tuple(parts.resources()),
        parts.regimes(),
        timing=config.timing,
    )
    return make_scenario(config, network)


class _Parts:
    """The pieces of the network, SKU by SKU."""

    def __init__(
        self, config: TwoEchelonConfig, demands: list[list[Demand]], value: Floats
    ) -> None:
        self._config, self._demands, self._value = config, demands, value  # demands [stores][skus]
        self.skus = [f"item_{k + 1:02d}" for k in range(config.skus)]
        self._mean = np.array([[d.mean for d in row] for row in demands])  # [stores, K] units
        own = np.arange(config.stores) % config.centres
        self._own = own  # [stores] the centre that serves it
        flow = [self._mean[own == i].sum(axis=0) for i in range(config.centres)]
        self._flow = np.array(flow)  # [centres, K] units per period

    def stocks(self, centres: list[str], stores: list[str]) -> Iterator[Stock]:
        config = self._config
        for k, sku in enumerate(self.skus):
            value = float(self._value[k])
            for i, centre in enumerate(centres):
                yield Stock(
                    centre,
                    sku,
                    holding_cost=config.centre_holding * value,
                    initial_stock=whole(7.0 * float(self._flow[i, k]), 1.0),
                    allocation=Allocation.fair_share,
                    learned_allocation=config.learned_allocation,
                )
            for j, store in enumerate(stores):
                yield Stock(
                    store,
                    sku,
                    holding_cost=config.store_holding * value,
                    lost_sale_cost=config.lost_sale * value,
                    p_wait=0.0,
                    initial_stock=whole(3.0 * float(self._mean[j, k]), 1.0),
                    demand=self._demands[j][k],
                    demand_regimes=(f"market of {sku}",) if config.market.swing > 0 else (),
                )

    def lanes(self, centres: list[str], stores: list[str]) -> Iterator[Lane]:
        config = self._config
        pairs = {(i, (i + 1) % len(centres)) for i in range(len(centres))}
        beside = sorted({p for a, b in pairs if a != b for p in ((a, b), (b, a))})
        total = {
            speed: sum(s.share for s in config.supplies.values() if s.speed is speed)
            for speed in Speed
        }
        for k in range(len(self.skus)):
            for i, centre in enumerate(centres):
                for name, supply in config.supplies.items():
                    flow = 0.0
                    if supply.speed is Speed.regular and total[Speed.regular] > 0.0:
                        flow = float(self._flow[i, k]) * supply.share / total[Speed.regular]
                    yield self._supply_lane(k, name, supply, centre, flow)
            for a, b in beside if config.transshipment is not None else ():
                assert config.transshipment is not None
                yield self._inner_lane(k, centres[a], centres[b], config.transshipment, 0.0)
            for j, store in enumerate(stores):
                source, flow = centres[self._own[j]], float(self._mean[j, k])
                yield self._inner_lane(k, source, store, config.to_store, flow)

    def _supply_lane(
        self, k: int, name: str, supply: SupplyEntry, centre: str, flow: float
    ) -> Lane:
        lead_time = LeadTime(supply.lead_time, supply.delay_mean, supply.delay_sd)
        value, limited = float(self._value[k]), supply.capacity is not None
        return Lane(
            f"{name} > {centre} {self.skus[k]}",
            centre,
            self.skus[k],
            lead_time,
            resources=(ResourceUse(name),) if limited else (),
            unit_cost=round((supply.unit_cost - 1.0) * value, 4),
            base_share=supply.share,
            order_multiple=1.0,
            speed=supply.speed,
            in_transit_cost=self._config.transit_holding * value,
            mode=name,
            co2=supply.co2,
            initial_in_transit=pipeline(flow, round(lead_time.mean()), 1.0) if flow > 0 else (),
        )

    def _inner_lane(
        self, k: int, source: str, to: str, transport: TransportConfig, flow: float
    ) -> Lane:
        """flow: units per period in regular use; 0: used only on request."""
        lead_time = LeadTime(transport.lead_time, transport.delay_mean, transport.delay_sd)
        value = float(self._value[k])
        return Lane(
            f"{source} > {to} {self.skus[k]}",
            to,
            self.skus[k],
            lead_time,
            inputs=(LaneInput(source, self.skus[k]),),
            unit_cost=round(transport.unit_cost * value, 4),
            base_share=1.0 if flow > 0.0 else 0.0,
            order_multiple=1.0,
            in_transit_cost=self._config.transit_holding * value,
            mode="truck",
            co2=transport.co2,
            initial_in_transit=pipeline(flow, transport.lead_time, 1.0) if flow > 0.0 else (),
        )

    def resources(self) -> Iterator[Resource]:
        for name, supply in self._config.supplies.items():
            if supply.capacity is not None:
                yield Resource(name, supply.capacity * float(self._flow.sum()))

    def regimes(self) -> tuple[Regime, ...]:
        market = self._config.market
        if market.swing <= 0.0:
            return ()
        low = RegimeState("low", demand=1.0 - market.swing)
        high = RegimeState("high", demand=1.0 + market.swing)
        leave = 1.0 / market.swing_periods
        stay, half = 1.0 - leave, 0.5 * leave
        moves = MarkovChain(((stay, leave, 0.0), (half, stay, half), (0.0, leave, stay)))
        states = (low, RegimeState("normal"), high)
        return tuple(Regime(f"market of {sku}", states, moves) for sku in self.skus)


def _place(centres: list[str], stores: list[str], rng: np.random.Generator) -> tuple[Node, ...]:
    """Centres on a line, each store about its own [km]."""
    nodes = [Node(name, "warehouse", position=(400.0 * i, 0.0)) for i, name in enumerate(centres)]
    for j, name in enumerate(stores):
        angle, far = rng.uniform(0.0, 2.0 * math.pi), rng.uniform(40.0, 160.0)
        x, y = 400.0 * (j % len(centres)) + far * math.cos(angle), far * math.sin(angle)
        nodes.append(Node(name, "store", position=(round(x, 1), round(y, 1))))
    return tuple(nodes)
