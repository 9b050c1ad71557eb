"""How lanes share what is scarce, where it isn't simply in proportion to what they want.

One mechanism for every rule: a level rises until all there is has been given out, and lane q gets
min(want, [weight x level - offset]+).

    proportional   weight: want          offset: 0
    priority       weight: want          offset: rank x want (from rank to rank + 1 it fills up)
    fair share     weight: demand rate   offset: stock of the receiver (the level: days of cover)

An action multiplies weights by exp(3 a); zero leaves the rule as it is.
"""

from __future__ import annotations

import math

import numpy as np

from envs.compiled.arrays import Csr
from envs.kernel import copy_row, kernel
from envs.network.lane import Allocation
from envs.simulation.actions import SHARE_RANGE
from envs.simulation.slopes import CRUMB_UNITS, Rounds, Slopes
from envs.simulation.state import Scratch
from envs.simulation.world import World
from envs.types import Floats, Floats32

_PRIORITY = list(Allocation).index(Allocation.priority)
_FAIR_SHARE = list(Allocation).index(Allocation.fair_share)
_STEPS = 100  # of Newton's method kept within a bracket; it needs about one per lane at most
_EXACT = 1e-13  # relative
_FIRST = 1e-300  # units: what a lane that wants nothing has a line of, so that it has slopes


@kernel
def limit_shares(world: World, action: Floats32, want: Floats, lo: int, hi: int) -> None:
    """limit [Q, B] = what a lane gets at most of all that isn't shared simply.

    want [Q, B]: what lanes still want; need and resource_need: the sums of it.
    """
    net, state, flows, scratch = world.net, world.state, world.flows, world.scratch
    for q in range(net.lanes.to.size):
        copy_row(flows.limit[q, lo:hi], want[q, lo:hi])
    takers = net.stocks.outbound
    for p in range(net.stocks.shares_simply.size):
        if not net.stocks.shares_simply[p]:
            for b in range(lo, hi):
                if scratch.need[p, b] > state.on_hand[p, b]:
                    _draw_lines(world, action, want, p, b)
                    _give_out(takers, p, state.on_hand[p, b], want, flows.limit, scratch, b)
    users = net.resources.users
    for r in range(net.resources.capacity.size):
        if net.resources.by_priority[r]:
            left = flows.resource_left[r]
            for b in range(lo, hi):
                if scratch.resource_need[r, b] > left[b]:
                    _draw_ranks(world, want, r, b)
                    _give_out(users, r, left[b], want, flows.limit, scratch, b)


@kernel
def _draw_lines(world: World, action: Floats32, want: Floats, p: int, b: int) -> None:
    """Fill weight and offset of the outbound lanes of pair p, by its rule and its action."""
    net, scratch, heads = world.net, world.scratch, world.heads
    rule = net.stocks.allocation[p]
    for i in range(net.stocks.outbound.pointer[p], net.stocks.outbound.pointer[p + 1]):
        q = net.stocks.outbound.index[i]
        weight, offset = max(want[q, b], _FIRST), 0.0
        if rule == _PRIORITY:
            offset = net.lanes.priority[q] * weight
        elif rule == _FAIR_SHARE:
            weight = net.stocks.demand_rate[net.lanes.to[q]]
            offset = _stock_of_receiver(world, net.lanes.to[q], b)
        head = heads.weight_head[i]
        if head >= 0 and action.size > 0:
            weight *= math.exp(SHARE_RANGE * action[p, head, b])
        scratch.weight[q, b], scratch.offset[q, b] = weight, offset


@kernel
def _draw_ranks(world: World, want: Floats, r: int, b: int) -> None:
    """The same of the users of a resource that is shared by priority."""
    net, scratch = world.net, world.scratch
    for i in range(net.resources.users.pointer[r], net.resources.users.pointer[r + 1]):
        q = net.resources.users.index[i]
        scratch.weight[q, b] = max(want[q, b], _FIRST)
        scratch.offset[q, b] = net.lanes.priority[q] * scratch.weight[q, b]


@kernel
def _stock_of_receiver(world: World, to: int, b: int) -> float:
    """On hand and in transit, less what customers and lanes wait for; negative in a shortage.

    Each lane counts as a receiver of its own.
    """
    net, state, flows = world.net, world.state, world.flows
    stock: float = state.inventory_level[to, b]
    for i in range(net.stocks.inbound.pointer[to], net.stocks.inbound.pointer[to + 1]):
        q = net.stocks.inbound.index[i]
        stock += state.in_transit_total[q, b]
        if net.switches.ship_rounds > 1:  # shipped in earlier rounds, and not yet in transit
            stock += flows.shipped[q, b]
    return stock


@kernel
def _give_out(
    takers: Csr, row: int, available: float, want: Floats, limit: Floats, scratch: Scratch, b: int
) -> None:
    """Lower limit to what each taker gets; together they take what is available, never more."""
    available = max(0.0, available)
    level = _find_level(takers, row, available, want, scratch, b) if available > 0.0 else 0.0
    given = 0.0
    for i in range(takers.pointer[row], takers.pointer[row + 1]):
        given += takers.value[i] * _part(want, scratch, takers.index[i], level, b)
    rounding = available / given if given > available else 1.0
    for i in range(takers.pointer[row], takers.pointer[row + 1]):
        q = takers.index[i]
        part = _part(want, scratch, q, level, b) * rounding
        limit[q, b] = min(limit[q, b], part)


@kernel
def _part(want: Floats, scratch: Scratch, q: int, level: float, b: int) -> float:
    line = scratch.weight[q, b] * level - scratch.offset[q, b]
    part: float = min(max(line, 0.0), want[q, b])
    return part


@kernel
def _find_level(
    takers: Csr, row: int, available: float, want: Floats, scratch: Scratch, b: int
) -> float:
    """The level at which what is given out is what is available: Newton's method on a rising line
    of straight pieces, bisection where it leaves the bracket."""
    low, high, wanted = np.inf, -np.inf, 0.0
    for i in range(takers.pointer[row], takers.pointer[row + 1]):
        q = takers.index[i]
        if want[q, b] > 0.0:
            low = min(low, scratch.offset[q, b] / scratch.weight[q, b])
            high = max(high, (scratch.offset[q, b] + want[q, b]) / scratch.weight[q, b])
            wanted += takers.value[i] * want[q, b]
    level = low + (high - low) * available / wanted
    for _ in range(_STEPS):
        given, slope = 0.0, 0.0
        for i in range(takers.pointer[row], takers.pointer[row + 1]):
            q = takers.index[i]
            part = _part(want, scratch, q, level, b)
            given += takers.value[i] * part
            if 0.0 < part < want[q, b]:
                slope += takers.value[i] * scratch.weight[q, b]
        if abs(given - available) <= _EXACT * available:
            break
        if given > available:
            high = level
        else:
            low = level
        step = level + (available - given) / slope if slope > 0.0 else low
        before = level
        level = step if low < step < high else 0.5 * (low + high)
        if level == before:
            break
    return level


@kernel
def reverse_limits(
    world: World, slopes: Slopes, rounds: Rounds, action: Floats32, done: int, lo: int, hi: int
) -> None:
    """Slopes of what is there and wanted, of stocks and of weights, where a rule gave the share."""
    net, flows, scratch, want = world.net, world.flows, world.scratch, rounds.want[done]
    for q in range(net.lanes.to.size if net.switches.ship_rounds > 1 else 0):
        copy_row(flows.shipped[q, lo:hi], rounds.shipped[done, q, lo:hi])
    for p in range(net.stocks.shares_simply.size):
        if not net.stocks.shares_simply[p]:
            for b in range(lo, hi):
                there = rounds.on_hand[done, p, b]
                if rounds.need[done, p, b] > there:
                    _draw_lines(world, action, want, p, b)
                    by_there = _reverse_give_out(
                        net.stocks.outbound, p, there, rounds, done, scratch, b
                    )
                    slopes.on_hand[p, b] += by_there
                    _reverse_lines(world, slopes, rounds, action, p, b)
    users = net.resources.users
    for r in range(net.resources.capacity.size):
        if net.resources.by_priority[r]:
            for b in range(lo, hi):
                there = rounds.left[done, r, b]
                if rounds.resource_need[done, r, b] > there:
                    _draw_ranks(world, want, r, b)
                    by_there = _reverse_give_out(users, r, there, rounds, done, scratch, b)
                    rounds.by_left[r, b] += by_there
                    for i in range(users.pointer[r], users.pointer[r + 1]):
                        q = users.index[i]
                        by_offset = net.lanes.priority[q] * rounds.by_offset[q, b]
                        rounds.by_want[q, b] += rounds.by_weight[q, b] + by_offset


@kernel
def _reverse_give_out(
    takers: Csr, row: int, available: float, rounds: Rounds, done: int, scratch: Scratch, b: int
) -> float:
    """How the loss moves with what is there; fills by_weight and by_offset of the takers.

    Between its ends a part is weight x level - offset, and all parts add up to what is there: that
    equation gives the slopes of the level. Whoever gets nothing has none.
    """
    want, by_share, by_want = rounds.want[done], rounds.by_share, rounds.by_want
    level = _find_level(takers, row, available, want, scratch, b)
    given = 0.0
    for i in range(takers.pointer[row], takers.pointer[row + 1]):
        given += takers.value[i] * _part(want, scratch, takers.index[i], level, b)
    rounding = available / given if given > available else 1.0
    by_level, slope = 0.0, 0.0
    for i in range(takers.pointer[row], takers.pointer[row + 1]):
        q = takers.index[i]
        part = _part(want, scratch, q, level, b) * rounding
        rounds.by_weight[q, b] = rounds.by_offset[q, b] = 0.0
        if part == rounds.share[done, q, b]:
            rounds.by_weight[q, b] = by_share[q, b]  # for now: by its part
            by_share[q, b] = 0.0
        if _is_rising(want, scratch, q, level, b):
            by_level += rounds.by_weight[q, b] * scratch.weight[q, b]
            slope += takers.value[i] * scratch.weight[q, b]
    per_unit = by_level / slope if slope > 0.0 else 0.0
    for i in range(takers.pointer[row], takers.pointer[row + 1]):
        q = takers.index[i]
        by_part = rounds.by_weight[q, b] - takers.value[i] * per_unit
        rounds.by_weight[q, b] = 0.0
        if _is_rising(want, scratch, q, level, b):
            rounds.by_weight[q, b], rounds.by_offset[q, b] = level * by_part, -by_part
        elif want[q, b] <= 0.0:  # its part of the first unit
            first = scratch.weight[q, b] * level - scratch.offset[q, b]
            first = min(max(first / _FIRST, 0.0), 1.0) if available > CRUMB_UNITS else 0.0
            by_want[q, b] = first * (by_want[q, b] - takers.value[i] * per_unit)
        elif _part(want, scratch, q, level, b) >= want[q, b]:
            by_want[q, b] += by_part
    return per_unit


@kernel
def _is_rising(want: Floats, scratch: Scratch, q: int, level: float, b: int) -> bool:
    """Whether the part rises with the level: it is between its ends, or begins here."""
    begins, part = scratch.offset[q, b] / scratch.weight[q, b], _part(want, scratch, q, level, b)
    return bool(want[q, b] > CRUMB_UNITS and begins <= level and part < want[q, b])


@kernel
def _reverse_lines(
    world: World, slopes: Slopes, rounds: Rounds, action: Floats32, p: int, b: int
) -> None:
    """Slopes of what makes weights and offsets, by the rule of the pair."""
    net, heads, rule = world.net, world.heads, world.net.stocks.allocation[p]
    for i in range(net.stocks.outbound.pointer[p], net.stocks.outbound.pointer[p + 1]):
        q = net.stocks.outbound.index[i]
        by_weight, by_offset = rounds.by_weight[q, b], rounds.by_offset[q, b]
        head = heads.weight_head[i]
        if head >= 0 and action.size > 0:
            moved = by_weight * world.scratch.weight[q, b]
            slopes.action[p, head, b] += SHARE_RANGE * moved
            by_weight *= math.exp(SHARE_RANGE * action[p, head, b])
        if rule == _FAIR_SHARE:
            _reverse_stock_of_receiver(world, slopes, net.lanes.to[q], by_offset, b)
            continue
        rounds.by_want[q, b] += by_weight
        if rule == _PRIORITY:
            rounds.by_want[q, b] += net.lanes.priority[q] * by_offset


@kernel
def _reverse_stock_of_receiver(
    world: World, slopes: Slopes, to: int, by_stock: float, b: int
) -> None:
    net = world.net
    slopes.inventory_level[to, b] += by_stock
    for i in range(net.stocks.inbound.pointer[to], net.stocks.inbound.pointer[to + 1]):
        q = net.stocks.inbound.index[i]
        slopes.in_transit_total[q, b] += by_stock
        if net.switches.ship_rounds > 1:
            slopes.shipped[q, b] += by_stock
