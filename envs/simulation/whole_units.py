"""Goods that come in whole units stay whole: shared, split, let in, or left by customers.

One rule for all events.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.compiled.arrays import NetworkArrays
from envs.kernel import copy_row, entry, kernel
from envs.trace.random_streams import GOLDEN
from envs.types import Bools, Floats

LAST_DIGITS = 1e-9  # of a unit: left by adding and taking away
_GRID = 2.0**30  # that remainders are rounded to, so that equal ones are, to the last digits


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


class Shipping(NamedTuple):
    """What lanes ship, what that leaves, and working memory (overwritten)."""

    owed: Floats  # [Q, B] units
    shipped: Floats  # [Q, B] units
    on_hand: Floats  # [P, B] units
    resource_left: Floats  # [R, B] capacity
    is_short: Bools  # [Q] whether the lane ships less than is owed, in any replication
    rest: Floats  # [Q, B] where it does: the part of a step that its share has beyond whole ones
    rows: Floats  # [3 or more, B]


@kernel
def ship_whole(net: NetworkArrays, goods: Shipping, lo: int, hi: int) -> None:
    """Make shipments whole: by largest remainder.

    Each lane's share is rounded down to its step. What that leaves of a pair's stock or of a
    resource goes, a step each, to the lanes with the largest remainders that it fits, ties in their
    turn (by priority, then by name).
    """
    touched, some = goods.rows[0, lo:hi], False
    touched[:] = 0.0
    for q in range(net.lanes.to.size):
        goods.is_short[q] = net.lanes.step[q] > 0.0 and _is_short(goods, q, lo, hi)
        if goods.is_short[q]:
            _round_down(net, q, goods, touched, lo, hi)
            some = True
    if not some:
        return
    pairs = net.stocks.whole.size
    for j in range(net.resources.scarce.size):
        thing = net.resources.scarce[j]
        there = goods.on_hand[thing] if thing < pairs else goods.resource_left[thing - pairs]
        if net.resources.takers_alike[j]:
            _give_by_rank(net, j, goods, there[lo:hi], lo)
        else:
            for b in range(lo, hi):
                if touched[b - lo] > 0.0:
                    _give_in_turn(net, j, goods, there, b)
    for j in range(net.resources.scarce.size):
        p = net.resources.scarce[j]
        if p < pairs and net.stocks.whole[p]:
            stock = goods.on_hand[p, lo:hi]
            for b in range(hi - lo):
                stock[b] = _exact(stock[b]) if touched[b] > 0.0 else stock[b]


@kernel
def _exact(quantity: float) -> float:
    """Without the crumbs that adding and taking away leaves."""
    near: float = np.floor(quantity + 0.5)
    return near if abs(quantity - near) < 1e-6 else quantity


@kernel
def _is_short(goods: Shipping, q: int, lo: int, hi: int) -> bool:
    wanted, ships, short = goods.owed[q, lo:hi], goods.shipped[q, lo:hi], 0
    for b in range(hi - lo):
        short += ships[b] != wanted[b]
    return short > 0


@kernel
def _round_down(
    net: NetworkArrays, q: int, goods: Shipping, touched: Floats, lo: int, hi: int
) -> None:
    """Leave whole steps; note the rest and put it back."""
    step, inputs, uses = net.lanes.step[q], net.lanes.inputs, net.lanes.uses
    wanted, ships, parts = goods.owed[q, lo:hi], goods.shipped[q, lo:hi], goods.rest[q, lo:hi]
    for b in range(hi - lo):
        units, is_short = ships[b], ships[b] != wanted[b]
        steps = steps_in(units, step)
        part = units - steps
        ships[b] = steps if is_short else units
        is_part = is_short and part > LAST_DIGITS * step
        parts[b] = part / step if is_part else 0.0
        touched[b] = 1.0 if is_short else touched[b]
    for i in range(inputs.pointer[q], inputs.pointer[q + 1]):
        _put_back(goods.on_hand[inputs.index[i], lo:hi], inputs.value[i] * step, parts)
    for i in range(uses.pointer[q], uses.pointer[q + 1]):
        _put_back(goods.resource_left[uses.index[i], lo:hi], uses.value[i] * step, parts)
    for b in range(hi - lo):
        is_owed = ships[b] + step <= wanted[b] + LAST_DIGITS
        parts[b] = np.floor(parts[b] * _GRID + 0.5) / _GRID if is_owed else 0.0


@kernel
def _put_back(there: Floats, per_step: float, parts: Floats) -> None:
    for b in range(there.size):
        there[b] += per_step * parts[b]


@kernel
def _give_by_rank(net: NetworkArrays, j: int, goods: Shipping, there: Floats, lo: int) -> None:
    """A step each to as many takers of the scarce thing j as it is `there` [B] for, where all take
    the same. Their ranks are counted: replications side by side, without sorting."""
    takers, need, hi = net.resources.takers, net.resources.least_step[j], lo + there.size
    steps, before, most = goods.rows[1, lo:hi], goods.rows[2, lo:hi], 0.0
    steps[:] = 0.0
    for i in range(takers.pointer[j], takers.pointer[j + 1]):
        if goods.is_short[takers.index[i]]:
            parts = goods.rest[takers.index[i], lo:hi]
            for b in range(there.size):
                fits = parts[b] > 0.0 and need <= there[b] + LAST_DIGITS
                there[b] = max(0.0, there[b] - need) if fits else there[b]
                steps[b] += 1.0 if fits else 0.0
    for b in range(there.size):
        most = max(most, steps[b])
    if most == 0.0:
        return
    for i in range(takers.pointer[j], takers.pointer[j + 1]):
        q = takers.index[i]
        if not goods.is_short[q]:
            continue
        parts, ships, step = goods.rest[q, lo:hi], goods.shipped[q, lo:hi], net.lanes.step[q]
        before[:] = 0.0
        for k in range(takers.pointer[j], takers.pointer[j + 1]):
            if k != i and goods.is_short[takers.index[k]]:
                others = goods.rest[takers.index[k], lo:hi]
                if k < i:
                    for b in range(there.size):
                        before[b] += 1.0 if others[b] >= parts[b] else 0.0
                else:
                    for b in range(there.size):
                        before[b] += 1.0 if others[b] > parts[b] else 0.0
        for b in range(there.size):
            gets = parts[b] > 0.0 and before[b] < steps[b]
            ships[b] += step if gets else 0.0


@kernel
def _give_in_turn(net: NetworkArrays, j: int, goods: Shipping, there: Floats, b: int) -> None:
    """The same where takers differ: one by one, as long as anything is `there` [B]."""
    takers, least = net.resources.takers, net.resources.least_step[j] - LAST_DIGITS
    while there[b] >= least:
        largest, whose = 0.0, -1
        for i in range(takers.pointer[j], takers.pointer[j + 1]):
            q = takers.index[i]
            if goods.is_short[q] and goods.rest[q, b] > largest:
                largest, whose = goods.rest[q, b], q
        if whose < 0:
            break
        goods.rest[whose, b] = 0.0
        _take_if_fits(net, whose, goods, b)


@kernel
def _take_if_fits(net: NetworkArrays, q: int, goods: Shipping, b: int) -> None:
    """Another step to lane q, if there is enough of all that it takes."""
    step, inputs, uses = net.lanes.step[q], net.lanes.inputs, net.lanes.uses
    on_hand, left = goods.on_hand, goods.resource_left
    for i in range(inputs.pointer[q], inputs.pointer[q + 1]):
        if inputs.value[i] * step > on_hand[inputs.index[i], b] + LAST_DIGITS:
            return
    for i in range(uses.pointer[q], uses.pointer[q + 1]):
        limits = not net.resources.limits_orders[uses.index[i]]
        if limits and uses.value[i] * step > left[uses.index[i], b] + LAST_DIGITS:
            return
    goods.shipped[q, b] += step
    for i in range(inputs.pointer[q], inputs.pointer[q + 1]):
        p = inputs.index[i]
        on_hand[p, b] = max(0.0, on_hand[p, b] - inputs.value[i] * step)
    for i in range(uses.pointer[q], uses.pointer[q + 1]):
        r = uses.index[i]
        left[r, b] = max(0.0, left[r, b] - uses.value[i] * step)


@kernel
def let_in_whole(
    net: NetworkArrays, due: Floats, on_hand: Floats, factor: Floats, share: Floats,
    let_in: Floats, at_once: bool,
) -> None:  # fmt: skip
    """let_in [Q, B] = what comes in of what is due [Q, B], at nodes of limited room.

    Of whole units the node's share [N, B] rounded down, and then, lane by lane in their turn, one
    more while it fits. at_once: only lanes of lead time 0.
    """
    nodes = net.nodes
    for k in range(nodes.capacitated.size):
        n = nodes.capacitated[k]
        first, last = nodes.receives.pointer[n], nodes.receives.pointer[n + 1]
        for i in range(first, last):
            q = nodes.receives.index[i]
            if net.lanes.at_once[q] or not at_once:
                copy_row(let_in[q], due[q])
        for b in range(share.shape[1]):
            if share[n, b] >= 1.0:
                continue
            room = nodes.storage_capacity[n]
            for i in range(nodes.stored.pointer[n], nodes.stored.pointer[n + 1]):
                room -= nodes.stored.value[i] * on_hand[nodes.stored.index[i], b]
            room = max(0.0, room)
            for i in range(first, last):
                q = nodes.receives.index[i]
                if net.lanes.at_once[q] or not at_once:
                    fits = due[q, b] * share[n, b]
                    let_in[q, b] = whole(fits, 0.0) if _is_whole(net, q) else fits
                    used = good_units(net, factor, q, let_in[q, b], 0.0, b)
                    room -= nodes.receives.value[i] * used
            for i in range(first, last):
                q = nodes.receives.index[i]
                if _is_whole(net, q) and (net.lanes.at_once[q] or not at_once):
                    one_more = min(let_in[q, b] + 1.0, due[q, b])
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
