"""Event 5: customers are served, the oldest backlog first; the unmet waits or is lost."""

from __future__ import annotations

from envs.kernel import kernel
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
