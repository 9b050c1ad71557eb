"""Event 4: all lanes ship at once what is owed, as far as inputs, resources and regimes allow.

Lanes share what is scarce in rounds (`envs.simulation.events.share`). Of goods in whole units what
each lane gets is then made whole (`envs.simulation.whole_units`).
"""

from __future__ import annotations

from envs.compiled.arrays import NetworkArrays
from envs.kernel import add_scaled, copy_row, kernel
from envs.simulation.events.share import (
    open_resources,
    reverse_sharing,
    share_out,
    sum_needs,
)
from envs.simulation.slopes import Rounds, Slopes
from envs.simulation.whole_units import Shipping, rounding_of, ship_whole, whole
from envs.simulation.world import World
from envs.types import Floats, Floats32, Ints

_CRUMB = 1e-9  # of a capacity: what sums leave


@kernel
def ship(world: World, action: Floats32, lead_time: Ints, period: int, lo: int, hi: int) -> None:
    """shipped <= owed; inputs leave the shelf; shipments enter the slot of their lead time."""
    net, state, flows, scratch = world.net, world.state, world.flows, world.scratch
    open_resources(world, lo, hi)
    shares = flows.shipped  # where there is one round, what a lane gets in it is all it ships
    if net.switches.ship_rounds > 1:
        shares = scratch.share
        for q in range(net.lanes.to.size):
            flows.shipped[q, lo:hi] = 0.0
    for done in range(net.switches.ship_rounds):
        sum_needs(world, shares, done > 0, lo, hi)
        if done == 0:
            _note_scarce(world, lo, hi)
        share_out(world, action, shares, lo, hi)
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
            add_scaled(total, 1.0, shipped)
        elif row >= 0:
            _send_by_draw(shipped, lead_time[row], period, lo, state.in_transit[q], total)
        else:
            slot = (period + lead) % state.in_transit.shape[1]
            _send(shipped, state.in_transit[q, slot, lo:hi], total)
    _tally_use(world, lo, hi)


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
            add_scaled(flows.resource_used[r, lo:hi], net.lanes.uses.value[i], flow[q, lo:hi])


@kernel
def reverse_ship(
    world: World, slopes: Slopes, rounds: Rounds, action: Floats32, lead_time: Ints, period: int,
    lo: int, hi: int,
) -> None:  # fmt: skip
    """Slopes of what was on hand, owed and on its way, by those of what is after it, and of what
    shipments cost, which is there already. Whole units: passed straight through."""
    net, slots = world.net, slopes.in_transit.shape[1]
    for q in range(net.lanes.to.size):
        shipped, owed = slopes.shipped[q, lo:hi], slopes.owed[q, lo:hi]
        if net.switches.cancel_unfilled:
            copy_row(owed, slopes.cancelled[q, lo:hi])
        total, in_transit = slopes.in_transit_total[q, lo:hi], slopes.in_transit[q]
        row, lead = net.lanes.lead_row[q], net.lanes.lead_time[q]
        late, delay = net.lanes.split_share[q], net.lanes.split_delay[q]
        for b in range(hi - lo):
            shipped[b] += total[b] - owed[b]
        if row < 0:
            add_scaled(shipped, 1.0 - late, in_transit[(period + lead) % slots, lo:hi])
            if late > 0.0:
                add_scaled(shipped, late, in_transit[(period + lead + delay) % slots, lo:hi])
            continue
        for b in range(lo, hi):
            slot = period + lead_time[row, b]
            shipped[b - lo] += (1.0 - late) * in_transit[slot % slots, b]
            if late > 0.0:
                shipped[b - lo] += late * in_transit[(slot + delay) % slots, b]
    reverse_sharing(world, slopes, rounds, action, lo, hi)
