"""What is always true of a simulated supply network, as checks on a recorded run.

The laws work from the network's definition, not from its compiled arrays, and look at every
period. `test_properties.py` runs them on random networks, and `test_mutations.py` proves that they
bite, on simulators with a bug planted.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from envs.network import InTransitPayer, ServeOrder, Unfilled
from envs.state import CostColumn
from tests.envs.runs import Run, at_most, same

__all__ = ["LAWS", "costs_add_up"]


def units_are_conserved(run: Run) -> None:
    """Per SKU: initial + bought + produced - consumed = on hand + in transit + sold."""
    skus = [s.id for s in run.network.skus]
    of_pair = np.array([[float(s.sku == k) for s in run.network.stocks] for k in skus])
    of_lane = np.array([[float(q.sku == k) for q in run.network.lanes] for k in skus])
    started = of_pair @ run.per_pair("initial_stock")
    started = started + of_lane @ np.array([[sum(q.initial_in_transit)] for q in run.network.lanes])
    moved = (of_lane - of_pair @ run.consumes) @ np.cumsum(run.flows.shipped, axis=0)
    sold = np.cumsum(run.flows.sold + run.flows.backlog_served, axis=0)
    where = of_pair @ (run.closed.on_hand + sold) + of_lane @ run.closed.in_transit.sum(axis=2)
    same("units of a SKU", where, started + moved)


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
    """Per lane: initially in transit + shipped = received + in transit."""
    started = np.array([[sum(q.initial_in_transit)] for q in run.network.lanes])
    same(
        "goods of a lane",
        np.cumsum(run.flows.received, axis=0) + run.closed.in_transit.sum(axis=2),
        started + np.cumsum(run.flows.shipped, axis=0),
    )
    same("in_transit_total", run.closed.in_transit_total, run.closed.in_transit.sum(axis=2))


def goods_arrive_when_due(run: Run) -> None:
    """What is received is what was shipped one drawn lead time ago."""
    due = np.zeros_like(run.flows.received)
    periods, lanes, batch = due.shape
    for q, lane in enumerate(run.network.lanes):
        for t, quantity in enumerate(lane.initial_in_transit[:periods]):
            due[t, q] += quantity
    for t, q, b in np.ndindex(periods, lanes, batch):
        arrival = t + int(run.lead_time[t, q, b])
        if arrival < periods:
            due[arrival, q, b] += run.flows.shipped[t, q, b]
    same("received", run.flows.received, due)


def orders_arrive_when_due(run: Run) -> None:
    """The sender knows of an order once its information delay has passed."""
    periods = len(run.raw)
    for q, lane in enumerate(run.network.lanes):
        delay = lane.information_delay
        ordered = run.flows.ordered[:, q]
        for t in range(periods):
            unknown = sum(lane.initial_orders[t + 1 :]) + ordered[
                max(0, t - delay + 1) : t + 1
            ].sum(axis=0) * (delay > 0)
            same(f"orders on the way of {lane.id}", run.closed.orders_on_way_total[t, q], unknown)


def orders_are_feasible(run: Run) -> None:
    """Executed orders are whole multiples between minimum and maximum, or nothing."""
    ordered = run.flows.ordered
    at_most("order", -ordered, 0.0)
    at_most("order", ordered, run.per_lane("maximum_order"))
    some = ordered > 0
    at_most("minimum order", np.where(some, run.per_lane("minimum_order"), 0.0), ordered)
    multiple = run.per_lane("order_multiple")
    packs = np.divide(ordered, multiple, where=multiple > 0, out=np.zeros_like(ordered))
    same("packs", packs, np.round(packs))
    free = (multiple == 0) & (run.per_lane("minimum_order") == 0)
    clipped = np.clip(run.raw, 0.0, run.per_lane("maximum_order"))
    same("free order", np.where(free, ordered, 0.0), np.where(free, clipped, 0.0))


def demand_is_conserved(run: Run) -> None:
    """Demand = sold + newly backlogged + lost; p_wait of the unmet waits; oldest first."""
    flows, pairs = run.flows, run.net.customer_pair
    same("demand", flows.demand[:, pairs], run.demand)
    unmet = flows.demand - flows.sold
    same("lost", flows.lost, (1.0 - run.per_pair("p_wait")) * unmet)
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
    left = np.minimum(shelf, run.per_pair("serve_limit") - served)
    turned_away = run.flows.demand - run.flows.sold > 1e-9
    same("stock kept from customers", np.where(turned_away, left, 0.0), 0.0 * left)


def nothing_is_negative(run: Run) -> None:
    """Stock, backlog, pipelines and flows stay at or above zero."""
    signed = {"inventory_level", "inventory_position", "echelon_inventory_position", "raw_order"}
    for record_ in (run.opened, run.closed, run.flows):
        for name, values in record_._asdict().items():
            if name not in signed | {"cost", "total_cost"}:
                assert np.isfinite(values).all(), f"{name} isn't finite"
                at_most(f"minus {name}", -values, 0.0)


def shipments_are_possible(run: Run) -> None:
    """Shipped <= owed x availability; inputs and resources suffice for all lanes together."""
    flows = run.flows
    at_most("shipped", flows.shipped, run.owed_at_ship * run.availability)
    at_most("inputs taken", run.consumes @ flows.shipped, run.opened.on_hand)
    for resource in run.network.resources:
        use = np.array(
            [
                sum(u.per_unit for u in lane.resources if u.resource == resource.id)
                for lane in run.network.lanes
            ]
        )
        used = np.einsum("q,tqb->tb", use, flows.shipped)
        at_most(f"use of {resource.id}", used, resource.capacity)


def scarce_goods_are_shared(run: Run) -> None:
    """A lane with one input or resource at most ships its proportional share, where nobody else
    has a second limit; a lane without any ships all it may."""
    flows, lanes = run.flows, run.network.lanes
    want = run.owed_at_ship * run.availability
    limits = [len(q.inputs) + len(q.resources) for q in lanes]
    for q, lane in enumerate(lanes):
        if limits[q] == 0:
            same(f"shipped on unlimited {lane.id}", flows.shipped[:, q], want[:, q])
        if limits[q] != 1:
            continue
        if lane.inputs:
            pair = [(s.node, s.sku) for s in run.network.stocks].index(
                (lane.inputs[0].node, lane.inputs[0].sku)
            )
            users, there = run.consumes[pair], run.opened.on_hand[:, pair]
        else:
            name = lane.resources[0].resource
            users = np.array(
                [sum(u.per_unit for u in other.resources if u.resource == name) for other in lanes]
            )
            there = np.full(
                want[:, q].shape, next(r.capacity for r in run.network.resources if r.id == name)
            )
        if all(limits[k] == 1 for k in np.flatnonzero(users)):
            need = np.einsum("q,tqb->tb", users, want)
            part = np.minimum(1.0, there / np.maximum(need, 1e-300))
            same(f"shipped on {lane.id}", flows.shipped[:, q], want[:, q] * part)


def costs_add_up(run: Run) -> None:
    """Every column follows from states and flows; the total is their sum."""
    flows, closed, cost = run.flows, run.closed, run.flows.cost
    same("total cost", flows.total_cost, cost.sum(axis=1))
    holding, waiting = run.per_pair("holding_cost"), closed.backorders + run.consumes @ closed.owed
    expected = {
        CostColumn.HOLDING: holding * closed.on_hand,
        CostColumn.BACKLOG: run.per_pair("backlog_cost") * waiting,
        CostColumn.LOST_SALE: run.per_pair("lost_sale_cost") * flows.lost,
        CostColumn.REVENUE: -run.per_pair("price") * (flows.sold + flows.backlog_served),
        CostColumn.PURCHASE: run.delivers @ (run.per_lane("unit_cost") * flows.shipped),
        CostColumn.FIXED_ORDER: run.delivers @ (run.per_lane("fixed_cost") * (flows.ordered > 0)),
        CostColumn.SALVAGE: 0.0 * holding * closed.on_hand,
    }
    for column, wanted in expected.items():
        same(column.name, cost[:, column], wanted)
    on_way = closed.in_transit.sum(axis=2)
    payer = run.network.timing.in_transit_payer
    charged = {
        InTransitPayer.nobody: 0.0 * holding * closed.on_hand,
        InTransitPayer.receiver: holding * (run.delivers @ on_way),
        InTransitPayer.sender: np.einsum("pq,tqb->tpb", holding * run.consumes, on_way),
    }[payer]
    in_transit = cost[:, CostColumn.IN_TRANSIT]
    same("in-transit cost of the network", in_transit.sum(axis=1), charged.sum(axis=1))
    if all(len(q.inputs) < 2 for q in run.network.lanes):
        same("in-transit cost", in_transit, charged)


LAWS: dict[str, Callable[[Run], None]] = {
    law.__name__: law
    for law in (
        units_are_conserved,
        shelves_balance,
        lanes_conserve_orders,
        lanes_conserve_goods,
        goods_arrive_when_due,
        orders_arrive_when_due,
        orders_are_feasible,
        demand_is_conserved,
        customers_get_what_is_there,
        nothing_is_negative,
        shipments_are_possible,
        scarce_goods_are_shared,
        costs_add_up,
    )
}
