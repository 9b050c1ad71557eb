"""Event 1: shipments due now reach the shelf, orders due now reach their sender."""

from __future__ import annotations

from envs.compiled import NetworkArrays
from envs.kernel import kernel
from envs.state import Flows, State

__all__ = ["receive"]


@kernel
def receive(net: NetworkArrays, state: State, flows: Flows, period: int, lo: int, hi: int) -> None:
    """on_hand += in_transit due now; owed += orders on the way due now."""
    slot = period % state.in_transit.shape[1]
    for q in range(net.lane_to.size):
        due = state.in_transit[q, slot, lo:hi]
        total = state.in_transit_total[q, lo:hi]
        on_hand = state.on_hand[net.lane_to[q], lo:hi]
        received = flows.received[q, lo:hi]
        for b in range(hi - lo):
            on_hand[b] += due[b]
            total[b] -= due[b]
            received[b] = due[b]
            due[b] = 0.0
        if net.information_delay[q] > 0:
            _receive_orders(net, state, flows, period, q, lo, hi)


@kernel
def _receive_orders(
    net: NetworkArrays, state: State, flows: Flows, period: int, q: int, lo: int, hi: int
) -> None:
    due = state.orders_on_way[q, period % state.orders_on_way.shape[1], lo:hi]
    total = state.orders_on_way_total[q, lo:hi]
    owed = state.owed[q, lo:hi]
    for i in range(net.inputs.pointer[q], net.inputs.pointer[q + 1]):
        requested = flows.requested[net.inputs.index[i], lo:hi]
        quantity = net.inputs.value[i]
        for b in range(hi - lo):
            requested[b] += quantity * due[b]
    for b in range(hi - lo):
        owed[b] += due[b]
        total[b] -= due[b]
        due[b] = 0.0
