"""Event 6: every cost in its own column, charged to a stocked pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.compiled import NetworkArrays
from envs.kernel import kernel
from envs.state import CostColumn, Flows, State

__all__ = ["account"]

Floats = NDArray[np.float64]

_HOLDING, _IN_TRANSIT = int(CostColumn.HOLDING), int(CostColumn.IN_TRANSIT)
_BACKLOG, _LOST_SALE = int(CostColumn.BACKLOG), int(CostColumn.LOST_SALE)
_PURCHASE, _FIXED = int(CostColumn.PURCHASE), int(CostColumn.FIXED_ORDER)
_REVENUE, _SALVAGE = int(CostColumn.REVENUE), int(CostColumn.SALVAGE)


@kernel
def account(
    net: NetworkArrays, state: State, flows: Flows, salvage_share: float, lo: int, hi: int
) -> None:
    """cost [C, P, B]; total_cost is its sum. salvage_share > 0 only in the last period."""
    used = net.column_used
    for p in range(net.holding_cost.size):
        total = flows.total_cost[p, lo:hi]
        total[:] = 0.0
        if used[_HOLDING]:
            cost = flows.cost[_HOLDING, p, lo:hi]
            _charge(cost, total, net.holding_cost[p], state.on_hand[p, lo:hi])
        if used[_BACKLOG]:
            cost = flows.cost[_BACKLOG, p, lo:hi]
            _charge(cost, total, net.backlog_cost[p], state.backorders[p, lo:hi])
            for i in range(net.outbound.pointer[p], net.outbound.pointer[p + 1]):
                rate = net.backlog_cost[p] * net.outbound.value[i]
                _charge_more(cost, total, rate, state.owed[net.outbound.index[i], lo:hi])
        if used[_LOST_SALE]:
            cost = flows.cost[_LOST_SALE, p, lo:hi]
            _charge(cost, total, net.lost_sale_cost[p], flows.lost[p, lo:hi])
        if used[_REVENUE]:
            cost = flows.cost[_REVENUE, p, lo:hi]
            _charge(cost, total, -net.price[p], flows.sold[p, lo:hi])
            _charge_more(cost, total, -net.price[p], flows.backlog_served[p, lo:hi])
        if used[_SALVAGE]:
            cost, worth = flows.cost[_SALVAGE, p, lo:hi], -salvage_share * net.salvage[p]
            _charge(cost, total, worth, state.on_hand[p, lo:hi])
            for i in range(net.inbound.pointer[p], net.inbound.pointer[p + 1]):
                on_way = state.in_transit_total[net.inbound.index[i], lo:hi]
                _charge_more(cost, total, worth, on_way)
    for column in (_IN_TRANSIT, _PURCHASE, _FIXED):
        if used[column]:
            _charge_lanes(net, state, flows, column, lo, hi)


@kernel
def _charge(cost: Floats, total: Floats, rate: float, quantity: Floats) -> None:
    """Write one pair's entry of a column and add it to the pair's total."""
    for b in range(cost.size):
        charge = rate * quantity[b]
        cost[b] = charge
        total[b] += charge


@kernel
def _charge_more(cost: Floats, total: Floats, rate: float, quantity: Floats) -> None:
    for b in range(cost.size):
        charge = rate * quantity[b]
        cost[b] += charge
        total[b] += charge


@kernel
def _charge_lanes(
    net: NetworkArrays, state: State, flows: Flows, column: int, lo: int, hi: int
) -> None:
    for p in range(net.holding_cost.size):
        flows.cost[column, p, lo:hi] = 0.0
    for q in range(net.lane_to.size):
        p = net.in_transit_payer[q] if column == _IN_TRANSIT else net.lane_to[q]
        cost, total = flows.cost[column, p, lo:hi], flows.total_cost[p, lo:hi]
        if column == _IN_TRANSIT:
            on_way = state.in_transit_total[q, lo:hi]
            _charge_more(cost, total, net.in_transit_cost[q], on_way)
        elif column == _PURCHASE:
            _charge_more(cost, total, net.unit_cost[q], flows.shipped[q, lo:hi])
        else:
            ordered, fixed = flows.ordered[q, lo:hi], net.fixed_cost[q]
            for b in range(hi - lo):
                charge = fixed if ordered[b] > 0.0 else 0.0
                cost[b] += charge
                total[b] += charge
