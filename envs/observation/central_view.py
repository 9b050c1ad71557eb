"""What a centralised critic sees beyond its row: the network in means, and what nobody knows.

A critic is used in training only, so it may know the true state of every regime, and the demand of
the period that is about to come: actions cannot change either, so advantages stay unbiased, with
less noise (Yu et al. 2022, "The surprising effectiveness of PPO in cooperative multi-agent games").
Means over the rows of a node kind have no size: they fit networks of any number of nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.observation.features import FLOW_FEATURES
from envs.trace.trace import Trace
from envs.types import Floats, Floats32

CENTRAL = "central_"  # features that begin so are the critic's alone


class CentralView:
    """Writes the columns of the critic alone.

    names: of the features. They are, for each node kind, the means of its rows' flow features; a
    column for each state of each regime, 1 where it is the true one; the factor that true regimes
    put on the demand that reaches the row; and the demand about to come, by its mean, less 1.
    """

    def __init__(
        self, net: CompiledNetwork, kinds: Mapping[str, slice], acting: tuple[str, ...]
    ) -> None:
        """kinds: rows of each node kind. acting: names of the columns before the critic's."""
        self._share, self._mean = _shares(net), np.maximum(net.demand.customer_mean, 1e-9)
        regimes = net.network.regimes
        place = {regime.id: g for g, regime in enumerate(regimes)}
        self._multiplier = [np.array([state.demand for state in r.states]) for r in regimes]
        stocks = net.network.stocks
        self._regimes_of = [[place[r] for r in stocks[p].demand_regimes] for p in net.customer_pair]
        names: list[str] = []

        def columns(new: Iterable[str]) -> range:
            first = len(acting) + len(names)
            names.extend(CENTRAL + name for name in new)
            return range(first, len(acting) + len(names))

        self._flow = np.array([acting.index(name) for name in FLOW_FEATURES])
        self._of_kind = [
            (rows, columns(f"{kind}_{name}" for name in FLOW_FEATURES))
            for kind, rows in kinds.items()
        ]
        self._of_state = [
            columns(f"{regime.id}_{state.name}" for state in regime.states) for regime in regimes
        ]
        [self._factor] = columns(["demand_factor"])
        [self._to_come] = columns(["demand_to_come"])
        self.names = tuple(names)

    def write(self, trace: Trace, observation: Floats32) -> None:
        """Fill the critic's columns of observation [P, F, B] from the others and the trace."""
        flow = observation.take(self._flow, axis=1)
        for rows, columns in self._of_kind:
            observation[:, columns.start : columns.stop] = flow[rows].mean(axis=0)
        regime = trace.true_regime
        for g, columns in enumerate(self._of_state):
            for state, column in enumerate(columns):
                observation[:, column] = regime[g] == state
        factor = np.ones_like(trace.demand)
        for d, regimes in enumerate(self._regimes_of):
            for g in regimes:
                factor[d] *= self._multiplier[g][regime[g]]
        observation[:, self._factor] = self._share @ factor
        coming = trace.demand / self._mean[:, None]
        observation[:, self._to_come] = self._share @ coming - 1.0


def _shares(net: CompiledNetwork) -> Floats:
    """[P, D] share of each customer in the mean demand that reaches a row, directly or not."""
    share: Floats = net.leaf_weight.toarray() * net.demand.customer_mean
    total = share.sum(axis=1, keepdims=True)
    share /= np.where(total > 0.0, total, 1.0)
    return share
