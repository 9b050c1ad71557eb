"""From requested to feasible orders: one layer for every policy.

Rules, in order: calendar (and suppliers that take no orders), non-negative, storage, maximum
order, minimum order, order multiple, full loads, budget. The executed quantity is what is logged,
learned from and recommended; `envs.simulation.explain` lists which rule changed what.
"""

from __future__ import annotations

import math

from envs.compiled.arrays import NetworkArrays
from envs.kernel import entry, kernel
from envs.simulation.state import State
from envs.types import Floats

_HALF = 0.5 - 1e-9  # half a pack or more becomes a pack, whatever the last bit of the sum


@entry
def executed_quantity(
    raw: float, minimum_order: float, maximum_order: float, order_multiple: float, load: float
) -> float:
    """Return the quantity ordered [units] for a raw order [units] on one lane.

    Rounds to the nearest multiple (0: units are divisible); below half the minimum order nothing
    is ordered, from half of it on the minimum is. Never above the maximum: where no multiple lies
    between minimum and maximum, nothing is ordered. load: units of a full load (0: any quantity
    goes); rounded to the nearest whole load.
    """
    quantity = min(max(raw, 0.0), maximum_order)
    if minimum_order > 0.0 and quantity < minimum_order:
        quantity = minimum_order if 2.0 * quantity >= minimum_order else 0.0
    if order_multiple > 0.0:
        quantity = _whole(quantity, minimum_order, maximum_order, order_multiple)
    if load > 0.0:
        quantity = _whole(quantity, minimum_order, maximum_order, load)
    return quantity


@kernel
def _whole(quantity: float, minimum: float, maximum: float, multiple: float) -> float:
    packs = math.floor(quantity / multiple + 1.0 - _HALF)
    if packs * multiple > maximum:
        packs = math.floor(maximum / multiple)
    if 0.0 < packs * multiple < minimum:
        packs = math.ceil(minimum / multiple)
    quantity = packs * multiple
    return quantity if quantity <= maximum else 0.0


@entry
def is_open(net: NetworkArrays, factor: Floats, q: int, period: int, offset: int, b: int) -> bool:
    """Whether orders can be placed on lane q now: its calendar, and no regime pauses ordering.

    offset: calendar period in which the episode began. factor [V, B]: the trace's.
    """
    row = net.rules.calendar_row[q]
    if row >= 0 and not net.rules.open_periods[row, (period + offset) % net.rules.cycle[row]]:
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
    multiple, load = rules.order_multiple[q], rules.load_multiple[q]
    if minimum == 0.0 and multiple == 1.0 and load == 0.0:
        for b in range(raw.size):  # the common case: the compiler drops the division
            ordered[b] = executed_quantity(raw[b], 0.0, maximum, 1.0, 0.0)
    else:
        for b in range(raw.size):
            ordered[b] = executed_quantity(raw[b], minimum, maximum, multiple, load)


@entry
def limit_budget(
    net: NetworkArrays, need: Floats, factor: Floats, ordered: Floats, lo: int, hi: int
) -> None:
    """Cut ordered [Q, B] in proportion where lanes use more of a budget than there is.

    Cut orders are rounded down to their multiples; below its minimum an order is dropped.
    need [R, B] is overwritten.
    """
    for r in range(net.resources.capacity.size):
        need[r, lo:hi] = 0.0
    for q in range(net.lanes.to.size):
        for i in range(net.lanes.uses.pointer[q], net.lanes.uses.pointer[q + 1]):
            r = net.lanes.uses.index[i]
            if net.resources.limits_orders[r]:
                for b in range(lo, hi):
                    need[r, b] += net.lanes.uses.value[i] * ordered[q, b]
    for q in range(net.lanes.to.size):
        for b in range(lo, hi):
            part = 1.0
            for i in range(net.lanes.uses.pointer[q], net.lanes.uses.pointer[q + 1]):
                r = net.lanes.uses.index[i]
                if net.resources.limits_orders[r]:
                    capacity, row = net.resources.capacity[r], net.factor_rows.capacity[r]
                    if row >= 0:  # one without a limit is up or down
                        capacity = capacity * factor[row, b] if factor[row, b] > 0.0 else 0.0
                    if need[r, b] > capacity:
                        part = min(part, capacity / need[r, b])
            if part < 1.0:
                ordered[q, b] = _cut(net, q, part * ordered[q, b])


@kernel
def _cut(net: NetworkArrays, q: int, quantity: float) -> float:
    multiple = max(net.rules.order_multiple[q], net.rules.load_multiple[q])
    if multiple > 0.0:
        quantity = math.floor(quantity / multiple + 1e-9) * multiple
    return quantity if quantity >= net.rules.minimum_order[q] else 0.0
