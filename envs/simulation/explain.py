"""Which rule of the feasibility layer changed an order, and from what to what."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.simulation.feasibility import executed_quantity, is_open, limit_budget, limit_storage
from envs.simulation.simulator import Simulator
from envs.types import Floats


class Change(NamedTuple):
    """A rule that changed an order [units]."""

    rule: str
    before: float
    after: float


def explain_orders(simulator: Simulator, raw_order: Floats) -> list[list[Change]]:
    """Return for every lane the rules that change row 0 of raw_order [Q, B], one after the other.

    The last `after`, or the raw order where no rule speaks, is what the simulator executes.
    """
    arrays = simulator.net.arrays
    net, state = simulator.handles.net, simulator.handles.state
    trace = simulator.trace
    changes: list[list[Change]] = [[] for _ in range(len(raw_order))]
    order = np.array(raw_order[:, :1], float)

    def note(rule: str, after: Floats) -> None:
        for q in np.flatnonzero(np.abs(after[:, 0] - order[:, 0]) > 1e-9):
            changes[q].append(Change(rule, float(order[q, 0]), float(after[q, 0])))
        order[...] = after

    offset = int(trace.offset[0])
    is_closed = [
        not is_open(net, trace.factor, q, simulator.period, offset, 0) for q in range(len(order))
    ]
    note("calendar", np.where(np.array(is_closed)[:, None], 0.0, order))
    note("non_negative", np.maximum(order, 0.0))
    room = order.copy()
    limit_storage(net, state, room, 0, 1)
    note("storage", room)
    zero, most, least = 0.0 * order, arrays.rules.maximum_order, arrays.rules.minimum_order
    multiple, load = arrays.rules.order_multiple, arrays.rules.load_multiple
    for rule, limits in (
        ("maximum_order", (zero, most, zero, zero)),
        ("minimum_order", (least, most, zero, zero)),
        ("order_multiple", (least, most, multiple, zero)),
        ("full_loads", (least, most, multiple, load)),
    ):
        rows = [np.ravel(limit) for limit in limits]
        after = [
            executed_quantity(room[q, 0], *(float(row[q]) for row in rows))
            for q in range(len(order))
        ]
        note(rule, np.array(after)[:, None])
    cut = order.copy()
    limit_budget(net, simulator.scratch.resource_need, trace.factor, cut, 0, 1)
    note("budget", cut)
    return changes
