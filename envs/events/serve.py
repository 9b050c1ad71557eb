"""Event 5: customers are served, the oldest backlog first; the unmet waits or is lost."""

from __future__ import annotations


from envs.kernel import kernel

__all__ = ["serve"]


@kernel
def serve(net, state, flows, demand, lo, hi):
    """demand [D, B] = sold + newly backlogged + lost, pair by pair."""
    for p in range(net.demand_of.size):
        if net.demand_of[p] < 0:
            continue
        today = demand[net.demand_of[p], lo:hi]
        on_hand, backorders = state.on_hand[p, lo:hi], state.backorders[p, lo:hi]
        sold, older = flows.sold[p, lo:hi], flows.backlog_served[p, lo:hi]
        lost, asked = flows.lost[p, lo:hi], flows.demand[p, lo:hi]
        limit, p_wait = net.serve_limit[p], net.p_wait[p]
        for b in range(hi - lo):
            available = min(on_hand[b], limit)
            older[b] = min(backorders[b], available)
            sold[b] = min(today[b], available - older[b])
            unmet = today[b] - sold[b]
            lost[b] = (1.0 - p_wait) * unmet
        for b in range(hi - lo):
            asked[b] = today[b]
            on_hand[b] -= older[b] + sold[b]
            backorders[b] += (today[b] - sold[b] - lost[b]) - older[b]
