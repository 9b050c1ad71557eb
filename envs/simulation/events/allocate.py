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
from envs.simulation.state import Scratch
from envs.simulation.world import World
from envs.types import Floats, Floats32

_PRIORITY = list(Allocation).index(Allocation.priority)
_FAIR_SHARE = list(Allocation).index(Allocation.fair_share)
_STEPS = 100  # of Newton's method kept within a bracket; it needs about one per lane at most
_EXACT = 1e-13  # relative


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
                    for i in range(users.pointer[r], users.pointer[r + 1]):
                        q = users.index[i]
                        scratch.weight[q, b] = want[q, b]
                        scratch.offset[q, b] = net.lanes.priority[q] * want[q, b]
                    _give_out(users, r, left[b], want, flows.limit, scratch, b)


@kernel
def _draw_lines(world: World, action: Floats32, want: Floats, p: int, b: int) -> None:
    """Fill weight and offset of the outbound lanes of pair p, by its rule and its action."""
    net, scratch, heads = world.net, world.scratch, world.heads
    rule = net.stocks.allocation[p]
    for i in range(net.stocks.outbound.pointer[p], net.stocks.outbound.pointer[p + 1]):
        q = net.stocks.outbound.index[i]
        weight, offset = want[q, b], 0.0
        if rule == _PRIORITY:
            offset = net.lanes.priority[q] * want[q, b]
        elif rule == _FAIR_SHARE:
            weight = net.stocks.demand_rate[net.lanes.to[q]]
            offset = _stock_of_receiver(world, net.lanes.to[q], b)
        head = heads.weight_head[i]
        if head >= 0 and action.size > 0:
            weight *= math.exp(SHARE_RANGE * action[p, head, b])
        scratch.weight[q, b], scratch.offset[q, b] = weight, offset


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
