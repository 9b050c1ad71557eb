"""Event 3: actions become orders on lanes, feasible ones, and are owed by the sender."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from envs.compiled import NetworkArrays
from envs.feasibility import executed_quantity
from envs.kernel import kernel
from envs.state import Flows, State

__all__ = ["order", "split_target"]

Floats = NDArray[np.float64]
Actions = NDArray[np.float32]

LEVEL_RANGE = 2.0  # forecast standard deviations that action 1 adds to the base level
SHARE_RANGE = 3.0  # log-odds that action 1 adds to a lane's base share
CRUMB = 0.05  # lane shares below this are dropped


@kernel
def split_target(
    net: NetworkArrays, flows: Flows, target: Floats, spread: Floats, action: Actions,
    lo: int, hi: int,
) -> None:  # fmt: skip
    """Turn the base policy's target order and the residual action into raw orders on lanes.

    target [P, B] units (negative: stock is above target), spread [P, B] units, action [P, A, B]
    in [-1, 1]: head 0 moves the level, heads 1.. the lane shares. The zero action asks for
    exactly what the base policy does.
    """
    for p in range(target.shape[0]):
        want, sd, level = target[p, lo:hi], spread[p, lo:hi], action[p, 0, lo:hi]
        first, last = net.inbound.pointer[p], net.inbound.pointer[p + 1]
        if last - first == 1:
            raw = flows.raw_order[net.inbound.index[first], lo:hi]
            for b in range(hi - lo):
                raw[b] = max(0.0, want[b] + LEVEL_RANGE * level[b] * sd[b])
            continue
        lanes, base = net.inbound.index[first:last], net.inbound.value[first:last]
        raw_order, share_head, heads = flows.raw_order, net.share_head, action[p]
        for b in range(hi - lo):
            quantity = max(0.0, want[b] + LEVEL_RANGE * level[b] * sd[b])
            _split_over_lanes(lanes, base, share_head, heads, quantity, lo + b, raw_order)


@kernel
def _split_over_lanes(
    lanes: NDArray[np.int64], base: Floats, share_head: NDArray[np.int64], action: Actions,
    quantity: float, b: int, raw_order: Floats,
) -> None:  # fmt: skip
    """share = softmax(log base + 3 a), crumbs dropped."""
    total = 0.0
    for i in range(lanes.size):
        q = lanes[i]
        weight = base[i] * math.exp(SHARE_RANGE * action[share_head[q], b])
        raw_order[q, b] = weight
        total += weight
    kept = 0.0
    for i in range(lanes.size):
        q = lanes[i]
        if raw_order[q, b] < CRUMB * total:
            raw_order[q, b] = 0.0
        kept += raw_order[q, b]
    for i in range(lanes.size):
        raw_order[lanes[i], b] *= quantity / kept


@kernel
def order(net: NetworkArrays, state: State, flows: Flows, period: int, lo: int, hi: int) -> None:
    """Make raw orders feasible; they join `owed`, after the information delay if there is one."""
    for p in range(flows.requested.shape[0]):
        flows.requested[p, lo:hi] = 0.0
    for q in range(net.lane_to.size):
        raw, ordered = flows.raw_order[q, lo:hi], flows.ordered[q, lo:hi]
        _execute(raw, net.minimum_order[q], net.maximum_order[q], net.order_multiple[q], ordered)
        delay = net.information_delay[q]
        if delay > 0:
            slot = (period + delay) % state.orders_on_way.shape[1]
            on_way = state.orders_on_way[q, slot, lo:hi]
            total = state.orders_on_way_total[q, lo:hi]
            for b in range(hi - lo):
                on_way[b] += ordered[b]
                total[b] += ordered[b]
            continue
        owed = state.owed[q, lo:hi]
        for b in range(hi - lo):
            owed[b] += ordered[b]
        for i in range(net.inputs.pointer[q], net.inputs.pointer[q + 1]):
            requested = flows.requested[net.inputs.index[i], lo:hi]
            quantity = net.inputs.value[i]
            for b in range(hi - lo):
                requested[b] += quantity * ordered[b]


@kernel
def _execute(raw: Floats, minimum: float, maximum: float, multiple: float, ordered: Floats) -> None:
    if minimum == 0.0 and multiple == 1.0:  # the common case: the compiler drops the division
        for b in range(raw.size):
            ordered[b] = executed_quantity(raw[b], 0.0, maximum, 1.0)
    else:
        for b in range(raw.size):
            ordered[b] = executed_quantity(raw[b], minimum, maximum, multiple)
