"""Event 6: every cost in its own column, charged to a stocked pair."""

from __future__ import annotations

import math

from envs.compiled.arrays import CostColumn
from envs.kernel import kernel
from envs.simulation.slopes import Slopes
from envs.simulation.world import World
from envs.types import Floats

_HOLDING, _IN_TRANSIT = int(CostColumn.HOLDING), int(CostColumn.IN_TRANSIT)
_BACKLOG, _LOST_SALE = int(CostColumn.BACKLOG), int(CostColumn.LOST_SALE)
_PURCHASE, _FIXED = int(CostColumn.PURCHASE), int(CostColumn.FIXED_ORDER)
_REVENUE, _SALVAGE = int(CostColumn.REVENUE), int(CostColumn.SALVAGE)
_LOAD = int(CostColumn.LOAD)

_ROUNDING = 1e-9  # of a unit or a load: left by rounding, and not charged


@kernel
def account(world: World, salvage_share: float, lo: int, hi: int) -> None:
    """cost [C, P, B]; total_cost is its sum. salvage_share > 0 only in the last period.

    factor [V, B]: the trace's. Salvage of what is in transit: its expected good share.
    """
    net, state, flows = world.net, world.state, world.flows
    used = net.switches.column_used
    for p in range(net.stocks.holding_cost.size):
        total = flows.total_cost[p, lo:hi]
        total[:] = 0.0
        if used[_HOLDING]:
            cost = flows.cost[_HOLDING, p, lo:hi]
            _charge(cost, total, net.stocks.holding_cost[p], state.on_hand[p, lo:hi])
        if used[_BACKLOG]:
            cost = flows.cost[_BACKLOG, p, lo:hi]
            _charge(cost, total, net.stocks.backlog_cost[p], state.backorders[p, lo:hi])
            for i in range(net.stocks.outbound.pointer[p], net.stocks.outbound.pointer[p + 1]):
                rate = net.stocks.waiting_cost[i]
                _charge_more(cost, total, rate, state.owed[net.stocks.outbound.index[i], lo:hi])
        if used[_LOST_SALE]:
            cost = flows.cost[_LOST_SALE, p, lo:hi]
            _charge(cost, total, net.stocks.lost_sale_cost[p], flows.lost[p, lo:hi])
        if used[_REVENUE]:
            cost = flows.cost[_REVENUE, p, lo:hi]
            _charge(cost, total, -net.stocks.price[p], flows.sold[p, lo:hi])
            _charge_more(cost, total, -net.stocks.price[p], flows.backlog_served[p, lo:hi])
        if used[_SALVAGE]:
            cost, worth = flows.cost[_SALVAGE, p, lo:hi], -salvage_share * net.stocks.salvage[p]
            _charge(cost, total, worth, state.on_hand[p, lo:hi])
            for i in range(net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]):
                q = net.stocks.inbound.index[i]
                on_way = state.in_transit_total[q, lo:hi]
                _charge_more(cost, total, worth * net.lanes.expected_yield[q], on_way)
    if net.switches.has_lane_terms:
        _charge_lane_terms(world, lo, hi)
    for column in (_IN_TRANSIT, _PURCHASE, _FIXED, _LOAD):
        if used[column]:
            _charge_lanes(world, column, lo, hi)


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
def _charge_lane_terms(world: World, lo: int, hi: int) -> None:
    """What a lane's price earns its sender, and its cost of unfilled orders, if any."""
    net, state, flows = world.net, world.state, world.flows
    for q in range(net.lanes.to.size):
        p = net.lanes.seller[q]
        total = flows.total_cost[p, lo:hi]
        if net.lanes.price[q] > 0.0:
            earned = flows.cost[_REVENUE, p, lo:hi]
            _charge_more(earned, total, -net.lanes.price[q], flows.shipped[q, lo:hi])
        if net.lanes.unfilled_cost[q] > 0.0:
            rate = net.lanes.unfilled_cost[q]
            _charge_more(flows.cost[_BACKLOG, p, lo:hi], total, rate, state.owed[q, lo:hi])
            cancelled = flows.cancelled[q, lo:hi]
            _charge_more(flows.cost[_LOST_SALE, p, lo:hi], total, rate, cancelled)


@kernel
def _charge_lanes(world: World, column: int, lo: int, hi: int) -> None:
    net, state, flows, factor = world.net, world.state, world.flows, world.factor
    for p in range(net.stocks.holding_cost.size):
        flows.cost[column, p, lo:hi] = 0.0
    for q in range(net.lanes.to.size):
        p = net.lanes.in_transit_payer[q] if column == _IN_TRANSIT else net.lanes.to[q]
        cost, total = flows.cost[column, p, lo:hi], flows.total_cost[p, lo:hi]
        if column == _IN_TRANSIT:
            on_way = state.in_transit_total[q, lo:hi]
            _charge_more(cost, total, net.lanes.in_transit_cost[q], on_way)
        elif column == _PURCHASE:
            shipped, row = flows.shipped[q, lo:hi], net.factor_rows.cost[q]
            if row < 0:
                _charge_more(cost, total, net.lanes.unit_cost[q], shipped)
            else:
                _charge_factored(cost, total, net.lanes.unit_cost[q], shipped, factor[row, lo:hi])
        elif column == _FIXED:
            _charge_orders(cost, total, net.lanes.fixed_cost[q], flows.ordered[q, lo:hi])
        if net.switches.has_use_costs and column in (_FIXED, _LOAD):
            _charge_use(world, column == _LOAD, q, lo, hi)


@kernel
def _charge_factored(
    cost: Floats, total: Floats, rate: float, quantity: Floats, factor: Floats
) -> None:
    for b in range(cost.size):
        charge = rate * factor[b] * quantity[b]
        cost[b] += charge
        total[b] += charge


@kernel
def _charge_orders(cost: Floats, total: Floats, fixed: float, ordered: Floats) -> None:
    for b in range(cost.size):
        charge = fixed if ordered[b] > 0.0 else 0.0
        cost[b] += charge
        total[b] += charge


@kernel
def _charge_use(world: World, is_load: bool, q: int, lo: int, hi: int) -> None:
    """Lane q's part of the joint cost, or of the loads, of what it uses; by use. A load begun
    counts in full; the lane's regimes move its part of the loads, as they move its unit cost."""
    net, flows, factor = world.net, world.flows, world.factor
    p, column = net.lanes.to[q], _LOAD if is_load else _FIXED
    row = net.factor_rows.cost[q] if is_load else -1
    for i in range(net.lanes.uses.pointer[q], net.lanes.uses.pointer[q + 1]):
        r = net.lanes.uses.index[i]
        rate = net.resources.load_cost[r] if is_load else net.resources.joint_cost[r]
        if rate == 0.0:
            continue
        flow = flows.ordered if net.resources.limits_orders[r] else flows.shipped
        for b in range(lo, hi):
            used = flows.resource_used[r, b]
            if used > _ROUNDING:
                charge = rate * net.lanes.uses.value[i] * flow[q, b] / used
                if is_load:
                    charge *= math.ceil(used / net.resources.load_size[r] - _ROUNDING)
                if row >= 0:
                    charge *= factor[row, b]
                flows.cost[column, p, b] += charge
                flows.total_cost[p, b] += charge


@kernel
def reverse_account(
    world: World, slopes: Slopes, weight: Floats, shortage_price: Floats, salvage_share: float,
    lo: int, hi: int,
) -> None:  # fmt: skip
    """Slopes of all that is charged: the rates, times the weight [B] of a replication's cost.

    shortage_price [B]: currency per unit not served at once, on top. Fees per order are flat; a
    load costs by its use.
    """
    net, rated = world.net, weight[lo:hi]
    for p in range(net.stocks.holding_cost.size):
        at_horizon = salvage_share * net.stocks.salvage[p]
        _add_rate(slopes.on_hand[p, lo:hi], net.stocks.holding_cost[p] - at_horizon, rated)
        _add_rate(slopes.backorders[p, lo:hi], net.stocks.backlog_cost[p], rated)
        for i in range(net.stocks.outbound.pointer[p], net.stocks.outbound.pointer[p + 1]):
            owed = slopes.owed[net.stocks.outbound.index[i], lo:hi]
            _add_rate(owed, net.stocks.waiting_cost[i], rated)
        for i in range(net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]):
            q = net.stocks.inbound.index[i]
            on_way = slopes.in_transit_total[q, lo:hi]
            _add_rate(on_way, -at_horizon * net.lanes.expected_yield[q], rated)
        sold, older = slopes.sold[p, lo:hi], slopes.backlog_served[p, lo:hi]
        lost, price, loss = slopes.lost[p, lo:hi], net.stocks.price[p], net.stocks.lost_sale_cost[p]
        for b in range(hi - lo):
            older[b] = -price * rated[b]
            sold[b] = -(price + shortage_price[lo + b]) * rated[b]
            lost[b] = loss * rated[b]
    for q in range(net.lanes.to.size):
        _add_rate(slopes.in_transit_total[q, lo:hi], net.lanes.in_transit_cost[q], rated)
        _reverse_flows(world, slopes, q, rated, lo, hi)


@kernel
def _add_rate(slope: Floats, rate: float, weight: Floats) -> None:
    if rate != 0.0:
        for b in range(slope.size):
            slope[b] += rate * weight[b]


@kernel
def _reverse_flows(world: World, slopes: Slopes, q: int, weight: Floats, lo: int, hi: int) -> None:
    """What a lane's shipments and orders cost."""
    net, factor, lanes = world.net, world.factor, world.net.lanes
    shipped, ordered = slopes.shipped[q, lo:hi], slopes.raw_order[q, lo:hi]
    by_size = lanes.unit_cost[q]  # what regimes move of the cost of a unit shipped
    by_order = 0.0
    for i in range(lanes.uses.pointer[q], lanes.uses.pointer[q + 1]):
        r = lanes.uses.index[i]
        if net.resources.load_size[r] > 0.0:
            load = net.resources.load_cost[r] / net.resources.load_size[r] * lanes.uses.value[i]
            if net.resources.limits_orders[r]:
                by_order += load
            else:
                by_size += load
    row = net.factor_rows.cost[q]
    for b in range(hi - lo):
        factored = weight[b] * factor[row, lo + b] if row >= 0 else weight[b]
        shipped[b] = by_size * factored - lanes.price[q] * weight[b]
        ordered[b] = by_order * factored
    cancelled, unfilled = slopes.cancelled[q, lo:hi], lanes.unfilled_cost[q]
    for b in range(hi - lo):
        cancelled[b] = unfilled * weight[b]
    _add_rate(slopes.owed[q, lo:hi], unfilled, weight)
