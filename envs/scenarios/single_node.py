"""One stock point, one SKU, one outside supplier: the textbook problems."""

from __future__ import annotations

from dataclasses import dataclass

from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.scenario import Scenario
from envs.scenarios.common import ScenarioConfig, make_scenario, pipeline, shortage_cost, whole


@dataclass(frozen=True, kw_only=True)
class SingleNodeConfig(ScenarioConfig):
    """Costs: currency per unit (and period, for holding and backlog). Lead times: periods."""

    demand: DemandConfig
    lead_time: int
    holding_cost: float
    lead_time_delay_mean: float = 0.0
    lead_time_delay_sd: float = 0.0
    backlog_cost: float | None = None  # either: customers wait
    lost_sale_cost: float | None = None  # or: customers leave
    unit_cost: float = 0.0
    fixed_cost: float = 0.0
    order_multiple: float = 1.0  # 1 for whole units, 0 for divisible ones
    # units; null: one period's demand plus what the pipeline doesn't hold
    initial_stock: float | None = None


def build_single_node(config: SingleNodeConfig) -> Scenario:
    """Build the scenario. Raises ConfigError or NetworkError."""
    demand = Demand.from_config(config.demand, config.warm_up + config.horizon + 1)
    lead_time = LeadTime(config.lead_time, config.lead_time_delay_mean, config.lead_time_delay_sd)
    initial = config.initial_stock
    if initial is None:
        initial = whole(demand.mean + demand.standard_deviation, config.order_multiple)
    stock = Stock(
        "store",
        "item",
        holding_cost=config.holding_cost,
        initial_stock=initial,
        demand=demand,
        **shortage_cost(config.backlog_cost, config.lost_sale_cost),
    )
    lane = Lane(
        "supplier > store",
        "store",
        "item",
        lead_time,
        unit_cost=config.unit_cost,
        fixed_cost=config.fixed_cost,
        order_multiple=config.order_multiple,
        initial_in_transit=pipeline(demand.mean, config.lead_time, config.order_multiple),
    )
    network = SupplyNetwork(
        (Node("store", "store"),),
        (Sku("item", config.unit_cost),),
        (stock,),
        (lane,),
        timing=config.timing,
    )
    return make_scenario(config, network)
