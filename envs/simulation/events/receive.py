"""Event 1: orders due now reach their sender, shipments due now reach the shelf.

Orders are heard of when the period opens, whenever goods arrive: their sender sees them before it
orders itself, and ships them in the same period.

Where something disturbs receipts, goods stay in the pipeline: those on their way move a period
back while transit is paused; those that are due stay in the slot of the next period while
receiving is paused or the node is full. What is let in and is defective is scrapped.
"""

from __future__ import annotations

import numpy as np

from envs.compiled.arrays import NetworkArrays
from envs.kernel import copy_row, kernel
from envs.simulation.slopes import CRUMB_UNITS, Slopes
from envs.simulation.whole_units import good_units, let_in_whole, rounding_of, usable_share
from envs.simulation.world import World
from envs.types import Floats


@kernel
def hear(world: World, period: int, lo: int, hi: int) -> None:
    """owed += orders on the way due now."""
    if world.state.orders_on_way.shape[1] > 1:  # else all orders are known at once
        for q in range(world.net.lanes.to.size):
            if world.net.lanes.information_delay[q] > 0:
                _receive_orders(world, period, q, lo, hi)


@kernel
def receive(world: World, period: int, lo: int, hi: int) -> None:
    """on_hand += in_transit due now."""
    net, state, flows, factor = world.net, world.state, world.flows, world.factor
    slot = period % state.in_transit.shape[1]
    all_plain = True
    for q in range(net.lanes.to.size):
        flows.received[q, lo:hi] = 0.0
        if net.lanes.plain_receipt[q]:
            _receive_all(world, q, slot, lo, hi)
        else:
            all_plain = False
            flows.scrapped[q, lo:hi] = 0.0
            row = net.factor_rows.transit[q]
            if row >= 0:
                _pause_transit(state.in_transit[q], factor[row], slot, lo, hi)
    if not all_plain:
        _receive_disturbed(world, slot, rounding_of(period), False, lo, hi)


@kernel
def receive_at_once(world: World, period: int, lo: int, hi: int) -> None:
    """The same for what was shipped in this period with lead time 0."""
    net, state, factor = world.net, world.state, world.factor
    slot = period % state.in_transit.shape[1]
    all_plain, is_late = True, world.flows.received_late.shape[0] > 0
    for q in range(net.lanes.to.size):
        if not net.lanes.at_once[q]:
            continue
        if is_late:
            _count_late(world, q, -1.0, lo, hi)
        if net.lanes.plain_receipt[q]:
            _receive_all(world, q, slot, lo, hi)
        else:
            all_plain = False
            if net.factor_rows.transit[q] >= 0:  # only today's goods: the others were paused before
                _wait(state.in_transit[q], factor[net.factor_rows.transit[q]], slot, lo, hi)
    if not all_plain:
        _receive_disturbed(world, slot, rounding_of(period), True, lo, hi)
    if is_late:
        for q in range(net.lanes.to.size):
            if net.lanes.at_once[q]:
                _count_late(world, q, 1.0, lo, hi)


@kernel
def _count_late(world: World, q: int, sign: float, lo: int, hi: int) -> None:
    """Before and after: what was received in between is what came after the customers."""
    late, received = world.flows.received_late[q, lo:hi], world.flows.received[q, lo:hi]
    for b in range(hi - lo):
        late[b] = sign * received[b] + (late[b] if sign > 0.0 else 0.0)


@kernel
def _receive_all(world: World, q: int, slot: int, lo: int, hi: int) -> None:
    state = world.state
    due, total = state.in_transit[q, slot, lo:hi], state.in_transit_total[q, lo:hi]
    on_hand = state.on_hand[world.net.lanes.to[q], lo:hi]
    received = world.flows.received[q, lo:hi]
    for b in range(hi - lo):
        on_hand[b] += due[b]
        total[b] -= due[b]
        received[b] += due[b]
        due[b] = 0.0


@kernel
def _receive_orders(world: World, period: int, q: int, lo: int, hi: int) -> None:
    net, state, flows = world.net, world.state, world.flows
    due = state.orders_on_way[q, period % state.orders_on_way.shape[1], lo:hi]
    total = state.orders_on_way_total[q, lo:hi]
    owed = state.owed[q, lo:hi]
    for i in range(net.lanes.inputs.pointer[q], net.lanes.inputs.pointer[q + 1]):
        requested = flows.requested[net.lanes.inputs.index[i], lo:hi]
        quantity = net.lanes.inputs.value[i]
        for b in range(hi - lo):
            requested[b] += quantity * due[b]
    for b in range(hi - lo):
        owed[b] += due[b]
        total[b] -= due[b]
        due[b] = 0.0


@kernel
def _pause_transit(in_transit: Floats, factor: Floats, slot: int, lo: int, hi: int) -> None:
    """in_transit [L, B]: all that is on its way comes a period later. The last slot is empty."""
    slots = in_transit.shape[0]
    for ahead in range(slots - 2, -1, -1):
        _wait(in_transit, factor, (slot + ahead) % slots, lo, hi)


@kernel
def _wait(in_transit: Floats, factor: Floats, slot: int, lo: int, hi: int) -> None:
    """in_transit [L, B]: what is in the slot joins the next one where the factor is 0."""
    here = in_transit[slot, lo:hi]
    later = in_transit[(slot + 1) % in_transit.shape[0], lo:hi]
    moves = factor[lo:hi]
    for b in range(hi - lo):
        waiting = here[b] if moves[b] == 0.0 else 0.0
        later[b] += waiting
        here[b] -= waiting


@kernel
def _receive_disturbed(
    world: World, slot: int, rounding: float, at_once: bool, lo: int, hi: int
) -> None:
    """Lanes whose receipts pauses, yields or storage change; at_once: only those of lead time 0."""
    net, state = world.net, world.state
    flows, scratch, factor = world.flows, world.scratch, world.factor
    for q in range(net.lanes.to.size):
        if _is_disturbed(net, q, at_once) and net.factor_rows.receiving[q] >= 0:
            _wait(state.in_transit[q], factor[net.factor_rows.receiving[q]], slot, lo, hi)
    if net.nodes.capacitated.size > 0:
        _find_room(world, slot, at_once, lo, hi)
        if net.switches.has_whole_units:
            let_in_whole(
                net, state.in_transit[:, slot, lo:hi], state.on_hand[:, lo:hi], factor[:, lo:hi],
                scratch.let_in[:, lo:hi], scratch.comes_in[:, lo:hi], at_once,
            )  # fmt: skip
    later = (slot + 1) % state.in_transit.shape[1]
    for q in range(net.lanes.to.size):
        if not _is_disturbed(net, q, at_once):
            continue
        due, waiting = state.in_transit[q, slot, lo:hi], state.in_transit[q, later, lo:hi]
        rounded = rounding
        if _needs_room(net, q):
            rounded = 0.0
            let_in = scratch.let_in[net.stocks.node_of[net.lanes.to[q]], lo:hi]
            for b in range(hi - lo):
                kept_out = due[b] - due[b] * let_in[b]
                if net.switches.has_whole_units:
                    kept_out = due[b] - scratch.comes_in[q, lo + b]
                waiting[b] += kept_out
                due[b] -= kept_out
        total, on_hand = state.in_transit_total[q, lo:hi], state.on_hand[net.lanes.to[q], lo:hi]
        received, scrapped = flows.received[q, lo:hi], flows.scrapped[q, lo:hi]
        for b in range(hi - lo):
            good = good_units(net, factor, q, due[b], rounded, lo + b)
            on_hand[b] += good
            received[b] += good
            scrapped[b] += due[b] - good
        for b in range(hi - lo):
            total[b] -= due[b]
            due[b] = 0.0


@kernel
def _is_disturbed(net: NetworkArrays, q: int, at_once: bool) -> bool:
    return bool(not net.lanes.plain_receipt[q] and (net.lanes.at_once[q] or not at_once))


@kernel
def _needs_room(net: NetworkArrays, q: int) -> bool:
    to = net.lanes.to[q]
    return bool(
        net.stocks.volume[to] > 0.0 and net.nodes.storage_capacity[net.stocks.node_of[to]] < np.inf
    )


@kernel
def _find_room(world: World, slot: int, at_once: bool, lo: int, hi: int) -> None:
    """let_in [N, B]: the share of what is due at a node that fits in, the same for all lanes."""
    net, state, scratch = world.net, world.state, world.scratch
    for i in range(net.nodes.capacitated.size):
        scratch.let_in[net.nodes.capacitated[i], lo:hi] = 0.0
    # First the volume of what is due; parts of whole units too, so that no share rounds up.
    for q in range(net.lanes.to.size):
        if _is_disturbed(net, q, at_once) and _needs_room(net, q):
            to = net.lanes.to[q]
            need = scratch.let_in[net.stocks.node_of[to], lo:hi]
            due = state.in_transit[q, slot, lo:hi]
            copy_row(scratch.due[q, lo:hi], due)
            for b in range(hi - lo):
                share = usable_share(net, world.factor, q, lo + b)
                need[b] += net.stocks.volume[to] * share * due[b]
    for i in range(net.nodes.capacitated.size):
        n = net.nodes.capacitated[i]
        for b in range(lo, hi):
            free = net.nodes.storage_capacity[n]
            for j in range(net.nodes.stored.pointer[n], net.nodes.stored.pointer[n + 1]):
                free -= net.nodes.stored.value[j] * state.on_hand[net.nodes.stored.index[j], b]
            need, free = scratch.let_in[n, b], max(0.0, free)
            scratch.let_in[n, b] = 1.0 if need <= free else free / need
            scratch.is_full[n, b] = 1.0 if need <= 0.0 and free <= 0.0 else 0.0


@kernel
def reverse_hear(world: World, slopes: Slopes, period: int, lo: int, hi: int) -> None:
    """Orders due now are owed."""
    if world.state.orders_on_way.shape[1] > 1:
        for q in range(world.net.lanes.to.size):
            if world.net.lanes.information_delay[q] > 0:
                due = slopes.orders_on_way[q, period % slopes.orders_on_way.shape[1], lo:hi]
                owed, total = slopes.owed[q, lo:hi], slopes.orders_on_way_total[q, lo:hi]
                for b in range(hi - lo):
                    due[b] = owed[b] - total[b]


@kernel
def reverse_receive(
    world: World, slopes: Slopes, due: Floats, let_in: Floats, period: int, at_once: bool, lo: int,
    hi: int,
) -> None:  # fmt: skip
    """What is due is on the shelf, as far as nothing keeps it out.

    due [Q, B] units, let_in [N, B]: what `Marks` has of it. at_once: only lanes of lead time 0.
    """
    net, slots = world.net, slopes.in_transit.shape[1]
    slot = period % slots
    for q in range(net.lanes.to.size):
        if _is_disturbed(net, q, at_once):
            _reverse_usable(world, slopes, q, let_in, slot, lo, hi)
    if due.size > 0:
        _reverse_room(world, slopes, due, let_in, slot, at_once, lo, hi)
    for q in range(net.lanes.to.size):
        if _is_disturbed(net, q, at_once):
            _reverse_pauses(world, slopes, q, slot, at_once, lo, hi)
        elif net.lanes.plain_receipt[q] and (net.lanes.at_once[q] or not at_once):
            here, total = slopes.in_transit[q, slot, lo:hi], slopes.in_transit_total[q, lo:hi]
            on_hand = slopes.on_hand[net.lanes.to[q], lo:hi]
            for b in range(hi - lo):
                here[b] = on_hand[b] - total[b]


@kernel
def _reverse_usable(
    world: World, slopes: Slopes, q: int, let_in: Floats, slot: int, lo: int, hi: int
) -> None:
    """What is let in is on the shelf, if it isn't defective; what isn't is due in the next slot."""
    net, to = world.net, world.net.lanes.to[q]
    here, on_hand = slopes.in_transit[q, slot, lo:hi], slopes.on_hand[to, lo:hi]
    waits = slopes.in_transit[q, (slot + 1) % slopes.in_transit.shape[1], lo:hi]
    total, needs_room = slopes.in_transit_total[q, lo:hi], _needs_room(net, q)
    for b in range(hi - lo):
        usable = usable_share(net, world.factor, q, lo + b)
        by_due = usable * on_hand[b] - total[b]
        if needs_room:
            share = let_in[net.stocks.node_of[to], lo + b]
            if share < 0.0:  # no room for the first unit; what is scrapped needs none
                share = 0.0 if usable > 0.0 else 1.0
            by_due = share * by_due + (1.0 - share) * waits[b]
        here[b] = by_due


@kernel
def _reverse_pauses(
    world: World, slopes: Slopes, q: int, slot: int, at_once: bool, lo: int, hi: int
) -> None:
    """Pauses of receiving, and before them of transit, from the slot due now on."""
    rows, slots = world.net.factor_rows, slopes.in_transit.shape[1]
    if rows.receiving[q] >= 0:
        _reverse_wait(slopes, world.factor[rows.receiving[q]], q, slot, lo, hi)
    if rows.transit[q] >= 0:
        for ahead in range(1 if at_once else slots - 1):
            _reverse_wait(slopes, world.factor[rows.transit[q]], q, (slot + ahead) % slots, lo, hi)


@kernel
def _reverse_wait(slopes: Slopes, factor: Floats, q: int, slot: int, lo: int, hi: int) -> None:
    """Where the factor is 0, what was in the slot is in the next one."""
    here = slopes.in_transit[q, slot, lo:hi]
    later = slopes.in_transit[q, (slot + 1) % slopes.in_transit.shape[1], lo:hi]
    for b in range(hi - lo):
        here[b] = later[b] if factor[lo + b] == 0.0 else here[b]


@kernel
def _reverse_room(
    world: World, slopes: Slopes, due: Floats, let_in: Floats, slot: int, at_once: bool, lo: int,
    hi: int,
) -> None:  # fmt: skip
    """How the share that is let in moves, with stock and with what is due: free / need, where less
    is free than is needed."""
    net, factor, nodes = world.net, world.factor, world.net.nodes
    later = (slot + 1) % slopes.in_transit.shape[1]
    for k in range(nodes.capacitated.size):
        n = nodes.capacitated[k]
        for b in range(lo, hi):
            share, need, by_share = let_in[n, b], 0.0, 0.0
            for i in range(nodes.receives.pointer[n], nodes.receives.pointer[n + 1]):
                q = nodes.receives.index[i]
                if not _is_disturbed(net, q, at_once):
                    continue
                usable, to = usable_share(net, factor, q, b), net.lanes.to[q]
                need += nodes.receives.value[i] * usable * due[q, b]
                by_good = usable * slopes.on_hand[to, b] - slopes.in_transit_total[q, b]
                by_share += due[q, b] * (by_good - slopes.in_transit[q, later, b])
            if share >= 1.0 or share <= 0.0 or need <= CRUMB_UNITS:
                continue
            for i in range(nodes.receives.pointer[n], nodes.receives.pointer[n + 1]):
                q = nodes.receives.index[i]
                if _is_disturbed(net, q, at_once):
                    volume = nodes.receives.value[i] * usable_share(net, factor, q, b)
                    slopes.in_transit[q, slot, b] -= by_share * share / need * volume
            for i in range(nodes.stored.pointer[n], nodes.stored.pointer[n + 1]):
                by_stock = by_share / need * nodes.stored.value[i]
                slopes.on_hand[nodes.stored.index[i], b] -= by_stock
