"""What becomes of a wish, once more: docs/how_to/orders.md in plain Python."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from envs.network.calendar import Calendar
from envs.network.lane import Lane, Limits, Rounding
from envs.network.network import SupplyNetwork, Unfilled

_CRUMB = 1e-9  # packs: so close to the grid is on it


def is_open_on(calendar: Calendar, t: int) -> bool:
    """The cycle, unless t is an exception."""
    usual = t % calendar.cycle in calendar.open and t not in calendar.closed_on
    return usual or t in calendar.open_on


def placed_orders(
    network: SupplyNetwork,
    raw: Mapping[str, float],
    t: int,
    factors: Mapping[tuple[str, str], float],
) -> dict[str, float]:
    """Lane -> units ordered of what is asked for [units by lane] in period t. factors: what regimes
    make of a lane's ordering, of a budget's availability."""
    reviews = {n.id: n.review for n in network.nodes}
    orders = dict.fromkeys(raw, 0.0)
    for lane in network.lanes:
        calendars = [c for c in (reviews[lane.node], lane.calendar) if c is not None]
        is_open = all(is_open_on(c, t) for c in calendars)
        if is_open and factors["ordering", lane.id] > 0.0:
            orders[lane.id] = _rounded(lane, max(raw[lane.id], 0.0), _rounding(network, lane))
    up = {r.id: factors["availability", r.id] for r in network.resources}
    budgets = {
        r.id: r.capacity * up[r.id] if up[r.id] > 0.0 else 0.0
        for r in network.resources
        if r.limits is Limits.orders
    }
    return _within_budgets(network, orders, budgets)


def _rounding(network: SupplyNetwork, lane: Lane) -> Rounding:
    if lane.rounding is not None:
        return lane.rounding
    here = next(s for s in network.stocks if (s.node, s.sku) == (lane.node, lane.sku))
    lanes_wait = network.timing.unfilled is Unfilled.backlog and any(
        (item.node, item.sku) == (lane.node, lane.sku) for q in network.lanes for item in q.inputs
    )
    somebody_waits = lanes_wait or (here.demand is not None and here.p_wait > 0.0)
    is_coarse = max(_pack(lane), lane.minimum_order) > 1.0
    return Rounding.up if somebody_waits and is_coarse else Rounding.nearest


def _pack(lane: Lane) -> float:
    """What both packs and full loads fit into; 0: divisible units."""
    sizes = [lane.order_multiple] + ([lane.load_size] if lane.full_loads else [])
    pack = Fraction(0)
    for size in (Fraction(s).limit_denominator(1000) for s in sizes if s):
        pack = size if pack == 0 else pack * (size / pack).numerator
    return float(pack)


def _around(lane: Lane, wish: float) -> list[float]:
    """What the lane takes: nothing, and the next quantities below and above the wish."""
    pack, least, most = _pack(lane), lane.minimum_order, lane.maximum_order
    if pack == 0.0:
        return [0.0, min(max(wish, least), most)]
    packs = [n for n in range(1, math.ceil((least + wish) / pack) + 2)]
    takes = [n * pack for n in packs if least - _CRUMB <= n * pack <= most + _CRUMB]
    below = [q for q in takes if q <= wish + _CRUMB * pack]
    above = [q for q in takes if q > wish + _CRUMB * pack]
    return [0.0, *below[-1:], *above[:1]]


def _rounded(lane: Lane, wish: float, rounding: Rounding) -> float:
    takes = _around(lane, wish)
    if rounding is Rounding.down:
        return _largest(lane, wish)
    if rounding is Rounding.up:
        enough = [q for q in takes if q >= wish - _CRUMB]
        return min(enough, default=max(takes))
    return min(takes, key=lambda q: (abs(q - wish), -q))


def _largest(lane: Lane, limit: float) -> float:
    return max(q for q in _around(lane, limit) if q <= limit * (1.0 + _CRUMB))


def _within_budgets(
    network: SupplyNetwork, wanted: dict[str, float], left: dict[str, float]
) -> dict[str, float]:
    """Each gets its part of a budget that isn't enough, and then what still fits."""
    use: dict[str, dict[str, float]] = {lane.id: {} for lane in network.lanes}
    for lane in network.lanes:
        for item in lane.resources:
            if item.resource in left:
                use[lane.id][item.resource] = item.per_unit
    need = {r: sum(use[q].get(r, 0.0) * units for q, units in wanted.items()) for r in left}
    if all(need[r] <= left[r] for r in left):
        return wanted
    orders = dict(wanted)
    for lane in network.lanes:
        part = min([left[r] / need[r] for r in use[lane.id] if need[r] > left[r]], default=1.0)
        if part < 1.0:
            orders[lane.id] = _largest(lane, part * wanted[lane.id])
    for r in left:
        left[r] -= sum(use[q].get(r, 0.0) * units for q, units in orders.items())
    for sweep in ("the smallest order", "a pack more", "as many as fit"):
        for lane in sorted(network.lanes, key=lambda q: (q.priority, q.id)):
            has, most = orders[lane.id], wanted[lane.id]
            fits = has + min([max(left[r], 0.0) / per for r, per in use[lane.id].items()],
                             default=math.inf)  # fmt: skip
            if sweep == "the smallest order":
                smallest = min((q for q in _around(lane, 0.0) if q > 0.0), default=0.0)
                most = min(most, smallest) if has == 0.0 else has
            elif sweep == "a pack more" and has > 0.0:
                most = min(most, has + _pack(lane))
            more = _largest(lane, min(most, fits)) - has
            if has < wanted[lane.id] and more > 0.0:
                orders[lane.id] += more
                for r, per in use[lane.id].items():
                    left[r] -= per * more
    return orders
