"""One warehouse behind N stores: who gets the scarce stock, and where should it wait?"""

from __future__ import annotations

from dataclasses import dataclass

from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Allocation, Lane, LaneInput
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.scenario import Scenario
from envs.scenarios.common import ScenarioConfig, make_scenario, pipeline, shortage_cost, whole


@dataclass(frozen=True, kw_only=True)
class OneWarehouseConfig(ScenarioConfig):
    """Costs: currency per unit (and period, for holding and backlog). Lead times: periods."""

    demand: DemandConfig
    stores: int  # how many
    skus: int  # items, each with the same demand process
    correlation: float  # share of the variance of demand that stores have in common
    warehouse_lead_time: int
    warehouse_holding_cost: float
    store_lead_time: int
    store_holding_cost: float
    lost_sale_cost: float | None  # this, or backlog_cost; the other is null
    allocation: Allocation  # how the warehouse shares what is scarce; fair_share: by days of cover
    backlog_cost: float | None = None
    order_multiple: float = 1.0
    learned_allocation: bool = False  # whether the warehouse's agent moves that


def build_one_warehouse(config: OneWarehouseConfig) -> Scenario:
    """Build the scenario. Raises ConfigError or NetworkError."""
    demand = Demand.from_config(
        config.demand, config.warm_up + config.horizon + 1, correlation=config.correlation
    )
    shortage = shortage_cost(config.backlog_cost, config.lost_sale_cost)
    multiple, mean = config.order_multiple, demand.mean
    skus = [Sku(f"item_{k:02d}") for k in range(config.skus)]
    stores = [f"store_{i:03d}" for i in range(config.stores)]
    stocks, lanes = [], []
    for sku in skus:
        total = mean * len(stores)
        stocks.append(
            Stock(
                "warehouse",
                sku.id,
                holding_cost=config.warehouse_holding_cost,
                initial_stock=whole(total, multiple),
                allocation=config.allocation,
                learned_allocation=config.learned_allocation,
            )
        )
        lanes.append(
            Lane(
                f"supplier > warehouse {sku.id}",
                "warehouse",
                sku.id,
                LeadTime(config.warehouse_lead_time),
                order_multiple=multiple,
                initial_in_transit=pipeline(total, config.warehouse_lead_time, multiple),
            )
        )
        for store in stores:
            stocks.append(
                Stock(
                    store,
                    sku.id,
                    holding_cost=config.store_holding_cost,
                    initial_stock=whole(mean + demand.standard_deviation, multiple),
                    demand=demand,
                    **shortage,
                )
            )
            lanes.append(
                Lane(
                    f"warehouse > {store} {sku.id}",
                    store,
                    sku.id,
                    LeadTime(config.store_lead_time),
                    inputs=(LaneInput("warehouse", sku.id),),
                    order_multiple=multiple,
                    initial_in_transit=pipeline(mean, config.store_lead_time, multiple),
                )
            )
    network = SupplyNetwork(
        (Node("warehouse", "warehouse"), *(Node(store, "store") for store in stores)),
        tuple(skus),
        tuple(stocks),
        tuple(lanes),
        timing=config.timing,
    )
    return make_scenario(config, network)
