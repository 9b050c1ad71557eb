"""From requested to feasible orders: one layer for every policy.

Rules, in order: calendar (and suppliers that take no orders), non-negative, maximum order, minimum
order, order multiple, full loads, storage, budget. The executed quantity is what is logged, learned
from and recommended; `envs.simulation.explain` lists which rule changed what.

What a lane takes is nothing, or from its minimum to its maximum whole packs (where loads must be
full: what both packs and loads fit into). An order becomes the next such quantity that is enough,
the nearest, or the next below it, as `Lane.rounding` says; never more than the largest. Lanes share
the room at a node and budgets, by one rule (`limit_orders`).
"""

from __future__ import annotations

import numpy as np

from envs.compiled.arrays import NetworkArrays
from envs.compiled.calendars import is_open_on
from envs.kernel import entry, kernel
from envs.network.lane import Rounding
from envs.simulation.state import Scratch, State
from envs.types import Floats

_UP, _NEAREST = list(Rounding).index(Rounding.up), list(Rounding).index(Rounding.nearest)

_CRUMB = 1e-6  # packs: nobody's need, but what numbers leave that were added and taken away
_LAST_DIGITS = 1e-9  # packs: half a pack is half a pack, whatever the last bits of the sum
_SAME = 1e-14  # relative
_SWEEPS = 3  # of giving out what is left of a limit


@entry
def executed_quantity(
    raw: float, minimum: float, maximum: float, numerator: float, denominator: float,
    least: float, most: float, rounding: int,
) -> float:  # fmt: skip
    """Return the quantity ordered [units] for a raw order [units] on one lane.

    minimum to most: see `envs.network.order_quantities.OrderQuantities`. rounding: place in
    `Rounding`. What can be ordered comes back as it was asked for; of packs in whole units it is
    made whole to the last digit.
    """
    if numerator == 0.0:
        return _any_quantity(raw, minimum, maximum, rounding)
    packs = max(raw, 0.0) * denominator / numerator
    if rounding == _UP:
        whole = np.ceil(packs - _CRUMB)
        whole = max(whole, least) if whole > 0.0 else 0.0
    elif rounding == _NEAREST:
        whole = np.floor(packs + 0.5 + _LAST_DIGITS)
        if whole < least:
            whole = least if 2.0 * packs >= least - _LAST_DIGITS else 0.0
    else:
        whole = np.floor(packs + _CRUMB)
    quantity = _in_units(whole, minimum, maximum, numerator, denominator, least, most)
    if denominator > 1.0 and 0.0 < abs(quantity - raw) <= _SAME * quantity:
        return min(max(raw, minimum), maximum)  # however its decimals were computed
    return quantity


@kernel
def _any_quantity(raw: float, minimum: float, maximum: float, rounding: int) -> float:
    """Of divisible units: only the minimum makes a difference."""
    quantity = min(max(raw, 0.0), maximum)
    if quantity >= minimum:
        return quantity
    if rounding == _UP:
        enough = _CRUMB * minimum
    elif rounding == _NEAREST:
        enough = 0.5 * minimum
    else:
        enough = (1.0 - _CRUMB) * minimum
    is_enough = quantity >= enough if rounding == _NEAREST else quantity > enough
    return minimum if is_enough else 0.0


@kernel
def _in_units(
    whole: float, minimum: float, maximum: float, numerator: float, denominator: float,
    least: float, most: float,
) -> float:  # fmt: skip
    """Units in so many whole packs; 0 below the least. At a limit, the limit as it is written."""
    whole = min(whole, most)
    if whole < least:
        return 0.0
    return min(max(whole * numerator / denominator, minimum), maximum)


@entry
def is_open(net: NetworkArrays, factor: Floats, q: int, period: int, offset: int, b: int) -> bool:
    """Whether orders can be placed on lane q now: its calendar, and no regime pauses ordering.

    offset: calendar period in which the episode began. factor [V, B]: the trace's.
    """
    row = net.rules.calendar_row[q]
    if row >= 0 and not is_open_on(net.calendars, row, period + offset):
        return False
    row = net.factor_rows.ordering[q]
    return bool(row < 0 or factor[row, b] > 0.0)


@entry
def execute(net: NetworkArrays, q: int, raw: Floats, ordered: Floats) -> None:
    """ordered [B] = the executed quantities of raw [B] on lane q: the rules of one lane alone."""
    rules = net.rules
    minimum, maximum = rules.minimum_order[q], rules.maximum_order[q]
    numerator, denominator = rules.pack_numerator[q], rules.pack_denominator[q]
    least, most, rounding = rules.least_packs[q], rules.most_packs[q], rules.rounding[q]
    if numerator == 1.0 and denominator == 1.0 and least == 1.0 and rounding == _NEAREST:
        for b in range(raw.size):  # the common case, whole units, without a division
            ordered[b] = min(np.floor(max(raw[b], 0.0) + 0.5 + _LAST_DIGITS), most)
    else:
        for b in range(raw.size):
            ordered[b] = executed_quantity(
                raw[b], minimum, maximum, numerator, denominator, least, most, rounding
            )


@entry
def limit_orders(
    net: NetworkArrays, state: State, factor: Floats, scratch: Scratch, ordered: Floats,
    with_budgets: bool, lo: int, hi: int,
) -> None:  # fmt: skip
    """Cut ordered [Q, B] where lanes take more of a node's room, or of a budget, than there is.

    First in proportion (by the scarcest limit that a lane takes of), rounded down to what the lane
    takes. What is then left is given out, lane by lane in the order of their priority and then of
    their names, to those that still lack something, as far as it fits: the smallest order to those
    that were left with nothing, then one pack more to each, then as many as fit. Of limits that are
    too small scratch.limit_need becomes what lanes wanted, scratch.limit_left what remains; of
    others limit_need is 0. scratch.wanted is overwritten. with_budgets: else room only.
    """
    takes, limited = net.rules.takes, net.rules.limited
    left, need, wanted = scratch.limit_left, scratch.limit_need, scratch.wanted
    _open_limits(net, state, factor, left, with_budgets, lo, hi)
    need[:, lo:hi] = 0.0
    for j in range(limited.size):
        q = limited[j]
        for i in range(takes.pointer[q], takes.pointer[q + 1]):
            for b in range(lo, hi):
                need[takes.index[i], b] += takes.value[i] * ordered[q, b]
    for b in range(lo, hi):
        is_over = False
        for k in range(need.shape[0]):
            if need[k, b] > left[k, b]:
                is_over = True
            else:
                need[k, b] = 0.0
        if is_over:
            _cut_in_proportion(net, left, need, wanted, ordered, b)
            for sweep in range(_SWEEPS):
                for j in range(limited.size):
                    _give_back(net, left, wanted, ordered, limited[j], sweep, b)


@kernel
def _open_limits(
    net: NetworkArrays, state: State, factor: Floats, left: Floats, with_budgets: bool,
    lo: int, hi: int,
) -> None:  # fmt: skip
    """left [K, B]: budgets, times the availability of their regimes; then room at nodes: storage
    capacity - volume of the inventory position beyond the demand expected until an order arrives,
    pair by pair."""
    budgets, nodes = net.rules.budgets, net.nodes
    for k in range(budgets.size):
        capacity = net.resources.capacity[budgets[k]] if with_budgets else np.inf
        row = net.factor_rows.capacity[budgets[k]] if with_budgets else -1
        left[k, lo:hi] = capacity
        if row >= 0:  # one without a limit is up or down
            for b in range(lo, hi):
                left[k, b] = capacity * factor[row, b] if factor[row, b] > 0.0 else 0.0
    for i in range(nodes.capacitated.size):
        n, k = nodes.capacitated[i], budgets.size + i
        left[k, lo:hi] = nodes.storage_capacity[n]
        for j in range(nodes.stored.pointer[n], nodes.stored.pointer[n + 1]):
            p, volume = nodes.stored.index[j], nodes.stored.value[j]
            for b in range(lo, hi):
                stays = state.inventory_position[p, b] - state.forecast_mean[p, b]
                left[k, b] -= volume * max(0.0, stays)
        for b in range(lo, hi):
            left[k, b] = max(0.0, left[k, b])


@kernel
def _cut_in_proportion(
    net: NetworkArrays, left: Floats, need: Floats, wanted: Floats, ordered: Floats, b: int
) -> None:
    """wanted [Q, B] becomes what was ordered, left [K, B] what the parts leave."""
    takes, limited = net.rules.takes, net.rules.limited
    for j in range(limited.size):
        q, part = limited[j], 1.0
        for i in range(takes.pointer[q], takes.pointer[q + 1]):
            k = takes.index[i]
            if need[k, b] > left[k, b]:
                part = min(part, left[k, b] / need[k, b])
        wanted[q, b] = ordered[q, b]
        if part < 1.0:
            ordered[q, b] = _largest(net, q, part * ordered[q, b])
    for j in range(limited.size):
        q = limited[j]
        for i in range(takes.pointer[q], takes.pointer[q + 1]):
            left[takes.index[i], b] -= takes.value[i] * ordered[q, b]


@kernel
def _give_back(
    net: NetworkArrays, left: Floats, wanted: Floats, ordered: Floats, q: int, sweep: int, b: int
) -> None:
    """Raise a cut order as far as the sweep and what is left [K, B] of its limits allow."""
    takes, rules, has = net.rules.takes, net.rules, ordered[q, b]
    most = wanted[q, b]
    if has >= most or (sweep == 0 and has > 0.0):
        return
    if sweep < _SWEEPS - 1:  # divisible units have no next pack
        smallest = max(rules.minimum_order[q], rules.least_packs[q] * rules.pack[q])
        most = min(most, has + rules.pack[q] if has > 0.0 else smallest)
    for i in range(takes.pointer[q], takes.pointer[q + 1]):
        most = min(most, has + max(left[takes.index[i], b], 0.0) / takes.value[i])
    quantity = _largest(net, q, most)
    if quantity > has:
        ordered[q, b] = quantity
        for i in range(takes.pointer[q], takes.pointer[q + 1]):
            left[takes.index[i], b] -= takes.value[i] * (quantity - has)


@kernel
def _largest(net: NetworkArrays, q: int, limit: float) -> float:
    """The largest quantity that the lane takes and that keeps a limit [units], to the last digits;
    0 where there is none."""
    rules = net.rules
    minimum, maximum = rules.minimum_order[q], rules.maximum_order[q]
    numerator, denominator = rules.pack_numerator[q], rules.pack_denominator[q]
    if numerator == 0.0:  # what is left in the last digits of a limit isn't ordered
        fits = limit > _LAST_DIGITS and limit >= minimum * (1.0 - _LAST_DIGITS)
        return min(limit, maximum) if fits else 0.0
    whole = np.floor(limit * denominator / numerator + _LAST_DIGITS)
    least, most = rules.least_packs[q], rules.most_packs[q]
    return _in_units(whole, minimum, maximum, numerator, denominator, least, most)
