"""Event 3: actions become orders on lanes, feasible ones, and are owed by the sender."""

from __future__ import annotations

import math


from envs.feasibility import executed_quantity
from envs.kernel import kernel

__all__ = ["order", "split_target"]

LEVEL_RANGE = 2.0  # forecast standard deviations that action 1 adds to the base level
SHARE_RANGE = 3.0  # log-odds that action 1 adds to a lane's base share
CRUMB = 0.05  # lane shares below this are dropped


@kernel
def split_target(net, flows, target, spread, action, lo, hi):
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
        for b in range(hi - lo):
            quantity = max(0.0, want[b] + LEVEL_RANGE * level[b] * sd[b])
            _split_over_lanes(
                lanes, base, net.share_head, action[p], quantity, lo + b, flows.raw_order
            )


@kernel
def _split_over_lanes(lanes, base, share_head, action, quantity, b, raw_order):
    """share = softmax(log base + 3 a), crumbs dropped."""
    total = 0.0
    for i in range(lanes.size):
        q = lanes[i]
        weight = base[i] * math.exp(SHARE_RANGE * action[share_head[q], b])
        raw_order[q, b] = weight
        total += weight
    kept = 0.0
    for q in lanes:
        if raw_order[q, b] < CRUMB * total:
            raw_order[q, b] = 0.0
        kept += raw_order[q, b]
    for q in lanes:
        raw_order[q, b] *= quantity / kept


@kernel
def order(net, state, flows, period, lo, hi):
    """Make raw orders feasible; they join `owed`, after the information delay where there is one."""
    for p in range(flows.requested.shape[0]):
        flows.requested[p, lo:hi] = 0.0
    for q in range(net.lane_to.size):
        raw, ordered = flows.raw_order[q, lo:hi], flows.ordered[q, lo:hi]
        minimum, maximum = net.minimum_order[q], net.maximum_order[q]
        multiple = net.order_multiple[q]
        for b in range(hi - lo):
            ordered[b] = executed_quantity(raw[b], minimum, maximum, multiple)
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
            for b in range(hi - lo):
                requested[b] += net.inputs.value[i] * ordered[b]
