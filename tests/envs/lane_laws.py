"""Laws of orders and goods on lanes: when they are due, what limits them, how they are shared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from envs.network.lane import Allocation, Lane, Limits, Speed
from envs.network.network import Receive, ServeOrder
from tests.envs.runs import Bools, Floats, Run, at_most, same

__all__ = ["LANE_LAWS"]


def goods_arrive_when_due(run: Run) -> None:
    """Goods arrive one drawn lead time after they left, a part of a split one later; later by all
    pauses; in part where there is no room; and only the good ones."""
    before_order = run.network.timing.receive is Receive.before_order
    periods, lanes, batch = run.flows.shipped.shape
    transit = run.multiplier("transit") > 0.0
    receiving = run.multiplier("receiving") > 0.0
    good = run.per_lane("yield_share") * run.multiplier("yield_share")
    longest = int(run.lead_time.max()) + max(q.split_delay for q in run.network.lanes)
    road = np.zeros((lanes, 2 * periods + longest + 1, batch))  # what is due in every period
    for q, lane in enumerate(run.network.lanes):
        for t, quantity in enumerate(lane.initial_in_transit):
            road[q, t] = quantity
    yesterday = np.repeat(run.per_pair("initial_stock"), batch, axis=1)
    for t in range(periods):
        arrived = np.zeros((lanes, batch))
        if before_order:
            _pause(road, t, transit[t])
            arrived += _let_in(run, road, t, yesterday, good[t], receiving[t])
        for q, lane in enumerate(run.network.lanes):
            _send(run, t, q, lane, road[q])
        left = run.opened.on_hand[t] - run.consumes @ run.flows.shipped[t]
        if before_order:  # what left today with lead time 0: its way is what can be paused
            arrived += _let_in(run, road, t, left, good[t], receiving[t] & transit[t])
        else:
            _pause(road, t, transit[t])
            arrived += _let_in(run, road, t, left, good[t], receiving[t])
        same(f"received in {t}", run.flows.received[t], arrived * good[t])
        same(f"scrapped in {t}", run.flows.scrapped[t], arrived * (1.0 - good[t]))
        yesterday = run.closed.on_hand[t]


def _send(run: Run, t: int, q: int, lane: Lane, road: Floats) -> None:
    shipped, pack = run.flows.shipped[t, q], lane.order_multiple
    late = lane.split_share * shipped
    if pack > 0:
        late = np.minimum(np.floor(late / pack + 1e-9) * pack, shipped)
    for b in range(shipped.size):
        due = t + int(run.lead_time[t, q, b])
        road[due, b] += shipped[b] - late[b]
        road[due + lane.split_delay, b] += late[b]


def _pause(road: Floats, t: int, moves: Bools) -> None:
    for q, b in np.argwhere(~moves):
        road[q, t + 1 :, b] = road[q, t:-1, b].copy()
        road[q, t, b] = 0.0


def _let_in(
    run: Run, road: Floats, t: int, on_hand: Floats, good: Floats, is_open: Bools
) -> Floats:
    """[Q, B] what comes in of what is due: where the door is open and as far as there is room; the
    rest waits for the next period."""
    network, due = run.network, road[:, t] * is_open
    volume = np.array([[s.volume for s in network.skus if s.id == p.sku] for p in network.stocks])
    takes_room = run.delivers.T @ volume
    for node in network.nodes:
        to = np.array([[q.node == node.id] for q in network.lanes])
        here = np.array([[s.node == node.id] for s in network.stocks])
        room = np.maximum(0.0, node.storage_capacity - (here * volume * on_hand).sum(axis=0))
        asked = (to * takes_room * good * due).sum(axis=0)
        fits = np.where(asked > room, room / np.maximum(asked, 1e-300), 1.0)
        due = np.where(to & (takes_room > 0), due * fits, due)
    road[:, t + 1] += road[:, t] - due
    road[:, t] = 0.0
    return due


def storage_is_kept(run: Run) -> None:
    """Receipts never bring a node's stock above its capacity, or above what was there before."""
    network, flows = run.network, run.flows
    volume = np.array([[s.volume for s in network.skus if s.id == p.sku] for p in network.stocks])
    sold = flows.sold + flows.backlog_served
    first = network.timing.demand is ServeOrder.first
    # Stock after receipts is highest in front of the customers, and never lower than at the close.
    opened = run.opened.on_hand + (sold if first else 0.0)
    closed = run.closed.on_hand + (0.0 if first else sold)
    started = np.repeat(run.per_pair("initial_stock"), sold.shape[2], axis=1)[None]
    before = np.concatenate([started, run.closed.on_hand[:-1]])
    for node in network.nodes:
        here = np.array([[s.node == node.id] for s in network.stocks]) * volume
        volumes = [(here * stock).sum(axis=1) for stock in (before, opened, closed)]
        limit = np.full(volumes[0].shape, node.storage_capacity)
        at_most(f"stock of {node.id} after receipts", volumes[1], np.maximum(limit, volumes[0]))
        at_most(f"stock of {node.id} at the close", volumes[2], np.maximum(limit, volumes[1]))


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
    """Executed orders are whole multiples or loads between minimum and maximum, or nothing."""
    ordered, lanes = run.flows.ordered, run.network.lanes
    at_most("order", -ordered, 0.0)
    at_most("order", ordered, run.per_lane("maximum_order"))
    some = ordered > 0
    at_most("minimum order", np.where(some, run.per_lane("minimum_order"), 0.0), ordered)
    multiple = np.array([[q.load_size if q.full_loads else q.order_multiple] for q in lanes], float)
    packs = np.divide(ordered, multiple, where=multiple > 0, out=np.zeros_like(ordered))
    same("packs", packs, np.round(packs))
    same("order of nothing", np.where(run.raw > 0, 0.0, ordered), 0.0)


def nobody_orders_when_closed(run: Run) -> None:
    """Orders are placed only in periods that the node's review and the lane's calendar hold, and
    while no regime pauses them."""
    now = np.arange(len(run.raw))[:, None] + run.offset
    reviews = {n.id: n.review for n in run.network.nodes}
    paused = run.multiplier("ordering") == 0.0
    for q, lane in enumerate(run.network.lanes):
        closed = paused[:, q]
        for calendar in (reviews[lane.node], lane.calendar):
            if calendar is not None:
                closed = closed | ~np.isin(now % calendar.cycle, calendar.open)
        same(f"orders on closed {lane.id}", np.where(closed, run.flows.ordered[:, q], 0.0), 0.0)


def free_orders_are_executed(run: Run) -> None:
    """Where no rule rounds, an order is what was asked for, cut to storage, maximum and budget."""
    network, state = run.network, run.opened
    lanes, pairs = network.lanes, network.stocks
    order = np.maximum(run.raw, 0.0) * (run.multiplier("ordering") > 0.0)
    now = np.arange(len(run.raw))[:, None] + run.offset
    for q, lane in enumerate(lanes):
        for calendar in (next(n.review for n in network.nodes if n.id == lane.node), lane.calendar):
            if calendar is not None:
                order[:, q] *= np.isin(now % calendar.cycle, calendar.open)
    volume = np.array([[s.volume for s in network.skus if s.id == p.sku] for p in pairs])
    left = volume * np.maximum(0.0, state.inventory_position - state.forecast_mean)
    for node in network.nodes:
        here = np.array([[s.node == node.id] for s in pairs])
        to = np.array([[q.node == node.id] for q in lanes])
        room = np.maximum(0.0, node.storage_capacity - (here * left).sum(axis=1))
        asked = (to * (run.delivers.T @ volume) * order).sum(axis=1)
        share = np.where(asked > room, room / np.maximum(asked, 1e-300), 1.0)
        order = np.where(to, order * share[:, None], order)
    order = np.minimum(order, run.per_lane("maximum_order"))
    free = np.array([q.minimum_order + q.order_multiple + q.full_loads == 0.0 for q in lanes])
    share = np.ones_like(order)
    for r, resource in enumerate(network.resources):
        if resource.limits is Limits.orders:
            use = run.uses[r][:, None]
            used, there = (use * run.flows.ordered).sum(axis=1), run.capacity[:, r]
            at_most(f"use of budget {resource.id}", used, there)
            asked = (use * order).sum(axis=1)
            part = np.where(asked > there, there / np.maximum(asked, 1e-300), 1.0)
            share = np.where(use > 0, np.minimum(share, part[:, None]), share)
            if not all(free[run.uses[r] > 0]):  # rounded orders ask for another sum: not told here
                free = free & (run.uses[r] == 0)
    same("free order", np.where(free[:, None], run.flows.ordered - order * share, 0.0), 0.0)


def nobody_expedites_unasked(run: Run) -> None:
    """A base policy that doesn't expedite orders nothing on expedite lanes, whatever the action."""
    fast = np.array([[q.speed is Speed.expedite] for q in run.network.lanes])
    if run.actions is not None:
        same("expedited", np.where(fast, run.raw, 0.0), 0.0)


def shipments_are_possible(run: Run) -> None:
    """Shipped <= owed x availability; inputs and resources suffice for all lanes together."""
    flows = run.flows
    at_most("shipped", flows.shipped, run.owed_at_ship * run.multiplier("availability"))
    at_most("inputs taken", run.consumes @ flows.shipped, run.opened.on_hand)
    limited = run.limits_shipments
    used = np.einsum("rq,tqb->trb", run.uses[limited], flows.shipped)
    at_most("use of a resource", used, run.capacity[:, limited])


def scarce_goods_are_shared(run: Run) -> None:
    """A lane that takes nothing scarce ships all it may. What is scarce is given out in full, by
    the rule, where none of the lanes that share it is held back by something else."""
    want = run.owed_at_ship * run.multiplier("availability")
    sources: list[tuple[str, Floats, Floats, Floats]] = []  # label, use, what is there, levels
    for p, stock in enumerate(run.network.stocks):
        level = _level_by_rule(run, stock.allocation, want) / run.sharing_weight(p)
        sources.append((stock.label, run.consumes[p], run.opened.on_hand[:, p], level))
    for r in np.flatnonzero(run.limits_shipments):
        resource = run.network.resources[r]
        level = _level_by_rule(run, resource.allocation, want)
        sources.append((resource.id, run.uses[r], run.capacity[:, r], level))
    scarce = [np.einsum("q,tqb->tb", use, want) > there for _, use, there, _ in sources]
    limits = np.zeros(want.shape)  # scarce things that a lane takes
    for (_, use, _, _), lacking in zip(sources, scarce, strict=True):
        limits += (use > 0)[:, None] * lacking[:, None]
    same("shipped without limit", np.where(limits == 0, run.flows.shipped - want, 0.0), 0.0)
    for (label, use, there, level), lacking in zip(sources, scarce, strict=True):
        users = np.flatnonzero(use)
        alone = lacking & (limits[:, users] <= 1).all(axis=1)
        used = np.einsum("q,tqb->tb", use, run.flows.shipped)
        same(f"given out of {label}", np.where(alone, used - there, 0.0), 0.0, 1e-7)
        for i in users:
            for k in users:
                served = run.flows.shipped[:, i] > 1e-6
                waiting = run.flows.shipped[:, k] < want[:, k] - 1e-6
                ahead = np.where(alone & served & waiting, level[:, i] - level[:, k], 0.0)
                rounding = 1e-5 * (1.0 + np.abs(level[:, i]))  # actions are of single precision
                at_most(f"lead over others who share {label}", ahead, rounding)


def _level_by_rule(run: Run, rule: Allocation, want: Floats) -> Floats:
    """[T, Q, B] what the rule makes equal over lanes: the share of what is wanted that is shipped,
    the same behind higher ranks, or the receiver's days of cover."""
    share = run.flows.shipped / np.maximum(want, 1e-300)
    if rule is Allocation.proportional:
        return share
    if rule is Allocation.priority:
        return run.per_lane("priority") + share
    state, mean = run.opened, run.net.demand.mean
    typical = np.median(mean[mean > 0]) if (mean > 0).any() else 1.0
    rate = np.where(mean > 0, mean, typical)[:, None]
    stock = state.on_hand - state.backorders - run.consumes @ state.owed
    stock = stock + run.delivers @ state.in_transit.sum(axis=2)
    to = run.delivers.T
    return (to @ stock + run.flows.shipped) / (to @ rate)


LANE_LAWS: tuple[Callable[[Run], None], ...] = (
    goods_arrive_when_due,
    storage_is_kept,
    orders_arrive_when_due,
    orders_are_feasible,
    nobody_orders_when_closed,
    free_orders_are_executed,
    nobody_expedites_unasked,
    shipments_are_possible,
    scarce_goods_are_shared,
)
