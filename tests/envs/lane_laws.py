"""Laws of orders and goods on lanes: when they are due, what limits them, how they are shared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from envs.network.lane import Allocation, Lane, Limits, Rounding, Speed
from envs.network.network import Receive, ServeOrder, Unfilled
from envs.simulation.whole_units import rounding_of
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
        arrivals = []
        if before_order:
            _pause(road, t, transit[t])
            arrivals.append(_let_in(run, road, t, yesterday, good[t], receiving[t]))
        for q, lane in enumerate(run.network.lanes):
            _send(run, t, q, lane, road[q])
        left = run.opened.on_hand[t] - run.consumes @ run.flows.shipped[t]
        if before_order:  # what left today with lead time 0: its way is what can be paused
            is_open = receiving[t] & transit[t]
            arrivals.append(_let_in(run, road, t, left, good[t], is_open))
        else:
            _pause(road, t, transit[t])
            arrivals.append(_let_in(run, road, t, left, good[t], receiving[t]))
        usable = sum(_usable(run, units, good[t], rounding_of(t)) for units in arrivals)
        same(f"received in {t}", run.flows.received[t], usable)
        same(f"scrapped in {t}", run.flows.scrapped[t], sum(arrivals) - usable)
        yesterday = run.closed.on_hand[t]


def _send(run: Run, t: int, q: int, lane: Lane, road: Floats) -> None:
    shipped = run.flows.shipped[t, q]
    late = lane.split_share * shipped
    if lane.sku in run.whole:
        late = np.floor(late + rounding_of(t))
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
        asked = (to * takes_room * due * good).sum(axis=0)
        fits = np.where(asked > room, room / np.maximum(asked, 1e-300), 1.0)
        whole = _of_whole_units(run)
        lets = np.where(whole, np.floor(due * fits + 1e-9), due * fits)
        lets = np.where(to & (takes_room > 0), lets, due)
        turns = _turns(run) if whole.any() and np.isfinite(node.storage_capacity) else []
        for q in turns:  # one unit more each, while it fits
            more = np.zeros(lets.shape)
            more[q] = to[q] & (takes_room[q] > 0) & whole[q] & (lets[q] < due[q])
            volumes = (to * takes_room * _usable(run, lets + more, good, 0.0)).sum(axis=0)
            lets = np.where(volumes <= room + 1e-9, lets + more, lets)
        due = lets
    road[:, t + 1] += road[:, t] - due
    road[:, t] = 0.0
    return due


def _usable(run: Run, units: Floats, share: Floats, rounding: float) -> Floats:
    """[Q, B] good units of what arrived; whole ones rounded, where room is limited down."""
    limited = {n.id for n in run.network.nodes if np.isfinite(n.storage_capacity)}
    volume = {s.id: s.volume for s in run.network.skus}
    down = np.array([[q.node in limited and volume[q.sku] > 0] for q in run.network.lanes])
    whole = np.floor(units * share + np.where(down, 1e-9, max(rounding, 1e-9)))
    return np.where(_of_whole_units(run) & (share < 1.0), whole, units * share)


def _of_whole_units(run: Run) -> Bools:
    """[Q, 1]"""
    return np.array([[q.sku in run.whole] for q in run.network.lanes])


def _turns(run: Run) -> list[int]:
    """Lanes by priority and then by name."""
    lanes = run.network.lanes
    return sorted(range(len(lanes)), key=lambda q: (lanes[q].priority, lanes[q].id))


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
            unknown = unknown - ordered[t] * (delay > 0)
            same(f"orders to come of {lane.id}", run.opened.orders_on_way_total[t, q], unknown)


def orders_are_feasible(run: Run) -> None:
    """Executed orders are whole packs and whole loads between minimum and maximum, or nothing."""
    ordered, lanes = run.flows.ordered, run.network.lanes
    at_most("order", -ordered, 0.0)
    at_most("order", ordered, run.per_lane("maximum_order"))
    some = ordered > 0
    at_most("minimum order", np.where(some, run.per_lane("minimum_order"), 0.0), ordered)
    for size in ([q.order_multiple for q in lanes], [_full_load(q) for q in lanes]):
        multiple = np.array(size)[:, None]
        packs = np.divide(ordered, multiple, where=multiple > 0, out=np.zeros_like(ordered))
        same("packs", packs, np.round(packs))
    same("order of nothing", np.where(run.raw > 0, 0.0, ordered), 0.0)


def _full_load(lane: Lane) -> float:
    return lane.load_size if lane.full_loads and lane.load_size is not None else 0.0


def nobody_orders_when_closed(run: Run) -> None:
    """Orders are placed only in periods that the node's review and the lane's calendar hold, and
    while no regime pauses them."""
    paused = run.multiplier("ordering") == 0.0
    for q, lane in enumerate(run.network.lanes):
        ordered = np.where(paused[:, q], run.flows.ordered[:, q], 0.0)
        same(f"orders on closed {lane.id}", ordered, 0.0)


def orders_are_what_rules_make_of_wishes(run: Run) -> None:
    """An order is the quantity the lane takes that its rounding chooses; where a budget or the room
    at a node isn't enough for all, no more than that, and no less than what still fits."""
    wanted = _wished(run)
    for q, lane in enumerate(run.network.lanes):
        wanted[:, q] = _rounded(run, q, lane, wanted[:, q])
    ordered, limits = run.flows.ordered, limits_of_orders(run)
    enough, left = np.ones(ordered.shape, bool), []
    for use, there in limits:
        left.append(there - np.einsum("q,tqb->tb", use, ordered))
        at_most("use of a limit", -left[-1], 0.0)
        asked = np.einsum("q,tqb->tb", use, wanted)
        enough &= np.where(use[:, None] > 0, (asked <= there + 1e-9)[:, None], True)
    same("order", np.where(enough, ordered - wanted, 0.0), 0.0)
    at_most("order that a limit cuts", ordered, wanted)
    for q, lane in enumerate(run.network.lanes):
        legal = _legal(run, q, lane)
        if legal is None:
            more = np.where(ordered[:, q] > 0, 1e-6, max(lane.minimum_order, 1e-6))
        else:
            place = np.searchsorted(legal, ordered[:, q] + 1e-6)
            more = legal[np.minimum(place, len(legal) - 1)] - ordered[:, q]
        fits = (more > 0) & (ordered[:, q] + more <= wanted[:, q] + 1e-9) & ~enough[:, q]
        for (use, _), rest in zip(limits, left, strict=True):
            fits &= use[q] * more <= rest - 1e-6
        assert not fits.any(), f"an order on {lane.id} was cut more than its limits ask for"


def limits_of_orders(run: Run) -> list[tuple[Floats, Floats]]:
    """[Q] what a unit ordered takes, and [T, B] how much there is: of budgets, of room at nodes
    beyond what will still lie there when an order arrives."""
    network, state = run.network, run.opened
    limits = [
        (run.uses[r], run.capacity[:, r])
        for r, resource in enumerate(network.resources)
        if resource.limits is Limits.orders
    ]
    volume = np.array([[s.volume for s in network.skus if s.id == p.sku] for p in network.stocks])
    stays = volume * np.maximum(0.0, state.inventory_position - state.forecast_mean)
    for node in network.nodes:
        if np.isfinite(node.storage_capacity):
            here = np.array([[s.node == node.id] for s in network.stocks])
            use = (run.delivers.T @ (here * volume))[:, 0]
            room = node.storage_capacity - (here * stays).sum(axis=1)
            limits.append((use, np.maximum(0.0, room)))
    return limits


def _legal(run: Run, q: int, lane: Lane) -> Floats | None:
    """What the lane takes, as far as anybody asks; None: any quantity from its minimum on."""
    sizes = [lane.order_multiple, _full_load(lane), float(run.steps[q, 0])]
    sizes = [size for size in sizes if size > 0]
    if not sizes:
        return None
    most = max(run.raw.max(), 50.0) + 50.0
    found = sizes[0] * np.arange(1.0, most / sizes[0])
    for size in sizes:
        found = found[np.abs(found / size - np.round(found / size)) < 1e-9]
    return np.array([0.0, *found[(found >= lane.minimum_order) & (found <= lane.maximum_order)]])


def _rounded(run: Run, q: int, lane: Lane, wish: Floats) -> Floats:
    """What the lane's rounding makes of wishes [T, B]."""
    rounding = lane.rounding or _usual_rounding(run, q, lane)
    wish = np.minimum(wish, lane.maximum_order)
    legal = _legal(run, q, lane)
    if legal is None:
        above = np.maximum(wish, lane.minimum_order)
        below = np.where(wish >= lane.minimum_order, wish, 0.0)
    else:
        wish = np.minimum(wish, legal[-1])
        above = legal[np.searchsorted(legal, wish - 1e-6)]
        below = legal[np.searchsorted(legal, wish + 1e-6, side="right") - 1]
    if rounding is Rounding.nearest:
        return np.where(above - wish <= wish - below + 1e-9, above, below)
    crumb = 1e-6 * lane.minimum_order
    return np.where(wish > crumb, above if rounding is Rounding.up else below, 0.0)


def _usual_rounding(run: Run, q: int, lane: Lane) -> Rounding:
    """Up where somebody waits and a pack or the minimum is more than a unit."""
    pair = next(s for s in run.network.stocks if (s.node, s.sku) == (lane.node, lane.sku))
    drawn = any(
        (i.node, i.sku) == (pair.node, pair.sku) for q in run.network.lanes for i in q.inputs
    )
    waits = (pair.demand is not None and pair.p_wait > 0) or (
        drawn and run.network.timing.unfilled is Unfilled.backlog
    )
    pack = max(lane.order_multiple, _full_load(lane), float(run.steps[q, 0]))
    coarse = max(pack, lane.minimum_order) > 1
    return Rounding.up if waits and coarse else Rounding.nearest


def _wished(run: Run) -> Floats:
    """[T, Q, B] what is asked for while orders can be placed."""
    order = np.maximum(run.raw, 0.0) * (run.multiplier("ordering") > 0.0)
    return order


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
    the rule, where none of the lanes that share it is held back by something else; of whole units
    up to a step of a lane."""
    want, shipped = run.wanted_at_ship, run.flows.shipped
    less, more = np.maximum(shipped - run.steps, 0.0), shipped + run.steps
    sources, scarce, limits = _sources(run)
    same("shipped without limit", np.where(limits == 0, shipped - want, 0.0), 0.0)
    for (label, use, there, rule, weight), lacking in zip(sources, scarce, strict=True):
        users = np.flatnonzero(use)
        alone = lacking & (limits[:, users] <= 1).all(axis=1)
        unused = np.where(alone, there - np.einsum("q,tqb->tb", use, shipped), 0.0)
        parts = (use * run.steps[:, 0]).sum()
        same(f"given out of {label}", np.maximum(unused - parts, 0.0), 0.0, 1e-7)
        low = _level_by_rule(run, rule, want, less) / weight
        high = _level_by_rule(run, rule, want, more) / weight
        for i in users:
            for k in users:
                served = less[:, i] > 1e-6
                waiting = more[:, k] < want[:, k] - 1e-6
                ahead = np.where(alone & served & waiting, low[:, i] - high[:, k], 0.0)
                rounding = 1e-5 * (1.0 + np.abs(low[:, i]))  # actions are of single precision
                at_most(f"lead over others who share {label}", ahead, rounding)


_Source = tuple[str, Floats, Floats, Allocation, Floats]  # name, use, there, rule, weights


def _sources(run: Run) -> tuple[list[_Source], list[Bools], Floats]:
    """What shipments take, whether it is scarce [T, B], and how much of it is that a lane takes
    [T, Q, B]."""
    want, sources = run.wanted_at_ship, list[_Source]()
    for p, stock in enumerate(run.network.stocks):
        weight, there = run.sharing_weight(p), run.opened.on_hand[:, p]
        sources.append((stock.label, run.consumes[p], there, stock.allocation, weight))
    for r in np.flatnonzero(run.limits_shipments):
        resource, plain = run.network.resources[r], np.ones(want.shape)
        sources.append((resource.id, run.uses[r], run.capacity[:, r], resource.allocation, plain))
    scarce = [np.einsum("q,tqb->tb", use, want) > there for _, use, there, *_ in sources]
    limits = np.zeros(want.shape)
    for (_, use, *_), lacking in zip(sources, scarce, strict=True):
        limits += (use > 0)[:, None] * lacking[:, None]
    return sources, scarce, limits


def whole_steps_go_to_the_largest_remainders(run: Run) -> None:
    """What is shared in proportion and in whole units: each lane gets its share rounded down, and
    what that leaves goes, a step each, to those with the largest remainders that it fits."""
    sources, scarce, limits = _sources(run)
    want, shipped, steps = run.wanted_at_ship, run.flows.shipped, run.steps
    for (label, use, there, rule, weight), lacking in zip(sources, scarce, strict=True):
        users = np.flatnonzero(use)
        if rule is not Allocation.proportional or (weight != 1.0).any() or not steps[users].all():
            continue
        alone = lacking & (limits[:, users] <= 1).all(axis=1)
        need = np.where(lacking, np.einsum("q,tqb->tb", use, want), 1.0)
        share = want * (np.where(lacking, there, 1.0) / need)[:, None]
        whole = np.floor(share / np.maximum(steps, 1e-9) + 1e-7) * steps
        rest, got = share - whole, shipped - whole
        unused = there - np.einsum("q,tqb->tb", use, shipped)
        for q in users:
            step = steps[q, 0]
            odd = np.minimum(abs(got[:, q]), abs(got[:, q] - step))
            same(f"shipped on {run.network.lanes[q].id}", np.where(alone, odd, 0.0), 0.0, 1e-6)
            lacks = alone & (rest[:, q] > 1e-6 * step) & (got[:, q] < 0.5 * step)
            assert not (lacks & (use[q] * step <= unused - 1e-6)).any(), f"{label} is left"


def _level_by_rule(run: Run, rule: Allocation, want: Floats, shipped: Floats) -> Floats:
    """[T, Q, B] what the rule makes equal over lanes: the share of what is wanted that is shipped,
    the same behind higher ranks, or the receiver's days of cover."""
    share = shipped / np.maximum(want, 1e-300)
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
    return (to @ stock + shipped) / (to @ rate)


LANE_LAWS: tuple[Callable[[Run], None], ...] = (
    goods_arrive_when_due,
    storage_is_kept,
    orders_arrive_when_due,
    orders_are_feasible,
    nobody_orders_when_closed,
    orders_are_what_rules_make_of_wishes,
    nobody_expedites_unasked,
    shipments_are_possible,
    scarce_goods_are_shared,
    whole_steps_go_to_the_largest_remainders,
)
