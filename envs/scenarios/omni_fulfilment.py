"""Order to node: customers in zones are served from distribution centres and from stores.

A zone is a node that holds no stock: its customers' orders wait there, its agent orders exactly
that from the nodes that can send it, and delivery is the arrival. Stores also sell over the
counter. Demand is seen before orders; what a node can't send at once is cancelled, so that the
zone orders elsewhere the next day.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, LaneInput
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.scenario import Scenario
from envs.scenarios.common import ScenarioConfig, make_scenario, pipeline, whole

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class OmniFulfilmentConfig(ScenarioConfig):
    """Nodes stand at random places of a square map, 100 km a side."""

    seed: int  # draws the places
    centres: int
    stores: int
    zones: int
    skus: int
    zone_demand: DemandConfig  # per SKU and day
    store_demand: DemandConfig  # per SKU and day
    zone_sources: list[int]  # nearest centres and stores that serve a zone
    delivery_cost: list[float]  # currency per unit, and per unit and km
    pick_cost: list[float]  # currency per unit at a centre, and at a store
    wait_cost: float  # currency per unit and day a customer waits
    # currency per unit and day in a zone that nobody there waits for: zones are no warehouses
    unasked_cost: float
    lost_sale_cost: float
    holding_cost: list[float]
    supplier_lead_time: int
    store_lead_time: int
    store_capacity: float  # units of all SKUs on a store's shelves
    day_trip: float  # km that can be delivered the next day; farther takes two


def build_omni_fulfilment(config: OmniFulfilmentConfig) -> Scenario:
    """Build the scenario. Raises ConfigError or NetworkError."""
    rng = np.random.default_rng(config.seed)
    periods = config.warm_up + config.horizon + 1
    zone_demand = Demand.from_config(config.zone_demand, periods)
    store_demand = Demand.from_config(config.store_demand, periods)

    def places(prefix: str, count: int) -> dict[str, Point]:
        drawn = rng.uniform(0.0, 100.0, (count, 2)).round(1).tolist()
        return {f"{prefix}_{i + 1:02d}": (x, y) for i, (x, y) in enumerate(drawn)}

    centres = places("centre", config.centres)
    stores = places("store", config.stores)
    zones = places("zone", config.zones)
    near = {store: _nearest(centres, place, 1)[0] for store, place in stores.items()}
    stocks: list[Stock] = []
    lanes: list[Lane] = []
    for k in range(config.skus):
        sku = f"item_{k + 1}"
        for centre in centres:
            served = sum(centre == c for c in near.values()) * store_demand.mean
            served += zone_demand.mean * config.zones / config.centres
            stocks.append(
                Stock(centre, sku, config.holding_cost[0], initial_stock=whole(4 * served, 1.0))
            )
            lanes.append(
                Lane(
                    f"supplier > {centre} {sku}",
                    centre,
                    sku,
                    LeadTime(config.supplier_lead_time),
                    order_multiple=1.0,
                    initial_in_transit=pipeline(served, config.supplier_lead_time, 1.0),
                )
            )
        for store, place in stores.items():
            stocks.append(
                Stock(
                    store,
                    sku,
                    config.holding_cost[1],
                    lost_sale_cost=config.lost_sale_cost,
                    p_wait=0.0,
                    initial_stock=whole(3 * store_demand.mean, 1.0),
                    demand=store_demand,
                )
            )
            lanes.append(_replenish(config, near[store], store, centres[near[store]], place, sku))
        for zone, place in zones.items():
            stocks.append(
                Stock(
                    zone,
                    sku,
                    holding_cost=config.unasked_cost,
                    backlog_cost=config.wait_cost,
                    demand=zone_demand,
                )
            )
            lanes += _deliveries(config, zone, place, centres, stores, sku)
    kinds = (("centre", centres), ("store", stores), ("zone", zones))
    network = SupplyNetwork(
        tuple(
            Node(n, kind, config.store_capacity if kind == "store" else math.inf, position=p)
            for kind, group in kinds
            for n, p in group.items()
        ),
        tuple(Sku(f"item_{k + 1}") for k in range(config.skus)),
        tuple(stocks),
        tuple(lanes),
        timing=config.timing,
    )
    return make_scenario(config, network)


def _nearest(places: dict[str, Point], to: Point, count: int) -> list[str]:
    return sorted(places, key=lambda name: math.dist(places[name], to))[:count]


def _replenish(
    config: OmniFulfilmentConfig, centre: str, store: str, start: Point, end: Point, sku: str
) -> Lane:
    return Lane(
        f"{centre} > {store} {sku}",
        store,
        sku,
        LeadTime(config.store_lead_time),
        (LaneInput(centre, sku),),
        unit_cost=0.1 * config.delivery_cost[1] * math.dist(start, end),  # full trucks
        order_multiple=1.0,
        mode="truck",
    )


def _deliveries(
    config: OmniFulfilmentConfig,
    zone: str,
    place: Point,
    centres: dict[str, Point],
    stores: dict[str, Point],
    sku: str,
) -> list[Lane]:
    """Lanes from the nearest centres and stores; the cheapest is the regular one."""
    per_unit, per_km = config.delivery_cost
    lanes = []
    for places, count, pick in zip(
        (centres, stores), config.zone_sources, config.pick_cost, strict=True
    ):
        for source in _nearest(places, place, count):
            distance = math.dist(places[source], place)
            lanes.append(
                Lane(
                    f"{source} > {zone} {sku}",
                    zone,
                    sku,
                    LeadTime(1 if distance <= config.day_trip else 2),
                    (LaneInput(source, sku),),
                    unit_cost=round(pick + per_unit + per_km * distance, 3),
                    base_share=0.0,
                    order_multiple=1.0,
                    mode="parcel",
                )
            )
    cheapest = min(range(len(lanes)), key=lambda i: lanes[i].unit_cost)
    return [
        Lane(**{**vars(lane), "base_share": float(i == cheapest)}) for i, lane in enumerate(lanes)
    ]
