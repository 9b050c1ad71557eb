"""Detecting base-stock: order around a supplier whose failure is not announced.

What a buyer sees of a hidden failure is goods that aren't shipped, or shipped and don't come. A
lane is suspected when more is unshipped than `patience` periods of the demand it should bring, or
more overdue than `patience_overdue` periods of it. A suspected lane loses its share to lanes that
still deliver, what it hasn't shipped no longer counts as coming, so that they bring it instead, and
the pair orders up to another level. When the goods come, suspicion ends. Where all lanes are
suspected, the pair waits. Transshipment is no help: the neighbour has the same supplier.

This is the status-aware base-stock (Song and Zipkin 1996) with its status inferred from what was
shipped and received.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import demand_moves, has_hidden_state
from envs.policies.base import Follows, Parameter, Policy, Target, View
from envs.policies.base_stock import newsvendor_level
from envs.policies.status_aware import lane_weights, lateral_lanes
from envs.types import Floats


class DetectingBaseStock(Policy):
    """order = level - (IP - what is stuck); `level_suspected` while a lane in use is suspected."""

    name = "detecting_base_stock"
    decides = frozenset({"lane_share"})
    follows = Follows.inventory_position
    approximate = "what a suspected lane owes no longer counts"

    @classmethod
    def suits(cls, net: CompiledNetwork) -> bool:
        return has_hidden_state(net) and not demand_moves(net)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        one = np.ones(len(net.network.stocks))
        return {
            "level": newsvendor_level(net),
            "level_suspected": newsvendor_level(net, _other_lead(net)),
            "patience": Parameter(1.0 * one, 0.5 * one, 0.25, 60.0),
            "patience_overdue": Parameter(5.0 * one, 2.0 * one, 0.25, 60.0),
        }

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        super().__init__(net, parameters)
        arrays, share = net.arrays, net.base_share
        self._lateral = lateral_lanes(net)
        self._regular = net.brings.multiply(~(arrays.lanes.expedite | self._lateral)).tocsr()
        self._in_use = net.brings.multiply((share > 0.0) & ~arrays.lanes.expedite).tocsr()
        part = np.where(share > 0.0, share, 1.0)  # an alternative lane may have to bring all
        flow = (part * net.demand.mean[arrays.lanes.to])[:, None]  # units per period
        self._unshipped = flow * parameters["patience"][arrays.lanes.to]
        late = arrays.beliefs.lane
        self._overdue = (flow * parameters["patience_overdue"][arrays.lanes.to])[late]

    def target(self, view: View) -> Target:
        arrays, state, p = view.net.arrays, view.state, self._parameters
        suspected = state.owed > self._unshipped
        suspected[arrays.beliefs.lane] |= state.overdue > self._overdue
        alarm, helped = self._in_use @ suspected > 0, self._regular @ ~suspected > 0
        # Not where nothing helps: it would be ordered again and again.
        gone = np.where(suspected & helped[arrays.lanes.to], state.owed, 0.0)
        stuck = view.net.brings @ (gone * arrays.lanes.expected_yield[:, None])
        level = np.where(alarm, p["level_suspected"], p["level"])
        order = level - (state.inventory_position - stuck)
        share = lane_weights(view.net, ~suspected, self._lateral)
        return Target(order, lane_share=share)


def _other_lead(net: CompiledNetwork) -> Floats:
    """[P] the longest mean lead time of the regular lanes that could step in [periods]."""
    arrays, lead = net.arrays, net.leads.pair.copy()
    spare = arrays.stocks.inbound.index[arrays.stocks.inbound.value == 0.0]
    spare = spare[~(arrays.lanes.expedite | lateral_lanes(net))[spare]]
    lead[arrays.lanes.to[spare]] = 0.0
    np.maximum.at(lead, arrays.lanes.to[spare], net.leads.lane[spare])
    return lead
