"""Real demand: the busiest stores of a grocery panel behind one or two warehouses.

Demand and promotions are those of the Complete Journey data set; suppliers, warehouses, lead times
and costs are ours. Sales stand for demand: the data hold no stock-outs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.data.grocery import GroceryDemand
from envs.data.grocery_files import load_grocery_demand
from envs.errors import ConfigError
from envs.network.demand import Demand
from envs.network.lane import Lane, LaneInput
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.scenario import Scenario, Split
from envs.scenarios.common import ScenarioConfig, make_scenario, must_be_days, pipeline, whole

_LEAST_MEAN = 0.02  # units per day; pairs that never sold in training still need a scale


@dataclass(frozen=True, kw_only=True)
class RetailConfig(ScenarioConfig):
    """Lead times: days."""

    stores: int  # the busiest ones on training weeks
    items: int  # the same
    grain: str  # product_category | product_type
    hold_out_stores: int  # take the next busiest stores instead, to test transfer
    volume_scale: float  # factor from the household panel to whole stores
    warehouses: int  # stores are dealt out to them in turn
    supplier_lead_time: int
    supplier_delay_mean: float
    supplier_delay_sd: float
    store_lead_time: int
    store_holding_rate: float  # share of the price per day (capital, space, spoilage)
    warehouse_holding_rate: float  # the same
    lost_margin: float  # share of the price that a lost sale costs
    store_pack: float
    warehouse_pack: float


def build_retail(config: RetailConfig) -> Scenario:
    """Build the scenario. Raises DataError where the data are missing, ConfigError."""
    if config.warehouses < 1:
        raise ConfigError(f"scenario.warehouses is {config.warehouses}; expected 1 or more.")
    must_be_days(config, "the data are")
    data = load_grocery_demand(
        config.stores,
        config.items,
        grain=config.grain,
        hold_out_stores=config.hold_out_stores,
        volume_scale=config.volume_scale,
    )
    warehouses = [f"warehouse_{w + 1}" for w in range(config.warehouses)]
    stores = [f"store_{store}" for store in data.store_ids]
    mean = np.maximum(data.train_mean, _LEAST_MEAN)
    parts: list[tuple[Stock, Lane]] = []
    for w, warehouse in enumerate(warehouses):
        own = list(range(w, len(stores), len(warehouses)))
        for k in range(len(data.item_ids)):
            parts.append(_at_warehouse(config, data, warehouse, k, float(mean[own, k].sum())))
            for s in own:
                parts.append(_at_store(config, data, warehouse, s, k, float(mean[s, k])))
    nodes = [Node(w, "warehouse") for w in warehouses] + [Node(s, "store") for s in stores]
    # A lost sale costs the margin, what is left over keeps its value: purchases then cancel out.
    skus = tuple(Sku(item) for item in data.item_ids)
    stocks, lanes = zip(*parts, strict=True)
    network = SupplyNetwork(tuple(nodes), skus, stocks, lanes, timing=config.timing)
    splits = {name: Split(*getattr(data, name)) for name in ("train", "tune", "test")}
    start = config.start_date or str(data.dates[0])
    return make_scenario(config, network, splits=splits, data_hash=data.data_hash, start_date=start)


def _at_warehouse(
    config: RetailConfig, data: GroceryDemand, warehouse: str, k: int, mean: float
) -> tuple[Stock, Lane]:
    """Item k at a warehouse; mean: units per day of all its stores."""
    item, pack = data.item_ids[k], config.warehouse_pack
    stock = Stock(
        warehouse,
        item,
        holding_cost=config.warehouse_holding_rate * float(data.unit_price[k]),
        initial_stock=whole(3 * mean, pack),
    )
    lane = Lane(
        f"supplier > {warehouse} {item}",
        warehouse,
        item,
        LeadTime(config.supplier_lead_time, config.supplier_delay_mean, config.supplier_delay_sd),
        order_multiple=pack,
        initial_in_transit=pipeline(mean, config.supplier_lead_time, 1.0),
    )
    return stock, lane


def _at_store(
    config: RetailConfig, data: GroceryDemand, warehouse: str, s: int, k: int, mean: float
) -> tuple[Stock, Lane]:
    """Item k at store s, from its warehouse; mean: units per day."""
    store, item, price = f"store_{data.store_ids[s]}", data.item_ids[k], float(data.unit_price[k])
    trained = slice(*data.train)
    factor = np.maximum(data.multiplier[:, s, k], 1e-6)
    level = data.quantity[trained, s, k] / factor[trained]
    demand = Demand(
        mean,
        float(max(level.std(), np.sqrt(mean))),
        history=data.quantity[:, s, k],
        multiplier=data.multiplier[:, s, k],
    )
    stock = Stock(
        store,
        item,
        holding_cost=config.store_holding_rate * price,
        lost_sale_cost=config.lost_margin * price,
        p_wait=0.0,
        initial_stock=whole(3 * mean, config.store_pack),
        demand=demand,
    )
    lane = Lane(
        f"{warehouse} > {store} {item}",
        store,
        item,
        LeadTime(config.store_lead_time),
        inputs=(LaneInput(warehouse, item),),
        order_multiple=config.store_pack,
        initial_in_transit=pipeline(mean, config.store_lead_time, config.store_pack),
    )
    return stock, lane
