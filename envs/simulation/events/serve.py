"""Event 5: customers are served, the oldest backlog first; the unmet waits or is lost."""

from __future__ import annotations

from envs.kernel import kernel
from envs.simulation.slopes import Marks, Slopes
from envs.simulation.whole_units import rounding_of, whole
from envs.simulation.world import World
from envs.types import Floats


@kernel
def serve(world: World, demand: Floats, period: int, lo: int, hi: int) -> None:
    """demand [D, B] = sold + newly backlogged + lost, pair by pair."""
    net, state, flows = world.net, world.state, world.flows
    for p in range(net.stocks.demand_of.size):
        if net.stocks.demand_of[p] < 0:
            continue
        today, asked = demand[net.stocks.demand_of[p], lo:hi], flows.demand[p, lo:hi]
        on_hand, backorders = state.on_hand[p, lo:hi], state.backorders[p, lo:hi]
        sold, older = flows.sold[p, lo:hi], flows.backlog_served[p, lo:hi]
        lost = flows.lost[p, lo:hi]
        limit, p_wait = net.stocks.serve_limit[p], net.stocks.p_wait[p]
        # Few arrays per loop: with many, the compiler gives up proving that they don't overlap.
        for b in range(hi - lo):
            available = min(on_hand[b], limit)
            older[b] = min(backorders[b], available)
        for b in range(hi - lo):
            available = min(on_hand[b], limit)
            sold[b] = min(today[b], available - older[b])
            asked[b] = today[b]
        for b in range(hi - lo):
            on_hand[b] = on_hand[b] - older[b] - sold[b]  # as `sold` was found: never below 0
        for b in range(hi - lo):
            unmet = today[b] - sold[b]
            lost[b] = (1.0 - p_wait) * unmet
        if 0.0 < p_wait < 1.0 and net.stocks.whole[p]:
            rounding = rounding_of(period)
            for b in range(hi - lo):
                unmet = today[b] - sold[b]
                lost[b] = unmet - whole(p_wait * unmet, rounding)
        for b in range(hi - lo):
            backorders[b] += (today[b] - sold[b] - lost[b]) - older[b]


@kernel
def note_served(world: World, marks: Marks, backorders: Floats, lo: int, hi: int) -> None:
    """served [P, B] = what limited sales: how older and today's moved with what, in halves.

    sold by stock + 3 x older by stock + 9 x older by backorders + 27 if the limit of what is served
    in a period held. A half: both limits held at once. backorders [P, B]: of before.
    """
    net, state, flows = world.net, world.state, world.flows
    for p in range(net.stocks.demand_of.size):
        if net.stocks.demand_of[p] < 0:
            continue
        limit = net.stocks.serve_limit[p]
        for b in range(lo, hi):
            sold, older, waiting = flows.sold[p, b], flows.backlog_served[p, b], backorders[p, b]
            left = state.on_hand[p, b]
            is_empty = left <= 0.0 or sold + older >= limit
            by_stock = by_backorders = 0
            if older < waiting:
                by_stock = 2
            elif sold == 0.0 and is_empty:  # nothing was left behind the last older unit
                by_stock = by_backorders = 1 if waiting > 0.0 else 0
            else:
                by_backorders = 2
            of_today = 0
            if sold < flows.demand[p, b]:
                of_today = 2
            elif is_empty and sold > 0.0:
                of_today = 1
            at_limit = 27 if left > 0.0 and of_today + by_stock > 0 else 0
            marks.served[p, b] = of_today + 3 * by_stock + 9 * by_backorders + at_limit


@kernel
def reverse_serve(world: World, slopes: Slopes, marks: Marks, lo: int, hi: int) -> None:
    """Customers take no units back: slopes of on_hand and backorders, by what was served."""
    net = world.net
    for p in range(net.stocks.demand_of.size):
        if net.stocks.demand_of[p] < 0:
            continue
        p_wait = net.stocks.p_wait[p]
        on_hand, backorders = slopes.on_hand[p, lo:hi], slopes.backorders[p, lo:hi]
        sold, older = slopes.sold[p, lo:hi], slopes.backlog_served[p, lo:hi]
        lost, served = slopes.lost[p, lo:hi], marks.served[p, lo:hi]
        for b in range(hi - lo):
            mark = int(served[b])
            of_today, by_stock = 0.5 * (mark % 3), 0.5 * (mark // 3 % 3)
            by_backorders, is_free = 0.5 * (mark // 9 % 3), 1.0 if mark < 27 else 0.0
            by_sold = sold[b] - on_hand[b] - p_wait * backorders[b] - (1.0 - p_wait) * lost[b]
            by_sold *= of_today
            by_older = older[b] - on_hand[b] - backorders[b] - by_sold
            on_hand[b] += is_free * (by_sold + by_stock * by_older)
            backorders[b] += by_backorders * by_older
