"""(r, nQ): at the reorder point, order as many lots of Q as bring the position above it.

Hadley and Whitin (1963, chapter 4); for lots larger than what is sold between two reviews this is
(r, Q). The start is the textbook one: Q the economic order quantity, r the newsvendor level.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.policies.base import Follows, Parameter, Policy, Target, View, only_if_named
from envs.policies.base_stock import newsvendor_level, orders_multiples
from envs.policies.s_s import order_cycle
from envs.types import Floats


class ReorderPointLots(Policy):
    """order = n Q, the fewest lots with inventory_position + n Q > r, where it is at r or below."""

    name = "r_q"
    decides = frozenset({"gate"})
    follows = Follows.inventory_position
    approximate = "orders are whole lots"
    suits = staticmethod(only_if_named)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        quantity = net.demand.mean * order_cycle(net, joint=False)
        whole = orders_multiples(net)
        least = 1.0 if whole else 0.0
        lot = np.maximum(np.round(quantity) if whole else quantity, least)
        return {
            "reorder_point": newsvendor_level(net),
            "quantity": Parameter(lot, np.maximum(0.25 * lot, least), low=least, whole=whole),
        }

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        self._reorder = parameters["reorder_point"]
        self._lot = np.maximum(parameters["quantity"], 1e-6)  # no lots: order up to r

    def target(self, view: View) -> Target:
        below = self._reorder - view.state.inventory_position
        lots = np.maximum(np.floor(below / self._lot) + 1.0, 1.0)
        return Target(lots * self._lot, gate=below)
