"""Goods that come in whole units stay whole: shared, split, let in, or left by customers.

The simulator's events call these, and so does its twin in torch: one rule for both.
"""

from __future__ import annotations

import numpy as np

from envs.compiled.arrays import Csr, NetworkArrays
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
    left: Floats, rest: Floats, touched: Floats, lo: int, hi: int,
) -> None:  # fmt: skip
    """Make shipments [Q, B] whole: by largest remainder.

    Each lane's share is rounded down to its step. What that leaves of a pair's stock [P, B] or of a
    resource [R, B] goes, a step each, to the lanes with the largest remainders that it fits, ties
    in their turn (by priority, then by name). rest [Q, B]: zeros, before and after; touched [B] is
    overwritten.
    """
    touched[lo:hi] = 0.0
    is_any_left = False
    for q in range(net.lanes.to.size):
        if net.lanes.step[q] > 0.0 and _is_short(owed[q, lo:hi], shipped[q, lo:hi]):
            is_any_left |= _round_down(net, q, owed, shipped, on_hand, left, rest, touched, lo, hi)
    if not is_any_left:
        return
    pairs = net.stocks.whole.size
    for j in range(net.resources.scarce.size):
        thing = net.resources.scarce[j]
        for b in range(lo, hi):
            if touched[b] == 0.0:
                continue
            if thing < pairs:
                _give(
                    net, net.stocks.outbound, thing, owed, factor, shipped, on_hand, left, rest, b
                )
            else:
                users = net.resources.users
                _give(net, users, thing - pairs, owed, factor, shipped, on_hand, left, rest, b)
    for q in range(net.lanes.to.size):
        rest[q, lo:hi] = 0.0  # without limits there is nothing to share
    for p in range(pairs):
        if (
            net.stocks.whole[p]
            and net.stocks.outbound.pointer[p] < net.stocks.outbound.pointer[p + 1]
        ):
            for b in range(lo, hi):
                if touched[b] > 0.0:
                    on_hand[p, b] = _exact(on_hand[p, b])


@kernel
def _exact(quantity: float) -> float:
    """Without the crumbs that adding and taking away leaves."""
    near: float = np.floor(quantity + 0.5)
    return near if abs(quantity - near) < 1e-6 else quantity


@kernel
def _is_short(owed: Floats, shipped: Floats) -> bool:
    short = 0
    for b in range(owed.size):
        short += owed[b] != shipped[b]
    return short > 0


@kernel
def _round_down(
    net: NetworkArrays, q: int, owed: Floats, shipped: Floats, on_hand: Floats, left: Floats,
    rest: Floats, touched: Floats, lo: int, hi: int,
) -> bool:  # fmt: skip
    """Leave whole steps; note the rest [Q, B] as a share of a step, and put it back."""
    step, inputs, uses, found = net.lanes.step[q], net.lanes.inputs, net.lanes.uses, False
    for b in range(lo, hi):
        if shipped[q, b] == owed[q, b]:
            continue
        steps = steps_in(shipped[q, b], step)
        more = shipped[q, b] - steps
        shipped[q, b] = steps
        touched[b] = 1.0
        found = True
        if more <= LAST_DIGITS * step:
            continue
        rest[q, b] = more / step
        for i in range(inputs.pointer[q], inputs.pointer[q + 1]):
            on_hand[inputs.index[i], b] += inputs.value[i] * more
        for i in range(uses.pointer[q], uses.pointer[q + 1]):
            left[uses.index[i], b] += uses.value[i] * more
    return found


@kernel
def _give(
    net: NetworkArrays, takers: Csr, row: int, owed: Floats, factor: Floats, shipped: Floats,
    on_hand: Floats, left: Floats, rest: Floats, b: int,
) -> None:  # fmt: skip
    """A step each to the takers of a row, as long as it fits."""
    turn = net.lanes.turn
    while True:
        best = -1
        for i in range(takers.pointer[row], takers.pointer[row + 1]):
            q = takers.index[i]
            if rest[q, b] > 0.0:
                ahead = rest[q, b] - rest[best, b] if best >= 0 else 1.0
                if ahead > LAST_DIGITS or (ahead > -LAST_DIGITS and turn[q] < turn[best]):
                    best = q
        if best < 0:
            return
        rest[best, b] = 0.0
        if _fits(net, best, owed, factor, shipped, on_hand, left, b):
            _take_step(net, best, shipped, on_hand, left, b)


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
