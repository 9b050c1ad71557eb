"""What a centralised critic sees beyond its row: the network in means, and what nobody knows.

A critic is used in training only, so it may know the true state of every regime, and the demand of
the period that is about to come: actions cannot change either, so advantages stay unbiased, with
less noise (Yu et al. 2022, "The surprising effectiveness of PPO in cooperative multi-agent games").
Means over the rows of a node kind have no size: they fit networks of any number of nodes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from envs.compiled.network import CompiledNetwork
from envs.observation.pairs import FLOW_FEATURES
from envs.trace.trace import Trace

__all__ = ["CENTRAL", "CentralView"]

CENTRAL = "central_"  # features that begin so are the critic's alone

Floats = NDArray[np.float64]


class CentralView:
    """Writes the columns of the critic alone.

    names: of the features. They are, for each node kind, the means of its rows' flow features; a
    column for each state of each regime, 1 where it is the true one; the factor that true regimes
    put on the demand that reaches the row; and the demand about to come, by its mean, less 1.
    """

    def __init__(self, net: CompiledNetwork, kinds: Mapping[str, slice]) -> None:
        self._kinds = tuple(kinds.values())
        self._share, self._mean = _shares(net), np.maximum(net.customer_mean, 1e-9)
        regimes = net.network.regimes
        place = {regime.id: g for g, regime in enumerate(regimes)}
        self._multiplier = [np.array([state.demand for state in r.states]) for r in regimes]
        stocks = net.network.stocks
        self._regimes_of = [[place[r] for r in stocks[p].demand_regimes] for p in net.customer_pair]
        names = [f"{kind}_{feature}" for kind in kinds for feature in FLOW_FEATURES]
        names += [f"{regime.id}_{state.name}" for regime in regimes for state in regime.states]
        names += ["demand_factor", "demand_to_come"]
        self.names = tuple(CENTRAL + name for name in names)

    def write(self, trace: Trace, own: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Fill out [P, len(names), B] from the rows' own features [P, F, B] and the trace."""
        column, flow = 0, len(FLOW_FEATURES)
        for rows in self._kinds:
            out[:, column : column + flow] = own[rows, :flow].mean(axis=0)
            column += flow
        regime = trace.true_regime
        for g, multiplier in enumerate(self._multiplier):
            for state in range(len(multiplier)):
                out[:, column] = regime[g] == state
                column += 1
        factor = np.ones_like(trace.demand)
        for d, regimes in enumerate(self._regimes_of):
            for g in regimes:
                factor[d] *= self._multiplier[g][regime[g]]
        out[:, column] = self._share @ factor
        out[:, column + 1] = self._share @ (trace.demand / self._mean[:, None]) - 1.0


def _shares(net: CompiledNetwork) -> Floats:
    """[P, D] share of each customer in the mean demand that reaches a row, directly or not."""
    share = np.zeros((len(net.network.stocks), len(net.customer_pair)))
    leaves = net.arrays.stocks.leaves
    for p in range(len(share)):
        entries = slice(leaves.pointer[p], leaves.pointer[p + 1])
        share[p, leaves.index[entries]] = leaves.value[entries]
    share *= net.customer_mean
    total = share.sum(axis=1, keepdims=True)
    share /= np.where(total > 0.0, total, 1.0)
    return share
