"""Event 4: all lanes ship at once what is owed, as far as inputs, resources and regimes allow.

Lanes that compete for the same input or resource share it in proportion to what they request, or by
the rule that `envs.simulation.events.allocate` knows. A lane held back by one limit leaves its
share of the others to a second and third pass, made only in networks where a lane has more than one
limit. Of goods in whole units what each lane gets is then made whole
(`envs.simulation.whole_units`).
"""

from __future__ import annotations

import numpy as np

from envs.compiled.arrays import NetworkArrays
from envs.kernel import copy_row, kernel
from envs.simulation.events.allocate import limit_shares
from envs.simulation.whole_units import Shipping, rounding_of, ship_whole, steps_in, whole
from envs.simulation.world import World
from envs.types import Floats, Floats32, Ints

_CRUMB = 1e-9  # of a capacity: what sums leave


@kernel
def ship(world: World, action: Floats32, lead_time: Ints, period: int, lo: int, hi: int) -> None:
    """shipped <= owed; inputs leave the shelf; shipments enter the slot of their lead time."""
    net, state, flows, scratch = world.net, world.state, world.flows, world.scratch
    _open_resources(world, lo, hi)
    shares = flows.shipped  # where there is one round, what a lane gets in it is all it ships
    if net.switches.ship_rounds > 1:
        shares = scratch.share
        for q in range(net.lanes.to.size):
            flows.shipped[q, lo:hi] = 0.0
    by_rule = flows.limit.shape[0] > 0
    for done in range(net.switches.ship_rounds):
        _sum_needs(world, shares, done > 0, lo, hi)
        if done == 0:
            _note_scarce(world, lo, hi)
        if by_rule:
            limit_shares(world, action, shares, lo, hi)
        _share_out(world, shares, lo, hi)
        if by_rule:
            for q in range(net.lanes.to.size):
                _lower(shares[q, lo:hi], flows.limit[q, lo:hi])
        _take_inputs(world, shares, lo, hi)
    if net.switches.has_whole_units:
        goods = Shipping(
            state.owed, flows.shipped, state.on_hand, flows.resource_left, scratch.is_short,
            scratch.rest, scratch.rows,
        )  # fmt: skip
        ship_whole(net, goods, lo, hi)
    _note_unused(world, lo, hi)
    for q in range(net.lanes.to.size):
        shipped, owed = flows.shipped[q, lo:hi], state.owed[q, lo:hi]
        for b in range(hi - lo):
            owed[b] -= shipped[b]
        if net.switches.cancel_unfilled:
            copy_row(flows.cancelled[q, lo:hi], owed)
            owed[:] = 0.0
        row, lead = net.lanes.lead_row[q], net.lanes.lead_time[q]
        total = state.in_transit_total[q, lo:hi]
        if net.lanes.split_share[q] > 0.0:
            _send_in_parts(net, q, shipped, lead_time, period, lo, state.in_transit[q])
            _add_scaled(total, 1.0, shipped)
        elif row >= 0:
            _send_by_draw(shipped, lead_time[row], period, lo, state.in_transit[q], total)
        else:
            slot = (period + lead) % state.in_transit.shape[1]
            _send(shipped, state.in_transit[q, slot, lo:hi], total)
    _tally_use(world, lo, hi)


@kernel
def _is_limit(net: NetworkArrays, r: int) -> bool:
    """Whether the resource limits shipments: by its capacity, or when its regimes are down."""
    limited = net.resources.capacity[r] < np.inf or net.factor_rows.capacity[r] >= 0
    return bool(limited and not net.resources.limits_orders[r])


@kernel
def _open_resources(world: World, lo: int, hi: int) -> None:
    net, flows, factor = world.net, world.flows, world.factor
    for r in range(net.resources.capacity.size):
        left, row = flows.resource_left[r, lo:hi], net.factor_rows.capacity[r]
        capacity = net.resources.capacity[r]
        left[:] = capacity
        if row >= 0:
            for b in range(hi - lo):
                left[b] = capacity * factor[row, lo + b] if factor[row, lo + b] > 0.0 else 0.0


@kernel
def _sum_needs(world: World, shares: Floats, again: bool, lo: int, hi: int) -> None:
    """share = what each lane still wants; need = the sums of it per input and per resource."""
    net, state, scratch, factor = world.net, world.state, world.scratch, world.factor
    inputs = net.lanes.inputs
    for p in range(net.stocks.demand_of.size):
        if net.stocks.outbound.pointer[p] < net.stocks.outbound.pointer[p + 1]:
            scratch.need[p, lo:hi] = 0.0
    for r in range(net.resources.capacity.size):
        scratch.resource_need[r, lo:hi] = 0.0
    for q in range(net.lanes.to.size):
        want, owed = shares[q, lo:hi], state.owed[q, lo:hi]
        if net.factor_rows.availability[q] < 0:
            copy_row(want, owed)
        else:
            usable = factor[net.factor_rows.availability[q], lo:hi]
            for b in range(hi - lo):
                want[b] = owed[b] * usable[b]
            if net.lanes.step[q] > 0.0:
                for b in range(hi - lo):
                    want[b] = steps_in(want[b], net.lanes.step[q])
        if again:
            _want_less(world, q, want, lo, hi)
        for i in range(inputs.pointer[q], inputs.pointer[q + 1]):
            _add_scaled(scratch.need[inputs.index[i], lo:hi], inputs.value[i], want)
        for i in range(net.lanes.uses.pointer[q], net.lanes.uses.pointer[q + 1]):
            r = net.lanes.uses.index[i]
            if _is_limit(net, r):
                _add_scaled(scratch.resource_need[r, lo:hi], net.lanes.uses.value[i], want)


@kernel
def _note_scarce(world: World, lo: int, hi: int) -> None:
    """limit_unused [R, B] = 1 where lanes want more of a resource than there is, else 0."""
    net, flows, scratch = world.net, world.flows, world.scratch
    for r in range(net.resources.capacity.size):
        for b in range(lo, hi):
            is_scarce = scratch.resource_need[r, b] > flows.resource_left[r, b]
            flows.limit_unused[r, b] = 1.0 if is_scarce else 0.0


@kernel
def _note_unused(world: World, lo: int, hi: int) -> None:
    """limit_unused [U, B] = what is left in the end of resources, budgets and room that were too
    small, crumbs apart."""
    net, flows, scratch = world.net, world.flows, world.scratch
    budgets, capacity, nodes = net.rules.budgets, net.resources.capacity, net.nodes
    for k in range(budgets.size):
        copy_row(flows.resource_left[budgets[k], lo:hi], scratch.limit_left[k, lo:hi])
        copy_row(flows.limit_unused[budgets[k], lo:hi], scratch.limit_need[k, lo:hi])
    for r in range(capacity.size):
        for b in range(lo, hi):
            left, was_scarce = flows.resource_left[r, b], flows.limit_unused[r, b] > 0.0
            is_left = was_scarce and left > _CRUMB * capacity[r]
            flows.limit_unused[r, b] = left if is_left else 0.0
    for i in range(nodes.capacitated.size):
        k, crumb = budgets.size + i, _CRUMB * nodes.storage_capacity[nodes.capacitated[i]]
        for b in range(lo, hi):
            is_left = scratch.limit_need[k, b] > 0.0 and scratch.limit_left[k, b] > crumb
            flows.limit_unused[capacity.size + i, b] = scratch.limit_left[k, b] if is_left else 0.0


@kernel
def _want_less(world: World, q: int, want: Floats, lo: int, hi: int) -> None:
    """In a later round: without what the lane got, and no more than the other lanes left: it must
    not keep from them what it can't use."""
    net, state, flows = world.net, world.state, world.flows
    shipped = flows.shipped[q, lo:hi]
    for b in range(hi - lo):
        want[b] = max(0.0, want[b] - shipped[b])
    for i in range(net.lanes.inputs.pointer[q], net.lanes.inputs.pointer[q + 1]):
        left, quantity = state.on_hand[net.lanes.inputs.index[i], lo:hi], net.lanes.inputs.value[i]
        for b in range(hi - lo):
            want[b] = min(want[b], left[b] / quantity)
    for i in range(net.lanes.uses.pointer[q], net.lanes.uses.pointer[q + 1]):
        r, quantity = net.lanes.uses.index[i], net.lanes.uses.value[i]
        if _is_limit(net, r):
            left = flows.resource_left[r, lo:hi]
            for b in range(hi - lo):
                want[b] = min(want[b], left[b] / quantity)


@kernel
def _share_out(world: World, shares: Floats, lo: int, hi: int) -> None:
    """share becomes what each lane gets: its part of the scarcest thing shared in proportion."""
    net, state, flows, scratch = world.net, world.state, world.flows, world.scratch
    want = scratch.row[lo:hi]
    for q in range(net.lanes.to.size):
        share = shares[q, lo:hi]
        if net.switches.ship_rounds > 1:
            copy_row(want, share)
        for i in range(net.lanes.inputs.pointer[q], net.lanes.inputs.pointer[q + 1]):
            p = net.lanes.inputs.index[i]
            if not net.stocks.shares_simply[p]:
                continue
            available, need = state.on_hand[p, lo:hi], scratch.need[p, lo:hi]
            if net.switches.ship_rounds > 1:
                _limit(share, want, available, need)
            else:
                _limit_once(share, available, need)
        for i in range(net.lanes.uses.pointer[q], net.lanes.uses.pointer[q + 1]):
            r = net.lanes.uses.index[i]
            if net.resources.by_priority[r] or not _is_limit(net, r):
                continue
            available, need = flows.resource_left[r, lo:hi], scratch.resource_need[r, lo:hi]
            if net.switches.ship_rounds > 1:
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
def _take_inputs(world: World, shares: Floats, lo: int, hi: int) -> None:
    net, state, flows = world.net, world.state, world.flows
    for q in range(net.lanes.to.size):
        share = shares[q, lo:hi]
        if net.switches.ship_rounds > 1:
            _add_scaled(flows.shipped[q, lo:hi], 1.0, share)
        for i in range(net.lanes.inputs.pointer[q], net.lanes.inputs.pointer[q + 1]):
            _take(state.on_hand[net.lanes.inputs.index[i], lo:hi], net.lanes.inputs.value[i], share)
        for i in range(net.lanes.uses.pointer[q], net.lanes.uses.pointer[q + 1]):
            r = net.lanes.uses.index[i]
            if _is_limit(net, r):
                _take(flows.resource_left[r, lo:hi], net.lanes.uses.value[i], share)


@kernel
def _add_scaled(total: Floats, factor: float, values: Floats) -> None:
    for b in range(total.size):
        total[b] += factor * values[b]


@kernel
def _take(available: Floats, factor: float, values: Floats) -> None:
    for b in range(available.size):
        available[b] = max(0.0, available[b] - factor * values[b])


@kernel
def _lower(share: Floats, limit: Floats) -> None:
    for b in range(share.size):
        share[b] = min(share[b], limit[b])


@kernel
def _send(shipped: Floats, slot: Floats, total: Floats) -> None:
    for b in range(shipped.size):
        slot[b] += shipped[b]
        total[b] += shipped[b]


@kernel
def _send_by_draw(
    shipped: Floats, leads: Ints, period: int, lo: int, in_transit: Floats, total: Floats
) -> None:
    for b in range(shipped.size):
        in_transit[(period + leads[lo + b]) % in_transit.shape[0], lo + b] += shipped[b]
        total[b] += shipped[b]


@kernel
def _send_in_parts(
    net: NetworkArrays, q: int, shipped: Floats, lead_time: Ints, period: int, lo: int,
    in_transit: Floats,
) -> None:  # fmt: skip
    """A share of the shipment comes later: of its units, whatever packs they were ordered in."""
    row, slots = net.lanes.lead_row[q], in_transit.shape[0]
    is_whole, rounding = net.stocks.whole[net.lanes.to[q]], rounding_of(period)
    for b in range(shipped.size):
        lead = lead_time[row, lo + b] if row >= 0 else net.lanes.lead_time[q]
        late = net.lanes.split_share[q] * shipped[b]
        if is_whole:
            late = whole(late, rounding)
        in_transit[(period + lead) % slots, lo + b] += shipped[b] - late
        in_transit[(period + lead + net.lanes.split_delay[q]) % slots, lo + b] += late


@kernel
def _tally_use(world: World, lo: int, hi: int) -> None:
    """resource_used [R, B], by what the resource limits."""
    net, flows = world.net, world.flows
    for r in range(net.resources.capacity.size):
        flows.resource_used[r, lo:hi] = 0.0
    for q in range(net.lanes.to.size):
        for i in range(net.lanes.uses.pointer[q], net.lanes.uses.pointer[q + 1]):
            r = net.lanes.uses.index[i]
            flow = flows.ordered if net.resources.limits_orders[r] else flows.shipped
            _add_scaled(flows.resource_used[r, lo:hi], net.lanes.uses.value[i], flow[q, lo:hi])
