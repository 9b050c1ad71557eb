"""Event 4: all lanes ship at once what is owed, as far as inputs, resources and regimes allow.

Lanes that compete for the same input or resource share it in proportion to what they want. A lane
held back by one limit leaves its share of the others to a second and third pass, made only in
networks where a lane has more than one limit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.compiled import NetworkArrays
from envs.kernel import copy_row, kernel
from envs.state import Flows, State

__all__ = ["ship"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@kernel
def ship(
    net: NetworkArrays, state: State, flows: Flows, lead_time: Ints, availability: Floats,
    scratch: Floats, period: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """shipped <= owed; inputs leave the shelf; shipments enter the slot of their lead time."""
    for r in range(net.capacity.size):
        flows.resource_left[r, lo:hi] = net.capacity[r]
    shares = flows.shipped  # what a lane gets in a round: all it ships, where there is only one
    if net.ship_rounds > 1:
        shares = flows.share
        for q in range(net.lane_to.size):
            flows.shipped[q, lo:hi] = 0.0
    for _ in range(net.ship_rounds):
        _sum_needs(net, state, flows, availability, shares, lo, hi)
        _share_out(net, state, flows, shares, scratch[lo:hi], lo, hi)
        _take_inputs(net, state, flows, shares, lo, hi)
    at_once = not net.receive_after_ship  # else lead time 0 is received by event 1, still to come
    for q in range(net.lane_to.size):
        shipped, owed = flows.shipped[q, lo:hi], state.owed[q, lo:hi]
        for b in range(hi - lo):
            owed[b] -= shipped[b]
        if net.cancel_unfilled:
            copy_row(flows.cancelled[q, lo:hi], owed)
            owed[:] = 0.0
        to, row = net.lane_to[q], net.lead_row[q]
        on_hand, received = state.on_hand[to, lo:hi], flows.received[q, lo:hi]
        total = state.in_transit_total[q, lo:hi]
        if row >= 0:
            in_transit, leads = state.in_transit[q], lead_time[row]
            _send_by_draw(shipped, leads, period, lo, at_once, in_transit, total, on_hand, received)
            continue
        lead = net.lead_time[q]
        slot = (period + lead) % state.in_transit.shape[1]
        if lead == 0 and at_once:
            _arrive(shipped, on_hand, received)
        else:
            _arrive(shipped, state.in_transit[q, slot, lo:hi], total)


@kernel
def _sum_needs(
    net: NetworkArrays, state: State, flows: Flows, availability: Floats, shares: Floats,
    lo: int, hi: int,
) -> None:  # fmt: skip
    """share = what each lane still wants; need = the sums of it per input and per resource."""
    for p in range(net.demand_of.size):
        if net.outbound.pointer[p] < net.outbound.pointer[p + 1]:
            flows.need[p, lo:hi] = 0.0
    for r in range(net.capacity.size):
        flows.resource_need[r, lo:hi] = 0.0
    for q in range(net.lane_to.size):
        want, owed = shares[q, lo:hi], state.owed[q, lo:hi]
        if net.availability_row[q] < 0:
            copy_row(want, owed)
        else:
            usable = availability[net.availability_row[q], lo:hi]
            for b in range(hi - lo):
                want[b] = owed[b] * usable[b]
        if net.ship_rounds > 1:
            shipped = flows.shipped[q, lo:hi]
            for b in range(hi - lo):
                want[b] -= shipped[b]
        for i in range(net.inputs.pointer[q], net.inputs.pointer[q + 1]):
            _add_scaled(flows.need[net.inputs.index[i], lo:hi], net.inputs.value[i], want)
        for i in range(net.resources.pointer[q], net.resources.pointer[q + 1]):
            need = flows.resource_need[net.resources.index[i], lo:hi]
            _add_scaled(need, net.resources.value[i], want)


@kernel
def _share_out(
    net: NetworkArrays, state: State, flows: Flows, shares: Floats, want: Floats, lo: int, hi: int
) -> None:
    """share becomes what each lane gets: its part of the scarcest thing it takes."""
    for q in range(net.lane_to.size):
        share = shares[q, lo:hi]
        if net.ship_rounds > 1:
            copy_row(want, share)
        for i in range(net.inputs.pointer[q], net.inputs.pointer[q + 1]):
            p = net.inputs.index[i]
            available, need = state.on_hand[p, lo:hi], flows.need[p, lo:hi]
            if net.ship_rounds > 1:
                _limit(share, want, available, need)
            else:
                _limit_once(share, available, need)
        for i in range(net.resources.pointer[q], net.resources.pointer[q + 1]):
            r = net.resources.index[i]
            available, need = flows.resource_left[r, lo:hi], flows.resource_need[r, lo:hi]
            if net.ship_rounds > 1:
                _limit(share, want, available, need)
            else:
                _limit_once(share, available, need)


@kernel
def _limit(share: Floats, want: Floats, available: Floats, need: Floats) -> None:
    for b in range(share.size):
        # Product before quotient: a single user then gets exactly what is there.
        proportional = want[b] * available[b] / max(need[b], 1e-300)
        share[b] = min(share[b], proportional if need[b] > available[b] else want[b])


@kernel
def _limit_once(share: Floats, available: Floats, need: Floats) -> None:
    """The same for a lane's only limit: `share` is still what it wants."""
    for b in range(share.size):
        proportional = share[b] * available[b] / max(need[b], 1e-300)
        share[b] = min(share[b], proportional if need[b] > available[b] else share[b])


@kernel
def _take_inputs(
    net: NetworkArrays, state: State, flows: Flows, shares: Floats, lo: int, hi: int
) -> None:
    for q in range(net.lane_to.size):
        share = shares[q, lo:hi]
        if net.ship_rounds > 1:
            _add_scaled(flows.shipped[q, lo:hi], 1.0, share)
        for i in range(net.inputs.pointer[q], net.inputs.pointer[q + 1]):
            _take(state.on_hand[net.inputs.index[i], lo:hi], net.inputs.value[i], share)
        for i in range(net.resources.pointer[q], net.resources.pointer[q + 1]):
            left = flows.resource_left[net.resources.index[i], lo:hi]
            _take(left, net.resources.value[i], share)


@kernel
def _add_scaled(total: Floats, factor: float, values: Floats) -> None:
    for b in range(total.size):
        total[b] += factor * values[b]


@kernel
def _take(available: Floats, factor: float, values: Floats) -> None:
    for b in range(available.size):
        available[b] = max(0.0, available[b] - factor * values[b])


@kernel
def _arrive(shipped: Floats, place: Floats, tally: Floats) -> None:
    for b in range(shipped.size):
        place[b] += shipped[b]
        tally[b] += shipped[b]


@kernel
def _send_by_draw(
    shipped: Floats, leads: Ints, period: int, lo: int, at_once: bool, in_transit: Floats,
    total: Floats, on_hand: Floats, received: Floats,
) -> None:  # fmt: skip
    for b in range(shipped.size):
        lead = leads[lo + b]
        if lead == 0 and at_once:
            on_hand[b] += shipped[b]
            received[b] += shipped[b]
        else:
            in_transit[(period + lead) % in_transit.shape[0], lo + b] += shipped[b]
            total[b] += shipped[b]
