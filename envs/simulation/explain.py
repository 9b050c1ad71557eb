"""Which rule of the feasibility layer changed an order, and from what to what."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.compiled.arrays import NetworkArrays
from envs.network.lane import Lane
from envs.network.order_quantities import OrderQuantities, order_quantities
from envs.simulation.feasibility import (
    execute,
    executed_quantity,
    is_open,
    limit_orders,
)
from envs.simulation.simulator import Simulator
from envs.types import Floats, Ints

_CHANGE = 1e-9  # units: what differs by less is the same


class Change(NamedTuple):
    """A rule that changed an order [units]."""

    rule: str
    before: float
    after: float


def explain_orders(
    simulator: Simulator, raw_order: Floats, lanes: Ints | None = None
) -> list[list[Change]]:
    """Return for every lane the rules that change row 0 of raw_order [Q, B], one after the other.

    The last `after`, or the raw order where no rule speaks, is what the simulator executes.
    lanes: those that are looked at; of the others the list is empty. None: all.
    """
    handles = simulator.handles
    net, state, scratch = handles.net, handles.state, handles.scratch
    trace = simulator.trace
    changes: list[list[Change]] = [[] for _ in range(len(raw_order))]
    order = np.array(raw_order[:, :1], float)

    def note(rule: str, after: Floats) -> None:
        for q in np.flatnonzero(np.abs(after[:, 0] - order[:, 0]) > _CHANGE):
            changes[q].append(Change(rule, float(order[q, 0]), float(after[q, 0])))
        order[...] = after

    arrays, offset = simulator.net.arrays, int(trace.offset[0])
    executing = _executing(arrays, lanes)
    after = order.copy()
    for q in executing.tolist():
        if not is_open(net, trace.factor, q, simulator.period, offset, 0):
            after[q] = 0.0
    note("calendar", after)
    note("non_negative", np.maximum(order, 0.0))
    wish = order.copy()
    executed = order.copy()
    for q in executing.tolist():
        execute(net, q, wish[q], executed[q])
    changed = np.flatnonzero(np.abs(executed - order)[:, 0] > _CHANGE)
    for steps, rule in enumerate(
        ("maximum_order", "minimum_order", "order_multiple", "full_loads")
    ):
        after = order.copy()
        for q in changed.tolist():
            lane, step = simulator.net.network.lanes[q], float(arrays.lanes.step[q])
            rules = _quantities(lane, step, steps)
            after[q] = executed_quantity(wish[q, 0], *rules, arrays.rules.rounding[q])
        note(rule, after)
    for rule, with_budgets in (("storage", False), ("budget", True)):
        cut = executed.copy()
        limit_orders(net, state, trace.factor, scratch, cut, with_budgets, 0, 1)
        note(rule, cut)
    wanted = None if lanes is None else set(lanes.tolist())
    return [found if wanted is None or q in wanted else [] for q, found in enumerate(changes)]


def _executing(arrays: NetworkArrays, lanes: Ints | None) -> Ints:
    """The lanes, and all others that may share a limit with some lane."""
    if lanes is None:
        return np.arange(len(arrays.lanes.to))
    return np.union1d(lanes, arrays.rules.limited)


def _quantities(lane: Lane, whole: float, steps: int) -> OrderQuantities:
    """Return what orders could be if only the maximum counted, and the next so many rules; whole:
    what whole units make orders multiples of."""
    minimum = lane.minimum_order if steps > 0 else 0.0
    pack = lane.order_multiple if steps > 1 else 0.0
    load = (lane.load_size or 0.0) * lane.full_loads if steps > 2 else 0.0
    whole = whole if steps > 1 else 0.0
    return order_quantities(lane.id, minimum, lane.maximum_order, pack, load, whole)
