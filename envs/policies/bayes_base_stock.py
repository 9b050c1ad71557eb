"""Bayes base-stock: infer hidden states of demand from sales, and order up to what they call for.

Where a hidden Markov chain moves the mean of demand, past sales give a probability of every state:
the belief. Bayes' rule moves it on period by period (a hidden Markov
model's forward recursion; Rabiner 1989, eq. 19-20), and the level is the newsvendor fractile of
lead-time demand given the belief: the myopic policy of Treharne and Sox (2002) for partially
observed Markov-modulated demand. It knows the chain and the distributions, which are
unknown in practice: a bound on what a learned policy can reach. Where the state is seen, it is the
bound that better sensing could reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import signal, sparse, stats

from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import demand_moves
from envs.policies.base import Follows, Parameter, Policy, Target, View
from envs.policies.base_stock import safety_factor
from envs.policies.demand_belief import Chain, demand_cdf, moving_regimes
from envs.types import Floats

_CELLS = 1024  # of a table of lead-time demand at most; coarser than one unit above that


class BayesBaseStock(Policy):
    """order = level - echelon inventory position.

    level: the Phi(safety_factor) fractile of demand until the next order has come, here and
    below, given the belief. Known factors of a calendar scale it in proportion.
    """

    name = "bayes_base_stock"
    follows = Follows.echelon_inventory_position
    remembers = True
    suits = staticmethod(demand_moves)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        return {"safety_factor": safety_factor(net, step=0.25, high=5.0)}

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        self._ratio = stats.norm.cdf(parameters["safety_factor"])
        self._chains: dict[tuple[int, ...], Chain] = {}
        self._level = np.zeros_like(self._ratio)  # of pairs whose demand nothing moves
        self._moving: list[tuple[int, Chain, Floats, float]] = []
        for p in range(len(self._ratio)):
            leaves = _leaves(net, p)
            regimes = {g for leaf, _ in leaves for g in moving_regimes(net, leaf)}
            key = tuple(sorted(regimes))
            if key not in self._chains:
                self._chains[key] = Chain(net, key)
            chain = self._chains[key]
            cdf, step = _lead_time_demand(net, p, leaves, chain)
            if regimes:
                self._moving.append((p, chain, cdf, step))
            else:
                self._level[p] = step * np.searchsorted(cdf[0], self._ratio[p])
        self._calendar = _Calendar(net)

    def reset(self, batch_size: int) -> None:
        for chain in self._chains.values():
            chain.reset(batch_size)

    def target(self, view: View) -> Target:
        for chain in self._chains.values():
            chain.look(view)
        position = view.state.echelon_inventory_position
        level = np.broadcast_to(self._level, position.shape).copy()
        for p, chain, cdf, step in self._moving:
            level[p] = step * (cdf.T @ chain.belief < self._ratio[p]).sum(axis=0)
        return Target(level * self._calendar.factor(view) - position)


def _leaves(net: CompiledNetwork, pair: int) -> list[tuple[int, float]]:
    """Return the customer pairs that a pair serves, itself included, and its units in theirs."""
    leaves = net.arrays.stocks.leaves
    rows = range(leaves.pointer[pair], leaves.pointer[pair + 1])
    return [(int(net.customer_pair[leaves.index[i]]), float(leaves.value[i])) for i in rows]


def _lead_time_demand(
    net: CompiledNetwork, pair: int, leaves: list[tuple[int, float]], chain: Chain
) -> tuple[Floats, float]:
    """Return (cdf [S, cells] of demand below, from each of today's states; units per cell).

    Over n = lead time down to the customer + review, the lead time in whole periods:
    f_n(s) = demand in s * sum over s' of P(s, s') f_{n-1}(s'), * a convolution. The first period is
    today's, or tomorrow's where today's demand is served before orders are placed.
    """
    periods = max(round(net.leads.path[pair]) + int(net.review[pair]), 1)
    factors = [chain.factors(net, leaf) for leaf, _ in leaves]
    demands = [net.network.stocks[leaf].demand for leaf, _ in leaves]
    mean, variance = np.zeros((2, len(chain.start)))
    for (_, weight), demand, factor in zip(leaves, demands, factors, strict=True):
        assert demand is not None
        mean += weight * demand.mean * factor
        variance += (weight * demand.standard_deviation) ** 2 * np.maximum(factor, factor**2)
    top = periods * mean.max() + 6.0 * np.sqrt(periods * variance.max()) + 10.0
    step = max(1.0, top / _CELLS)
    edges = (np.arange(int(top / step) + 1) + 0.5) * step
    one = np.zeros((len(chain.start), edges.size))
    one[:, 0] = 1.0
    for (_, weight), demand, factor in zip(leaves, demands, factors, strict=True):
        assert demand is not None
        cdf = np.array([demand_cdf(demand, f, edges / weight) for f in factor])
        one = _sum(one, np.diff(cdf, axis=1, prepend=0.0))
    total = one
    for _ in range(periods - 1):
        total = _sum(one, chain.transition @ total)
    if net.arrays.switches.demand_first:
        total = chain.transition @ total
    cdf = np.minimum(np.cumsum(total, axis=1), 1.0)
    cdf[:, -1] = 1.0
    return cdf, step


def _sum(first: Floats, second: Floats) -> Floats:
    """[S, cells] distribution of the sum of two independent demands, per state."""
    both = signal.fftconvolve(first, second, axes=1)[:, : first.shape[1]]
    return np.maximum(both, 0.0)


class _Calendar:
    """Known factors of the calendar: the forecast with them over that without."""

    def __init__(self, net: CompiledNetwork) -> None:
        self._known = net.demand.multiplier is not None
        periods = np.maximum(np.round(net.leads.path) + net.review, 1.0)
        self._units: Any = sparse.diags_array(periods) @ net.leaf_weight

    def factor(self, view: View) -> Floats | float:
        """[P, B]; 1 where there is no calendar."""
        if not self._known:
            return 1.0
        flat = self._units @ view.state.demand_level
        result: Floats = view.state.echelon_forecast_mean / np.maximum(flat, 1e-9)
        return result
