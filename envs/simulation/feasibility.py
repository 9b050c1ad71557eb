"""From requested to feasible orders: one layer for every policy.

Rules, in order: calendar (and suppliers that take no orders), non-negative, storage, maximum
order, minimum order, order multiple, full loads, budget. The executed quantity is what is logged,
learned from and recommended; `envs.simulation.explain` lists which rule changed what.

What a lane takes is nothing, or from its minimum to its maximum whole packs (where loads must be
full: what both packs and loads fit into). An order becomes the next such quantity that is enough,
the nearest, or the next below it, as `Lane.rounding` says; never more than the largest.
"""

from __future__ import annotations

import numpy as np

from envs.compiled.arrays import NetworkArrays
from envs.compiled.calendars import is_open_on
from envs.kernel import entry, kernel
from envs.network.lane import Rounding
from envs.simulation.state import State
from envs.types import Floats

_UP, _NEAREST = list(Rounding).index(Rounding.up), list(Rounding).index(Rounding.nearest)

_CRUMB = 1e-6  # packs: nobody's need, but what numbers leave that were added and taken away
_LAST_DIGITS = 1e-9  # packs: half a pack is half a pack, whatever the last bits of the sum
_SAME = 1e-14  # relative
_SWEEPS = 3  # of giving out what is left of a budget


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
def limit_storage(net: NetworkArrays, state: State, order: Floats, lo: int, hi: int) -> None:
    """Scale order [Q, B] of each node with little room down to what will fit when it arrives.

    Room: storage capacity - volume of the inventory position beyond the demand expected until
    then, pair by pair.
    """
    for i in range(net.nodes.capacitated.size):
        n = net.nodes.capacitated[i]
        for b in range(lo, hi):
            free, need = net.nodes.storage_capacity[n], 0.0
            for j in range(net.nodes.stored.pointer[n], net.nodes.stored.pointer[n + 1]):
                p, volume = net.nodes.stored.index[j], net.nodes.stored.value[j]
                left = state.inventory_position[p, b] - state.forecast_mean[p, b]
                free -= volume * max(0.0, left)
                for k in range(net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]):
                    need += volume * max(0.0, order[net.stocks.inbound.index[k], b])
            free = max(0.0, free)
            if need <= free:
                continue
            part = free / need
            for j in range(net.nodes.stored.pointer[n], net.nodes.stored.pointer[n + 1]):
                p = net.nodes.stored.index[j]
                for k in range(net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]):
                    order[net.stocks.inbound.index[k], b] *= part


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
def limit_budget(
    net: NetworkArrays, need: Floats, wanted: Floats, factor: Floats, ordered: Floats,
    lo: int, hi: int,
) -> None:  # fmt: skip
    """Cut ordered [Q, B] where lanes use more of a budget than there is.

    First in proportion (by the scarcest budget that a lane uses), rounded down to what the lane
    takes. What is then left of the budgets is given out, lane by lane in the order of their
    priority and then of their names, to those that still lack something, as far as it fits: the
    smallest order to those that were left with nothing, then one pack more to each, then as many
    as fit. need [R, B] and wanted [Q, B] are overwritten.
    """
    uses, budgeted = net.lanes.uses, net.rules.budgeted
    for r in range(net.resources.capacity.size):
        need[r, lo:hi] = 0.0
    for j in range(budgeted.size):
        q = budgeted[j]
        for i in range(uses.pointer[q], uses.pointer[q + 1]):
            for b in range(lo, hi):
                need[uses.index[i], b] += uses.value[i] * ordered[q, b]
    for b in range(lo, hi):
        is_over = False
        for r in range(net.resources.capacity.size):
            if net.resources.limits_orders[r]:
                is_over |= need[r, b] > _budget(net, factor, r, b)
        if is_over:
            _cut_in_proportion(net, need, wanted, factor, ordered, b)
            for sweep in range(_SWEEPS):
                for j in range(budgeted.size):
                    _give_back(net, need, wanted, ordered, budgeted[j], sweep, b)


@kernel
def _budget(net: NetworkArrays, factor: Floats, r: int, b: int) -> float:
    capacity: float = net.resources.capacity[r]
    row = net.factor_rows.capacity[r]
    if row >= 0:  # one without a limit is up or down
        capacity = capacity * factor[row, b] if factor[row, b] > 0.0 else 0.0
    return capacity


@kernel
def _cut_in_proportion(
    net: NetworkArrays, need: Floats, wanted: Floats, factor: Floats, ordered: Floats, b: int
) -> None:
    """need [R, B] becomes what is left of the budgets, wanted [Q, B] what was ordered."""
    uses, budgeted = net.lanes.uses, net.rules.budgeted
    for j in range(budgeted.size):
        q, part = budgeted[j], 1.0
        for i in range(uses.pointer[q], uses.pointer[q + 1]):
            r = uses.index[i]
            if net.resources.limits_orders[r]:
                capacity = _budget(net, factor, r, b)
                if need[r, b] > capacity:
                    part = min(part, capacity / need[r, b])
        wanted[q, b] = ordered[q, b]
        if part < 1.0:
            ordered[q, b] = _largest(net, q, part * ordered[q, b])
    for r in range(net.resources.capacity.size):
        if net.resources.limits_orders[r]:
            need[r, b] = _budget(net, factor, r, b)
    for j in range(budgeted.size):
        q = budgeted[j]
        for i in range(uses.pointer[q], uses.pointer[q + 1]):
            need[uses.index[i], b] -= uses.value[i] * ordered[q, b]


@kernel
def _give_back(
    net: NetworkArrays, left: Floats, wanted: Floats, ordered: Floats, q: int, sweep: int, b: int
) -> None:
    """Raise a cut order as far as the sweep and what is left [R, B] of its budgets allow."""
    uses, rules, has = net.lanes.uses, net.rules, ordered[q, b]
    most = wanted[q, b]
    if has >= most or (sweep == 0 and has > 0.0):
        return
    if sweep < _SWEEPS - 1:  # divisible units have no next pack
        smallest = max(rules.minimum_order[q], rules.least_packs[q] * rules.pack[q])
        most = min(most, has + rules.pack[q] if has > 0.0 else smallest)
    for i in range(uses.pointer[q], uses.pointer[q + 1]):
        if net.resources.limits_orders[uses.index[i]]:
            most = min(most, has + max(left[uses.index[i], b], 0.0) / uses.value[i])
    quantity = _largest(net, q, most)
    if quantity > has:
        ordered[q, b] = quantity
        for i in range(uses.pointer[q], uses.pointer[q + 1]):
            left[uses.index[i], b] -= uses.value[i] * (quantity - has)


@kernel
def _largest(net: NetworkArrays, q: int, limit: float) -> float:
    """The largest quantity that the lane takes and that keeps a limit [units], to the last digits;
    0 where there is none."""
    rules = net.rules
    minimum, maximum = rules.minimum_order[q], rules.maximum_order[q]
    numerator, denominator = rules.pack_numerator[q], rules.pack_denominator[q]
    if numerator == 0.0:
        return min(limit, maximum) if limit >= minimum * (1.0 - _LAST_DIGITS) else 0.0
    whole = np.floor(limit * denominator / numerator + _LAST_DIGITS)
    least, most = rules.least_packs[q], rules.most_packs[q]
    return _in_units(whole, minimum, maximum, numerator, denominator, least, most)
