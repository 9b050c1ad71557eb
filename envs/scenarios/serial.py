"""A chain of stages: each orders from the next one up, the last from an outside supplier."""

from __future__ import annotations

from dataclasses import dataclass, field

from envs.errors import ConfigError
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, LaneInput, Resource, ResourceUse
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.scenario import Scenario
from envs.scenarios.common import ScenarioConfig, make_scenario


@dataclass  # not frozen: OmegaConf makes entries of frozen classes read-only
class StageConfig:
    """One stage."""

    holding_cost: float
    lead_time: int  # periods from shipping to arrival here
    initial_stock: float
    backlog_cost: float = 0.0
    lost_sale_cost: float = 0.0
    information_delay: int = 0  # periods until the next stage up sees this stage's order
    # units this stage ships per period, to the next stage or to customers
    capacity: float | None = None
    unit_cost: float = 0.0
    initial_in_transit: list[float] = field(default_factory=list)  # units by period of arrival
    initial_orders: list[float] = field(default_factory=list)  # units by period of arrival


@dataclass(frozen=True, kw_only=True)
class SerialConfig(ScenarioConfig):
    """A chain of stages."""

    demand: DemandConfig
    stages: dict[str, StageConfig]  # name -> stage, the one that faces the customer first
    order_multiple: float  # 1 for whole units, 0 for divisible ones
    p_wait: float = 1.0  # share of unmet customers who wait


def build_serial(config: SerialConfig) -> Scenario:
    """Build the scenario. Raises ConfigError or NetworkError."""
    if not config.stages:
        raise ConfigError("scenario.stages is empty; expected at least one stage.")
    demand = Demand.from_config(config.demand, config.warm_up + config.horizon + 1)
    names = list(config.stages)
    stocks, lanes, resources = [], [], []
    for i, (name, stage) in enumerate(config.stages.items()):
        above = names[i + 1] if i + 1 < len(names) else None
        stocks.append(
            Stock(
                name,
                "item",
                holding_cost=stage.holding_cost,
                backlog_cost=stage.backlog_cost,
                lost_sale_cost=stage.lost_sale_cost if i == 0 else 0.0,
                p_wait=config.p_wait if i == 0 else 1.0,
                serve_limit=_limit(stage) if i == 0 else float("inf"),
                initial_stock=stage.initial_stock,
                demand=demand if i == 0 else None,
            )
        )
        uses: tuple[ResourceUse, ...] = ()
        if above is not None and config.stages[above].capacity is not None:
            resources.append(Resource(f"{above} dock", _limit(config.stages[above])))
            uses = (ResourceUse(f"{above} dock"),)
        lanes.append(
            Lane(
                f"{above or 'supplier'} > {name}",
                name,
                "item",
                LeadTime(stage.lead_time),
                inputs=(LaneInput(above, "item"),) if above else (),
                resources=uses,
                unit_cost=stage.unit_cost,
                order_multiple=config.order_multiple,
                information_delay=stage.information_delay,
                initial_in_transit=tuple(stage.initial_in_transit),
                initial_orders=tuple(stage.initial_orders),
            )
        )
    network = SupplyNetwork(
        tuple(Node(name, name) for name in names),
        (Sku("item", max(stage.unit_cost for stage in config.stages.values())),),
        tuple(stocks),
        tuple(lanes),
        tuple(resources),
        timing=config.timing,
    )
    return make_scenario(config, network)


def _limit(stage: StageConfig) -> float:
    return float("inf") if stage.capacity is None else stage.capacity
