"""What is always true of a simulated supply network, as checks on a recorded run.

The laws work from the network's definition, not from its compiled arrays, and look at every
period. `test_properties.py` runs them on random networks, and `test_mutations.py` proves that they
bite, on simulators with a bug planted.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from envs.compiled.arrays import CostColumn
from envs.network.lane import Limits
from envs.network.network import InTransitPayer, ServeOrder, Unfilled
from envs.simulation.whole_units import rounding_of
from tests.envs.lane_laws import LANE_LAWS, limits_of_orders
from tests.envs.runs import Bools, Floats, Run, at_most, same

__all__ = ["LAWS", "costs_add_up"]


def units_are_conserved(run: Run) -> None:
    """Per SKU: initial + bought + produced - consumed = on hand + in transit + sold + scrapped."""
    skus = [s.id for s in run.network.skus]
    of_pair = np.array([[float(s.sku == k) for s in run.network.stocks] for k in skus])
    of_lane = np.array([[float(q.sku == k) for q in run.network.lanes] for k in skus])
    started = of_pair @ run.per_pair("initial_stock")
    started = started + of_lane @ np.array([[sum(q.initial_in_transit)] for q in run.network.lanes])
    moved = (of_lane - of_pair @ run.consumes) @ np.cumsum(run.flows.shipped, axis=0)
    sold = np.cumsum(run.flows.sold + run.flows.backlog_served, axis=0)
    where = of_pair @ (run.closed.on_hand + sold) + of_lane @ run.closed.in_transit.sum(axis=2)
    scrapped = of_lane @ np.cumsum(run.flows.scrapped, axis=0)
    same("units of a SKU", where + scrapped, started + moved)


def shelves_balance(run: Run) -> None:
    """Per pair: on hand = initial + received - consumed by lanes - sold."""
    flows = run.flows
    change = run.delivers @ flows.received - run.consumes @ flows.shipped
    change = change - flows.sold - flows.backlog_served
    same(
        "on hand",
        run.closed.on_hand,
        run.per_pair("initial_stock") + np.cumsum(change, axis=0),
    )


def lanes_conserve_orders(run: Run) -> None:
    """Per lane: initial + ordered = shipped + owed + on the way to the sender + cancelled."""
    started = np.array([[sum(q.initial_orders)] for q in run.network.lanes])
    ended = np.cumsum(run.flows.shipped + run.flows.cancelled, axis=0) + run.closed.owed
    same(
        "orders of a lane",
        ended + run.closed.orders_on_way.sum(axis=2),
        started + np.cumsum(run.flows.ordered, axis=0),
    )
    same(
        "orders_on_way_total", run.closed.orders_on_way_total, run.closed.orders_on_way.sum(axis=2)
    )
    if run.network.timing.unfilled is Unfilled.backlog:
        same("cancelled", run.flows.cancelled, np.zeros_like(run.flows.cancelled))


def lanes_conserve_goods(run: Run) -> None:
    """Per lane: initially in transit + shipped = received + scrapped + in transit."""
    started = np.array([[sum(q.initial_in_transit)] for q in run.network.lanes])
    same(
        "goods of a lane",
        np.cumsum(run.flows.received + run.flows.scrapped, axis=0)
        + run.closed.in_transit.sum(axis=2),
        started + np.cumsum(run.flows.shipped, axis=0),
    )
    same("in_transit_total", run.closed.in_transit_total, run.closed.in_transit.sum(axis=2))


def demand_is_conserved(run: Run) -> None:
    """Demand = sold + newly backlogged + lost; p_wait of the unmet waits; oldest first."""
    flows, pairs = run.flows, run.net.customer_pair
    same("demand", flows.demand[:, pairs], run.demand)
    unmet = flows.demand - flows.sold
    waits = run.per_pair("p_wait") * unmet
    for t in range(len(waits)):
        rounded = np.floor(waits[t] + max(rounding_of(t), 1e-9))
        waits[t] = np.where(_whole_pairs(run), rounded, waits[t])
    same("lost", flows.lost, unmet - waits)
    before = np.concatenate([np.zeros_like(unmet[:1]), run.closed.backorders[:-1]])
    same("backlog", run.closed.backorders, before + unmet - flows.lost - flows.backlog_served)
    at_most("backlog served", flows.backlog_served, before)
    waiting = before - flows.backlog_served
    same("backlog overtaken by new demand", np.where(flows.sold > 1e-9, waiting, 0.0), 0 * waiting)
    at_most("served", flows.sold + flows.backlog_served, run.per_pair("serve_limit"))


def customers_get_what_is_there(run: Run) -> None:
    """Nobody is turned away while there is stock and the limit isn't reached."""
    first = run.network.timing.demand is ServeOrder.first
    shelf = (run.opened if first else run.closed).on_hand
    served = run.flows.sold + run.flows.backlog_served
    limit = run.per_pair("serve_limit")
    limit = np.where(_whole_pairs(run), np.floor(limit), limit)
    left = np.minimum(shelf, limit - served)
    turned_away = run.flows.demand - run.flows.sold > 1e-9
    same("stock kept from customers", np.where(turned_away, left, 0.0), 0.0 * left)


def _whole_pairs(run: Run) -> Bools:
    """[P, 1] whether the SKU comes in whole units."""
    return np.array([[s.sku in run.whole] for s in run.network.stocks])


def whole_units_stay_whole(run: Run) -> None:
    """No part of a unit is ordered, asked for, owed, shipped, taken by production, on its way, let
    in, scrapped, stocked, sold, waited for, lost or cancelled."""
    lanes = np.array([[q.sku in run.whole] for q in run.network.lanes])
    pairs, flows = _whole_pairs(run), run.flows
    for name in ("ordered", "shipped", "cancelled", "received", "scrapped"):
        same(name, *_parts(lanes, getattr(flows, name)))
    for name in ("demand", "sold", "backlog_served", "lost", "requested"):
        same(name, *_parts(pairs, getattr(flows, name)))
    same("taken by lanes", *_parts(pairs, run.consumes @ flows.shipped))
    for state in (run.opened, run.closed):
        for name in ("on_hand", "backorders"):
            same(name, *_parts(pairs, getattr(state, name)))
        for name in ("owed", "in_transit_total", "orders_on_way_total"):
            same(name, *_parts(lanes, getattr(state, name)))
        for name in ("in_transit", "orders_on_way"):
            same(name, *_parts(lanes[:, None], getattr(state, name)))


def _parts(is_whole: Bools, values: Floats) -> tuple[Floats, Floats]:
    return np.where(is_whole, values, 0.0), np.where(is_whole, np.round(values), 0.0)


def nothing_is_negative(run: Run) -> None:
    """Stock, backlog, pipelines and flows stay at or above zero."""
    signed = {"inventory_level", "inventory_position", "echelon_inventory_position",
              "expedite_position", "raw_order", "oldest"}  # fmt: skip
    for record_ in (run.opened, run.closed, run.flows):
        for name, values in record_._asdict().items():
            if name not in signed | {"cost", "total_cost", "resource_left"}:
                assert np.isfinite(values).all(), f"{name} isn't finite"
                at_most(f"minus {name}", -values, 0.0)


def costs_add_up(run: Run) -> None:
    """Every column follows from states and flows; the total is their sum."""
    flows, closed, cost = run.flows, run.closed, run.flows.cost
    same("total cost", flows.total_cost, cost.sum(axis=1))
    price = run.per_lane("unit_cost") * run.multiplier("cost")
    fixed = run.per_lane("fixed_cost") * (flows.ordered > 0)
    joint, loads = _costs_of_use(run)
    holding = run.per_pair("holding_cost")
    own = np.array([[q.unfilled_cost is not None] for q in run.network.lanes])
    unfilled = np.array([[q.unfilled_cost or 0.0] for q in run.network.lanes])
    waiting = closed.backorders + run.consumes @ np.where(own, 0.0, closed.owed)
    expected = {
        CostColumn.HOLDING: holding * closed.on_hand,
        CostColumn.BACKLOG: run.per_pair("backlog_cost") * waiting
        + run.sends @ (unfilled * closed.owed),
        CostColumn.LOST_SALE: run.per_pair("lost_sale_cost") * flows.lost
        + run.sends @ (unfilled * flows.cancelled),
        CostColumn.REVENUE: -run.per_pair("price") * (flows.sold + flows.backlog_served)
        - run.sends @ (run.per_lane("price") * flows.shipped),
        CostColumn.PURCHASE: run.delivers @ (price * flows.shipped),
        CostColumn.FIXED_ORDER: run.delivers @ (fixed + joint),
        CostColumn.LOAD: run.delivers @ loads,
        CostColumn.SALVAGE: 0.0 * holding * closed.on_hand,
    }
    for column, wanted in expected.items():
        same(column.name, cost[:, column], wanted)
    on_way = closed.in_transit.sum(axis=2)
    own = np.array([[q.in_transit_cost is not None] for q in run.network.lanes])  # payer: receiver
    usual = np.where(own, 0.0, on_way)
    charged = {
        InTransitPayer.nobody: 0.0 * holding * closed.on_hand,
        InTransitPayer.receiver: holding * (run.delivers @ usual),
        InTransitPayer.sender: np.einsum("pq,tqb->tpb", holding * run.consumes, usual),
    }[run.network.timing.in_transit_payer]
    rate = np.array([[q.in_transit_cost or 0.0] for q in run.network.lanes])
    charged = charged + run.delivers @ (rate * on_way)
    in_transit = cost[:, CostColumn.IN_TRANSIT]
    same("in-transit cost of the network", in_transit.sum(axis=1), charged.sum(axis=1))
    if all(len(q.inputs) < 2 for q in run.network.lanes):
        same("in-transit cost", in_transit, charged)


def _costs_of_use(run: Run) -> tuple[Floats, Floats]:
    """[T, Q, B] every lane's part, by use, of joint fixed costs and of loads begun; what regimes
    make of a lane's costs, they make of its loads."""
    flows, factor = run.flows, run.multiplier("cost")
    own = [(q.load_size, q.load_cost) for q in run.network.lanes]
    size = np.array([[load_size or math.inf] for load_size, _ in own])
    rate = np.array([[load_cost] for _, load_cost in own])
    joint = np.zeros_like(flows.shipped)
    loads = np.ceil(flows.shipped / size - 1e-9) * rate * factor
    for r, resource in enumerate(run.network.resources):
        flow = flows.ordered if resource.limits is Limits.orders else flows.shipped
        use = run.uses[r][:, None] * flow
        used = use.sum(axis=1)
        same(f"use of {resource.id}", flows.resource_used[:, r], used)
        part = use / np.maximum(used, 1e-9)[:, None]
        joint += part * (resource.fixed_cost * (used > 1e-9))[:, None]
        if resource.load_size is not None:
            begun = np.ceil(used / resource.load_size - 1e-9)
            loads += part * (resource.load_cost * begun)[:, None] * factor
    return joint, loads


def what_a_scarce_limit_leaves_is_told(run: Run) -> None:
    """Unused is what is left of a resource, or of room at a node, that lanes wanted more of than
    there was, else 0."""
    for r, resource in enumerate(run.network.resources):
        unused = run.flows.limit_unused[:, r]
        left = np.where(unused > 0.0, run.capacity[:, r] - run.flows.resource_used[:, r], 0.0)
        if resource.limits is Limits.shipments:
            there = run.capacity[:, r]
            need = (run.uses[r][:, None] * run.wanted_at_ship).sum(axis=1)
            at_most(f"wanted of {resource.id}", np.where(unused > 0.0, there, 0.0), need)
            is_scarce = need > there + 1e-6 * (1.0 + there)
            left = np.where(is_scarce, there - run.flows.resource_used[:, r], left)
        same(f"unused of {resource.id}", unused, left)
    rooms = [n.id for n in run.network.nodes if np.isfinite(n.storage_capacity)]
    limits = limits_of_orders(run)
    for node, (use, there) in zip(rooms, limits[len(limits) - len(rooms) :], strict=True):
        unused = run.flows.limit_unused[:, run.net.limit_ids.index(f"storage of {node}")]
        rest = there - (use[:, None] * run.flows.ordered).sum(axis=1)
        same(f"unused room at {node}", unused, np.where(unused > 0.0, rest, 0.0))


LAWS: dict[str, Callable[[Run], None]] = {
    law.__name__: law
    for law in (
        units_are_conserved,
        shelves_balance,
        lanes_conserve_orders,
        lanes_conserve_goods,
        demand_is_conserved,
        customers_get_what_is_there,
        whole_units_stay_whole,
        nothing_is_negative,
        costs_add_up,
        what_a_scarce_limit_leaves_is_told,
        *LANE_LAWS,
    )
}
