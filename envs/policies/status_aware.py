"""Status-aware base-stock: another level, and another lane, while a supplier is seen to be down.

Optimal for one item with a supplier that fails and recovers as a Markov chain (Song and Zipkin
1996, state-dependent base-stock), given that the state is seen.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import has_seen_state
from envs.network.regime import Regime
from envs.policies.base import Follows, Parameter, Policy, Target, View
from envs.policies.base_stock import newsvendor_level
from envs.types import Bools, Floats


def lane_weights(net: CompiledNetwork, up: Bools, lateral: Bools) -> Floats:
    """Return weights [Q, B] of lanes, given which are up [Q, B] and which are lateral [Q].

    Base shares over the lanes that are up; where all lanes in regular use are down, the cheapest
    other one that is up and not lateral; where none is, the base shares: the order waits.
    """
    arrays = net.arrays
    spare = ~(arrays.lanes.expedite | lateral)
    share = net.base_share
    weights = share[:, None] * up
    served = net.brings @ np.where(arrays.lanes.expedite[:, None], 0.0, weights)
    for q in np.argsort(arrays.lanes.unit_cost, kind="stable"):  # the cheapest that is up steps in
        if share[q] > 0.0 or not spare[q]:
            continue
        p = arrays.lanes.to[q]
        steps_in = (served[p] == 0.0) & up[q]
        weights[q] = np.where(steps_in, 1.0, 0.0)
        served[p] += weights[q]
    stranded = (served == 0.0)[arrays.lanes.to]
    return np.where(stranded, share[:, None], weights)


def lateral_lanes(net: CompiledNetwork) -> Bools:
    """Return [Q] lanes from a pair that could in turn be supplied from where they go.

    Transshipment is no source: goods would go around in circles, and the neighbour that sends them
    has the same supplier.
    """
    arrays = net.arrays
    size, lane = len(net.network.stocks), arrays.lanes.inputs.rows
    source, to = arrays.lanes.inputs.index, arrays.lanes.to[lane]
    graph = sparse.coo_array((np.ones(len(lane)), (source, to)), shape=(size, size))
    _, circle = csgraph.connected_components(graph, directed=True, connection="strong")
    lateral = np.zeros(len(arrays.lanes.to), bool)
    lateral[lane[circle[source] == circle[to]]] = True
    return lateral


def _works(regime: Regime) -> Bools:
    """[states] whether orders go through."""
    return np.array([state.ordering * state.availability > 0 for state in regime.states])


class StatusAwareBaseStock(Policy):
    """order = level - IP; `level_down` while the lane of the largest base share is down."""

    name = "status_aware_base_stock"
    decides = frozenset({"lane_share"})
    follows = Follows.inventory_position
    suits = staticmethod(has_seen_state)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        return dict.fromkeys(("level", "level_down"), newsvendor_level(net))

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        super().__init__(net, parameters)
        network, arrays = net.network, net.arrays
        self._lateral = lateral_lanes(net)
        self._exposed = [
            (q, g, _works(regime.for_mode(lane.mode)))
            for q, lane in enumerate(network.lanes)
            for g, regime in enumerate(network.regimes)
            if regime.id in lane.regimes and regime.seen_after is not None
        ]
        share = np.where(arrays.lanes.expedite, -1.0, net.base_share)
        order = np.lexsort((arrays.lanes.unit_cost, -share))
        first = np.unique(arrays.lanes.to[order], return_index=True)[1]
        self._preferred = order[first]  # [P] lanes, as pairs are numbered from 0 without gaps

    def target(self, view: View) -> Target:
        up = np.ones((len(view.net.network.lanes), view.state.on_hand.shape[1]), bool)
        for q, g, works in self._exposed:
            state = view.seen[g]
            up[q] &= works[np.maximum(state, 0)] | (state < 0)
        p = self._parameters
        level = np.where(up[self._preferred], p["level"], p["level_down"])
        order = level - view.state.inventory_position
        return Target(order, lane_share=lane_weights(view.net, up, self._lateral))
