"""How lanes share the inputs and resources they compete for: a part of event 4.

In proportion to what they request, or by the rule that `envs.simulation.events.allocate` knows. A
lane held back by one limit leaves its share of the others to a second and third round, made only in
networks where a lane has more than one limit.
"""

from __future__ import annotations

import numpy as np

from envs.compiled.arrays import NetworkArrays
from envs.kernel import add_scaled, copy_row, kernel
from envs.simulation.events.allocate import limit_shares, reverse_limits
from envs.simulation.slopes import CRUMB_UNITS, Rounds, Slopes
from envs.simulation.whole_units import steps_in
from envs.simulation.world import World
from envs.types import Floats, Floats32


@kernel
def open_resources(world: World, lo: int, hi: int) -> None:
    """resource_left [R, B] = capacity, as far as regimes leave it."""
    net, flows, factor = world.net, world.flows, world.factor
    for r in range(net.resources.capacity.size):
        left, row = flows.resource_left[r, lo:hi], net.factor_rows.capacity[r]
        capacity = net.resources.capacity[r]
        left[:] = capacity
        if row >= 0:
            for b in range(hi - lo):
                left[b] = capacity * factor[row, lo + b] if factor[row, lo + b] > 0.0 else 0.0


@kernel
def sum_needs(world: World, shares: Floats, again: bool, lo: int, hi: int) -> None:
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
            add_scaled(scratch.need[inputs.index[i], lo:hi], inputs.value[i], want)
        for i in range(net.lanes.uses.pointer[q], net.lanes.uses.pointer[q + 1]):
            r = net.lanes.uses.index[i]
            if _is_limit(net, r):
                add_scaled(scratch.resource_need[r, lo:hi], net.lanes.uses.value[i], want)


@kernel
def share_out(world: World, action: Floats32, shares: Floats, lo: int, hi: int) -> None:
    """A round: share [Q, B], what lanes want, becomes what they get, and is taken."""
    net, flows = world.net, world.flows
    by_rule = flows.limit.shape[0] > 0
    if by_rule:
        limit_shares(world, action, shares, lo, hi)
    _share_in_proportion(world, shares, lo, hi)
    if by_rule:
        for q in range(net.lanes.to.size):
            _lower(shares[q, lo:hi], flows.limit[q, lo:hi])
    _take_inputs(world, shares, lo, hi)


@kernel
def _share_in_proportion(world: World, shares: Floats, lo: int, hi: int) -> None:
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
            _limit_by(net, share, want, available, need)
        for i in range(net.lanes.uses.pointer[q], net.lanes.uses.pointer[q + 1]):
            r = net.lanes.uses.index[i]
            if net.resources.by_priority[r] or not _is_limit(net, r):
                continue
            available, need = flows.resource_left[r, lo:hi], scratch.resource_need[r, lo:hi]
            _limit_by(net, share, want, available, need)


@kernel
def _limit_by(
    net: NetworkArrays, share: Floats, want: Floats, available: Floats, need: Floats
) -> None:
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
def _take_inputs(world: World, shares: Floats, lo: int, hi: int) -> None:
    net, state, flows = world.net, world.state, world.flows
    for q in range(net.lanes.to.size):
        share = shares[q, lo:hi]
        if net.switches.ship_rounds > 1:
            add_scaled(flows.shipped[q, lo:hi], 1.0, share)
        for i in range(net.lanes.inputs.pointer[q], net.lanes.inputs.pointer[q + 1]):
            _take(state.on_hand[net.lanes.inputs.index[i], lo:hi], net.lanes.inputs.value[i], share)
        for i in range(net.lanes.uses.pointer[q], net.lanes.uses.pointer[q + 1]):
            r = net.lanes.uses.index[i]
            if _is_limit(net, r):
                _take(flows.resource_left[r, lo:hi], net.lanes.uses.value[i], share)


@kernel
def _is_limit(net: NetworkArrays, r: int) -> bool:
    """Whether the resource limits shipments: by its capacity, or when its regimes are down."""
    limited = net.resources.capacity[r] < np.inf or net.factor_rows.capacity[r] >= 0
    return bool(limited and not net.resources.limits_orders[r])


@kernel
def _take(available: Floats, factor: float, values: Floats) -> None:
    for b in range(available.size):
        available[b] = max(0.0, available[b] - factor * values[b])


@kernel
def _lower(share: Floats, limit: Floats) -> None:
    for b in range(share.size):
        share[b] = min(share[b], limit[b])


@kernel
def reverse_sharing(
    world: World, slopes: Slopes, rounds: Rounds, action: Floats32, lo: int, hi: int
) -> None:
    """Slopes of what is on hand, owed and on the way, and of weights, by those of `shipped` and of
    what is left on hand: the rounds are played once more, and back.

    What is passed on in a scarce thing's shares is what it has: they leave nothing, whatever is
    there, so that what is left needs no case of its own.
    """
    net, factor = world.net, world.factor
    for q in range(net.lanes.to.size):
        rounds.by_full[q, lo:hi] = 0.0
    rounds.by_left[:, lo:hi] = 0.0
    _replay(world, rounds, action, lo, hi)
    for done in range(net.switches.ship_rounds - 1, -1, -1):
        for q in range(net.lanes.to.size):
            _reverse_taking(net, slopes, rounds, q, lo, hi)
        rounds.by_need[:, lo:hi] = 0.0
        rounds.by_resource_need[:, lo:hi] = 0.0
        for q in range(net.lanes.to.size):
            _reverse_share(world, slopes, rounds, done, q, lo, hi)
        if world.flows.limit.shape[0] > 0:
            reverse_limits(world, slopes, rounds, action, done, lo, hi)
        for q in range(net.lanes.to.size):
            _reverse_need(net, rounds, q, lo, hi)
            if done > 0:
                _reverse_wanting_less(world, slopes, rounds, done, q, lo, hi)
            else:
                add_scaled(rounds.by_full[q, lo:hi], 1.0, rounds.by_want[q, lo:hi])
    for q in range(net.lanes.to.size):
        owed, by_full, row = slopes.owed[q], rounds.by_full[q], net.factor_rows.availability[q]
        for b in range(lo, hi):
            owed[b] += by_full[b] * factor[row, b] if row >= 0 else by_full[b]


@kernel
def _replay(world: World, rounds: Rounds, action: Floats32, lo: int, hi: int) -> None:
    """Play the rounds, and keep what each began with and gave."""
    net, state, flows, scratch = world.net, world.state, world.flows, world.scratch
    open_resources(world, lo, hi)
    several = net.switches.ship_rounds > 1
    for q in range(net.lanes.to.size):
        flows.shipped[q, lo:hi] = 0.0
    for done in range(net.switches.ship_rounds):
        share = rounds.share[done]
        for q in range(net.lanes.to.size if several else 0):
            copy_row(rounds.shipped[done, q, lo:hi], flows.shipped[q, lo:hi])
        sum_needs(world, share, done > 0, lo, hi)
        for q in range(net.lanes.to.size):
            copy_row(rounds.want[done, q, lo:hi], share[q, lo:hi])
        for p in range(net.stocks.whole.size):
            copy_row(rounds.on_hand[done, p, lo:hi], state.on_hand[p, lo:hi])
            copy_row(rounds.need[done, p, lo:hi], scratch.need[p, lo:hi])
        for r in range(net.resources.capacity.size):
            copy_row(rounds.left[done, r, lo:hi], flows.resource_left[r, lo:hi])
            copy_row(rounds.resource_need[done, r, lo:hi], scratch.resource_need[r, lo:hi])
        share_out(world, action, share, lo, hi)


@kernel
def _reverse_taking(
    net: NetworkArrays, slopes: Slopes, rounds: Rounds, q: int, lo: int, hi: int
) -> None:
    """by_share: what the lane's share ships, less what it takes."""
    by_share = rounds.by_share[q, lo:hi]
    copy_row(by_share, slopes.shipped[q, lo:hi])
    for i in range(net.lanes.inputs.pointer[q], net.lanes.inputs.pointer[q + 1]):
        left = slopes.on_hand[net.lanes.inputs.index[i], lo:hi]
        add_scaled(by_share, -net.lanes.inputs.value[i], left)
    for i in range(net.lanes.uses.pointer[q], net.lanes.uses.pointer[q + 1]):
        r = net.lanes.uses.index[i]
        if _is_limit(net, r):
            add_scaled(by_share, -net.lanes.uses.value[i], rounds.by_left[r, lo:hi])


@kernel
def _reverse_share(
    world: World, slopes: Slopes, rounds: Rounds, done: int, q: int, lo: int, hi: int
) -> None:
    """The least of the lane's parts is its share; a part moves with what is wanted, there, and
    needed. by_share is left where a rule gave the least."""
    net, lanes = world.net, world.net.lanes
    want, share = rounds.want[done, q, lo:hi], rounds.share[done, q, lo:hi]
    by_share, by_want = rounds.by_share[q, lo:hi], rounds.by_want[q, lo:hi]
    _count_missing(net, rounds, done, q, by_want, lo, hi)
    for b in range(hi - lo):
        missing = by_want[b]
        # Of who wants nothing: the part of the first unit that would be shipped.
        by_want[b] = 1.0 if want[b] <= 0.0 and missing == 0.0 else 0.0
        if missing > 1.0:  # more of one alone ships nothing
            by_share[b] = 0.0
    for i in range(lanes.inputs.pointer[q], lanes.inputs.pointer[q + 1]):
        p = lanes.inputs.index[i]
        if net.stocks.shares_simply[p]:
            _reverse_part(
                want, share, rounds.on_hand[done, p, lo:hi], rounds.need[done, p, lo:hi],
                by_share, by_want, slopes.on_hand[p, lo:hi], rounds.by_need[p, lo:hi],
            )  # fmt: skip
    for i in range(lanes.uses.pointer[q], lanes.uses.pointer[q + 1]):
        r = lanes.uses.index[i]
        if _is_limit(net, r) and not net.resources.by_priority[r]:
            need = rounds.resource_need[done, r, lo:hi]
            _reverse_part(
                want, share, rounds.left[done, r, lo:hi], need, by_share, by_want,
                rounds.by_left[r, lo:hi], rounds.by_resource_need[r, lo:hi],
            )  # fmt: skip
    for b in range(hi - lo):
        if share[b] >= want[b]:  # nothing gives less
            by_want[b] = by_share[b] * (by_want[b] if want[b] <= 0.0 else 1.0)
            by_share[b] = 0.0


@kernel
def _reverse_part(
    want: Floats, share: Floats, available: Floats, need: Floats, by_share: Floats,
    by_want: Floats, by_available: Floats, by_need: Floats,
) -> None:  # fmt: skip
    """share = want x available / need, where that is the least."""
    for b in range(want.size):
        proportional = want[b] * available[b] / max(need[b], 1e-300)
        if want[b] <= 0.0:
            by_want[b] = min(by_want[b], available[b] / max(need[b], 1e-300))
        elif by_share[b] != 0.0 and need[b] > available[b] and share[b] == proportional:
            part = available[b] / need[b]
            by_want[b] += by_share[b] * part
            if need[b] > CRUMB_UNITS:
                moved = by_share[b] * want[b] / need[b]
                by_available[b] += moved
                by_need[b] -= moved * part
            by_share[b] = 0.0


@kernel
def _count_missing(
    net: NetworkArrays, rounds: Rounds, done: int, q: int, missing: Floats, lo: int, hi: int
) -> None:
    """missing [B] = how many of the things that limit the lane there are none of."""
    missing[:] = 0.0
    for i in range(net.lanes.inputs.pointer[q], net.lanes.inputs.pointer[q + 1]):
        _add_missing(rounds.on_hand[done, net.lanes.inputs.index[i], lo:hi], missing)
    for i in range(net.lanes.uses.pointer[q], net.lanes.uses.pointer[q + 1]):
        r = net.lanes.uses.index[i]
        if _is_limit(net, r):
            _add_missing(rounds.left[done, r, lo:hi], missing)


@kernel
def _add_missing(available: Floats, missing: Floats) -> None:
    for b in range(missing.size):
        missing[b] += 1.0 if available[b] <= CRUMB_UNITS else 0.0


@kernel
def _reverse_need(net: NetworkArrays, rounds: Rounds, q: int, lo: int, hi: int) -> None:
    """What a lane wants is a part of what is needed."""
    by_want = rounds.by_want[q, lo:hi]
    for i in range(net.lanes.inputs.pointer[q], net.lanes.inputs.pointer[q + 1]):
        by_need = rounds.by_need[net.lanes.inputs.index[i], lo:hi]
        add_scaled(by_want, net.lanes.inputs.value[i], by_need)
    for i in range(net.lanes.uses.pointer[q], net.lanes.uses.pointer[q + 1]):
        r = net.lanes.uses.index[i]
        if _is_limit(net, r):
            add_scaled(by_want, net.lanes.uses.value[i], rounds.by_resource_need[r, lo:hi])


@kernel
def _reverse_wanting_less(
    world: World, slopes: Slopes, rounds: Rounds, done: int, q: int, lo: int, hi: int
) -> None:
    """In a later round a lane wants the least of what it lacks and of what the others left."""
    net, lanes, by_want = world.net, world.net.lanes, rounds.by_want[q, lo:hi]
    want = rounds.want[done, q, lo:hi]
    for i in range(lanes.inputs.pointer[q], lanes.inputs.pointer[q + 1]):
        p = lanes.inputs.index[i]
        there = rounds.on_hand[done, p, lo:hi]
        _reverse_least(by_want, want, there, lanes.inputs.value[i], slopes.on_hand[p, lo:hi])
    for i in range(lanes.uses.pointer[q], lanes.uses.pointer[q + 1]):
        r = lanes.uses.index[i]
        if _is_limit(net, r):
            there = rounds.left[done, r, lo:hi]
            _reverse_least(by_want, want, there, lanes.uses.value[i], rounds.by_left[r, lo:hi])
    by_full, by_shipped = rounds.by_full[q, lo:hi], slopes.shipped[q, lo:hi]
    for b in range(hi - lo):
        by_full[b] += by_want[b]
        by_shipped[b] -= by_want[b]


@kernel
def _reverse_least(
    by_want: Floats, want: Floats, there: Floats, quantity: float, by_there: Floats
) -> None:
    for b in range(want.size):
        if by_want[b] != 0.0 and want[b] == there[b] / quantity:
            by_there[b] += by_want[b] / quantity if want[b] > 0.0 else 0.0
            by_want[b] = 0.0
