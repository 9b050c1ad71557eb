"""Goods that come in whole units stay whole: shared, split, let in, or left by customers.

The simulator's events call these, and so does its twin in torch: one rule for both.
"""

from __future__ import annotations

import numpy as np

from envs.compiled.arrays import NetworkArrays
from envs.kernel import entry, kernel
from envs.trace.random_streams import GOLDEN
from envs.types import Floats

LAST_DIGITS = 1e-9  # of a unit: left by adding and taking away


@entry
def rounding_of(period: int) -> float:
    """Return what a part of a unit must lack at most of a whole one to become one today.

    A golden-ratio sequence in (0, 1), beginning in the middle: over periods, the mean is kept.
    """
    place = 0.5 + period * GOLDEN
    part: float = place - np.floor(place)
    return min(max(part, LAST_DIGITS), 1.0 - LAST_DIGITS)


@kernel
def whole(quantity: float, rounding: float) -> float:
    """A quantity [units] in whole units; rounding: see `rounding_of`; 0: the whole ones in it."""
    rounded: float = np.floor(quantity + max(rounding, LAST_DIGITS))
    return rounded


@kernel
def steps_in(quantity: float, step: float) -> float:
    """The largest multiple of step in a quantity [units]."""
    multiple: float = np.floor(quantity / step + LAST_DIGITS) * step
    return multiple


@entry
def ship_whole(
    net: NetworkArrays, owed: Floats, factor: Floats, shipped: Floats, on_hand: Floats,
    left: Floats, rest: Floats, rows: Floats, lo: int, hi: int,
) -> None:  # fmt: skip
    """Make shipments [Q, B] whole: by largest remainder.

    Each lane's share is rounded down to its step. What that leaves of a pair's stock [P, B] or of a
    resource [R, B] goes, a step each, to the lanes with the largest remainders that it fits, ties
    in their turn (by priority, then by name). rest [Q, B]: zeros, before and after; rows [3, B] are
    overwritten.
    """
    rows[0, lo:hi] = 0.0
    for q in range(net.lanes.to.size):
        if net.lanes.step[q] > 0.0:
            _round_down(net, q, owed, shipped, on_hand, left, rest, rows[0], lo, hi)
    touched, some = rows[0, lo:hi], 0.0
    for b in range(hi - lo):
        some = max(some, touched[b])
    if some == 0.0:
        return
    pairs = net.stocks.whole.size
    for j in range(net.resources.scarce.size):
        thing = net.resources.scarce[j]
        there = on_hand[thing] if thing < pairs else left[thing - pairs]
        _give(net, j, there, owed, factor, shipped, on_hand, left, rest, rows, lo, hi)
    for q in range(net.lanes.to.size):
        rest[q, lo:hi] = 0.0  # without limits there is nothing to share
    for p in range(pairs):
        if (
            net.stocks.whole[p]
            and net.stocks.outbound.pointer[p] < net.stocks.outbound.pointer[p + 1]
        ):
            stock = on_hand[p, lo:hi]
            for b in range(hi - lo):
                stock[b] = _exact(stock[b]) if touched[b] > 0.0 else stock[b]


@kernel
def _exact(quantity: float) -> float:
    """Without the crumbs that adding and taking away leaves."""
    near: float = np.floor(quantity + 0.5)
    return near if abs(quantity - near) < 1e-6 else quantity


@kernel
def _round_down(
    net: NetworkArrays,
    q: int,
    owed: Floats,
    shipped: Floats,
    on_hand: Floats,
    left: Floats,
    rest: Floats,
    touched: Floats,
    lo: int,
    hi: int,
) -> None:
    """Leave whole steps; note the rest [Q, B] as a share of a step, and put it back."""
    step, inputs, uses, some = net.lanes.step[q], net.lanes.inputs, net.lanes.uses, 0
    wanted, ships, parts, short = owed[q, lo:hi], shipped[q, lo:hi], rest[q, lo:hi], touched[lo:hi]
    for b in range(hi - lo):
        units, is_short = ships[b], ships[b] != wanted[b]
        steps = steps_in(units, step)
        part = units - steps
        ships[b] = steps if is_short else units
        is_part = is_short and part > LAST_DIGITS * step
        parts[b] = part / step if is_part else 0.0
        short[b] = 1.0 if is_short else short[b]
        some += is_part
    if some == 0:
        return
    for i in range(inputs.pointer[q], inputs.pointer[q + 1]):
        _put_back(on_hand[inputs.index[i], lo:hi], inputs.value[i] * step, parts)
    for i in range(uses.pointer[q], uses.pointer[q + 1]):
        _put_back(left[uses.index[i], lo:hi], uses.value[i] * step, parts)


@kernel
def _put_back(there: Floats, per_step: float, parts: Floats) -> None:
    for b in range(there.size):
        there[b] += per_step * parts[b]


@kernel
def _give(
    net: NetworkArrays, j: int, there: Floats, owed: Floats, factor: Floats, shipped: Floats,
    on_hand: Floats, left: Floats, rest: Floats, rows: Floats, lo: int, hi: int,
) -> None:  # fmt: skip
    """A step each to the takers of the scarce thing j, of which so much is `there` [B], as long as
    it fits. All replications side by side: in each round the largest remainder of each."""
    takers, least = net.resources.takers, net.resources.least_step[j]
    touched, most, whose = rows[0, lo:hi], rows[1, lo:hi], rows[2, lo:hi]
    there, going_on = there[lo:hi], 1
    while going_on > 0:
        most[:] = 0.0
        whose[:] = -1.0
        for i in range(takers.pointer[j], takers.pointer[j + 1]):
            q = takers.index[i]  # in their turn
            parts, lane = rest[q, lo:hi], float(q)
            for b in range(hi - lo):
                part, largest, owner = parts[b], most[b], whose[b]
                is_more = part > largest + LAST_DIGITS
                most[b] = part if is_more else largest
                whose[b] = lane if is_more else owner
        going_on = 0
        for b in range(hi - lo):
            is_on = touched[b] > 0.0 and whose[b] >= 0.0 and there[b] >= least - LAST_DIGITS
            whose[b] = whose[b] if is_on else -1.0
            going_on += is_on
        for i in range(takers.pointer[j], takers.pointer[j + 1] if going_on > 0 else 0):
            q = takers.index[i]
            if net.resources.takes_alone[i]:
                _take_if_fits(
                    net, q, takers.value[i], owed, factor, shipped, there, rest, whose, lo
                )
                continue
            for b in range(hi - lo):
                if whose[b] == q:
                    rest[q, lo + b] = 0.0
                    if _fits(net, q, owed, factor, shipped, on_hand, left, lo + b):
                        _take_step(net, q, shipped, on_hand, left, lo + b)


@kernel
def _take_if_fits(
    net: NetworkArrays, q: int, use: float, owed: Floats, factor: Floats, shipped: Floats,
    there: Floats, rest: Floats, whose: Floats, lo: int,
) -> None:  # fmt: skip
    """A step to lane q, which takes of nothing else, where it is its turn [B]."""
    step, row, hi = net.lanes.step[q], net.factor_rows.availability[q], lo + there.size
    wanted, ships, parts, lane = owed[q, lo:hi], shipped[q, lo:hi], rest[q, lo:hi], float(q)
    for b in range(there.size):
        most = wanted[b] * factor[row, lo + b] if row >= 0 else wanted[b]
        is_mine = whose[b] == lane
        fits = ships[b] + step <= most + LAST_DIGITS and use * step <= there[b] + LAST_DIGITS
        takes = step if is_mine and fits else 0.0
        parts[b] = 0.0 if is_mine else parts[b]
        ships[b] += takes
        there[b] = max(0.0, there[b] - use * takes)


@kernel
def _fits(
    net: NetworkArrays, q: int, owed: Floats, factor: Floats, shipped: Floats, on_hand: Floats,
    left: Floats, b: int,
) -> bool:  # fmt: skip
    """Whether the lane may ship another step."""
    step, inputs, uses = net.lanes.step[q], net.lanes.inputs, net.lanes.uses
    row = net.factor_rows.availability[q]
    most = owed[q, b] * factor[row, b] if row >= 0 else owed[q, b]
    fits = shipped[q, b] + step <= most + LAST_DIGITS
    for i in range(inputs.pointer[q], inputs.pointer[q + 1]):
        fits &= inputs.value[i] * step <= on_hand[inputs.index[i], b] + LAST_DIGITS
    for i in range(uses.pointer[q], uses.pointer[q + 1]):
        if not net.resources.limits_orders[uses.index[i]]:
            fits &= uses.value[i] * step <= left[uses.index[i], b] + LAST_DIGITS
    return bool(fits)


@kernel
def _take_step(
    net: NetworkArrays, q: int, shipped: Floats, on_hand: Floats, left: Floats, b: int
) -> None:
    step, inputs, uses = net.lanes.step[q], net.lanes.inputs, net.lanes.uses
    shipped[q, b] += step
    for i in range(inputs.pointer[q], inputs.pointer[q + 1]):
        p = inputs.index[i]
        on_hand[p, b] = max(0.0, on_hand[p, b] - inputs.value[i] * step)
    for i in range(uses.pointer[q], uses.pointer[q + 1]):
        r = uses.index[i]
        left[r, b] = max(0.0, left[r, b] - uses.value[i] * step)


@entry
def let_in_whole(
    net: NetworkArrays, in_transit: Floats, slot: int, on_hand: Floats, factor: Floats,
    share: Floats, let_in: Floats, at_once: bool, lo: int, hi: int,
) -> None:  # fmt: skip
    """let_in [Q, B] = what comes in of in_transit [Q, L, B] in a slot, at nodes of limited room.

    Of whole units the node's share [N, B] rounded down, and then, lane by lane in their turn, one
    more while it fits.
    """
    nodes = net.nodes
    for k in range(nodes.capacitated.size):
        n = nodes.capacitated[k]
        for b in range(lo, hi):
            room = nodes.storage_capacity[n]
            for i in range(nodes.stored.pointer[n], nodes.stored.pointer[n + 1]):
                room -= nodes.stored.value[i] * on_hand[nodes.stored.index[i], b]
            room = max(0.0, room)
            for i in range(nodes.receives.pointer[n], nodes.receives.pointer[n + 1]):
                q = nodes.receives.index[i]
                if net.lanes.at_once[q] or not at_once:
                    due = in_transit[q, slot, b]
                    let_in[q, b] = due
                    if share[n, b] < 1.0:
                        fits = due * share[n, b]
                        let_in[q, b] = whole(fits, 0.0) if _is_whole(net, q) else fits
                    used = good_units(net, factor, q, let_in[q, b], 0.0, b)
                    room -= nodes.receives.value[i] * used
            for i in range(nodes.receives.pointer[n], nodes.receives.pointer[n + 1]):
                q = nodes.receives.index[i]
                if _is_whole(net, q) and (net.lanes.at_once[q] or not at_once):
                    one_more = min(let_in[q, b] + 1.0, in_transit[q, slot, b])
                    used = good_units(net, factor, q, one_more, 0.0, b)
                    used -= good_units(net, factor, q, let_in[q, b], 0.0, b)
                    if nodes.receives.value[i] * used <= room + LAST_DIGITS:
                        room -= nodes.receives.value[i] * used
                        let_in[q, b] = one_more


@kernel
def _is_whole(net: NetworkArrays, q: int) -> bool:
    return bool(net.stocks.whole[net.lanes.to[q]])


@kernel
def usable_share(net: NetworkArrays, factor: Floats, q: int, b: int) -> float:
    """Of what arrives on a lane."""
    share: float = net.lanes.yield_share[q]
    if net.factor_rows.yield_share[q] >= 0:
        share *= factor[net.factor_rows.yield_share[q], b]
    return share


@kernel
def good_units(
    net: NetworkArrays, factor: Floats, q: int, quantity: float, rounding: float, b: int
) -> float:
    """What is usable of a receipt [units]; of whole units a whole number. Where room is limited,
    parts of a unit are no good, so that no more comes in than fits."""
    share = usable_share(net, factor, q, b)
    good: float = quantity * share
    if share < 1.0 and _is_whole(net, q):
        good = whole(good, rounding)
    return good
