"""Event 4: all lanes ship at once what is owed, as far as inputs, resources and regimes allow.

Lanes that compete for the same input or resource share it in proportion to what they want. A lane
held back by one limit leaves its share of the others to a second and third pass, made only in
networks where a lane has more than one limit.
"""

from __future__ import annotations

from envs.kernel import kernel

__all__ = ["ship"]


@kernel
def ship(net, state, flows, lead_time, availability, period, lo, hi):
    """shipped <= owed; inputs leave the shelf; shipments enter the slot of their lead time."""
    for r in range(net.capacity.size):
        flows.resource_left[r, lo:hi] = net.capacity[r]
    for q in range(net.lane_to.size):
        flows.shipped[q, lo:hi] = 0.0
    for _ in range(net.ship_rounds):
        _sum_needs(net, state, flows, availability, lo, hi)
        _share_out(net, state, flows, lo, hi)
        _take_inputs(net, state, flows, lo, hi)
    for q in range(net.lane_to.size):
        shipped, owed = flows.shipped[q, lo:hi], state.owed[q, lo:hi]
        for b in range(hi - lo):
            owed[b] -= shipped[b]
        if net.cancel_unfilled:
            flows.cancelled[q, lo:hi] = owed
            owed[:] = 0.0
        to, row = net.lane_to[q], net.lead_row[q]
        on_hand, received = state.on_hand[to, lo:hi], flows.received[q, lo:hi]
        total = state.in_transit_total[q, lo:hi]
        if row < 0:
            lead = net.lead_time[q]
            slot = (period + lead) % state.in_transit.shape[1]
            due = state.in_transit[q, slot, lo:hi]
            if lead == 0:
                _arrive(shipped, on_hand, received)
            else:
                _arrive(shipped, due, total)
        else:
            in_transit, leads = state.in_transit[q], lead_time[row]
            _send_by_draw(shipped, leads, period, lo, in_transit, total, on_hand, received)


@kernel
def _sum_needs(net, state, flows, availability, lo, hi):
    """share = what each lane still wants; need = the sums of it per input and per resource."""
    for p in range(flows.need.shape[0]):
        flows.need[p, lo:hi] = 0.0
    for r in range(net.capacity.size):
        flows.resource_need[r, lo:hi] = 0.0
    for q in range(net.lane_to.size):
        want, owed = flows.share[q, lo:hi], state.owed[q, lo:hi]
        shipped = flows.shipped[q, lo:hi]
        if net.availability_row[q] < 0:
            for b in range(hi - lo):
                want[b] = owed[b] - shipped[b]
        else:
            usable = availability[net.availability_row[q], lo:hi]
            for b in range(hi - lo):
                want[b] = owed[b] * usable[b] - shipped[b]
        for i in range(net.inputs.pointer[q], net.inputs.pointer[q + 1]):
            _add_scaled(flows.need[net.inputs.index[i], lo:hi], net.inputs.value[i], want)
        for i in range(net.resources.pointer[q], net.resources.pointer[q + 1]):
            need = flows.resource_need[net.resources.index[i], lo:hi]
            _add_scaled(need, net.resources.value[i], want)


@kernel
def _share_out(net, state, flows, lo, hi):
    """share becomes what each lane gets: its part of the scarcest thing it takes."""
    for q in range(net.lane_to.size):
        first, last = net.inputs.pointer[q], net.inputs.pointer[q + 1]
        begin, end = net.resources.pointer[q], net.resources.pointer[q + 1]
        share = flows.share[q, lo:hi]
        if last - first + end - begin == 1:
            want = share
        else:
            want = share.copy()
        for i in range(first, last):
            p = net.inputs.index[i]
            _limit(share, want, state.on_hand[p, lo:hi], flows.need[p, lo:hi])
        for i in range(begin, end):
            r = net.resources.index[i]
            _limit(share, want, flows.resource_left[r, lo:hi], flows.resource_need[r, lo:hi])


@kernel
def _limit(share, want, available, need):
    for b in range(share.size):
        # Product before quotient: a single user then gets exactly what is there.
        proportional = want[b] * available[b] / max(need[b], 1e-300)
        share[b] = min(share[b], proportional if need[b] > available[b] else want[b])


@kernel
def _take_inputs(net, state, flows, lo, hi):
    for q in range(net.lane_to.size):
        share, shipped = flows.share[q, lo:hi], flows.shipped[q, lo:hi]
        for b in range(hi - lo):
            shipped[b] += share[b]
        for i in range(net.inputs.pointer[q], net.inputs.pointer[q + 1]):
            _take(state.on_hand[net.inputs.index[i], lo:hi], net.inputs.value[i], share)
        for i in range(net.resources.pointer[q], net.resources.pointer[q + 1]):
            left = flows.resource_left[net.resources.index[i], lo:hi]
            _take(left, net.resources.value[i], share)


@kernel
def _add_scaled(total, factor, values):
    for b in range(total.size):
        total[b] += factor * values[b]


@kernel
def _take(available, factor, values):
    for b in range(available.size):
        available[b] = max(0.0, available[b] - factor * values[b])


@kernel
def _arrive(shipped, place, tally):
    for b in range(shipped.size):
        place[b] += shipped[b]
        tally[b] += shipped[b]


@kernel
def _send_by_draw(shipped, leads, period, lo, in_transit, total, on_hand, received):
    for b in range(shipped.size):
        lead = leads[lo + b]
        if lead == 0:
            on_hand[b] += shipped[b]
            received[b] += shipped[b]
        else:
            in_transit[(period + lead) % in_transit.shape[0], lo + b] += shipped[b]
            total[b] += shipped[b]
