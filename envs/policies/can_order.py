"""Can-order (s, c, S): at s a pair must be ordered, and then all that are at c or below come along.

For pairs that share a supplier's fixed cost or its loads (Balintfy 1964; Silver 1974). Pairs that
share nothing follow (s, S).
"""

from __future__ import annotations

from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import shares_order_cost
from envs.policies.base import Parameter, Target, View
from envs.policies.base_stock import newsvendor, orders_multiples
from envs.policies.s_s import ReorderPointOrderUpTo, order_cycle


class CanOrder(ReorderPointOrderUpTo):
    """order = S - inventory_position, at s or below; at c or below if another pair must."""

    name = "can_order"
    decides = frozenset({"gate", "can_gate"})
    suits = staticmethod(shares_order_cost)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        _, sd = newsvendor(net)
        # Most orders come early, with another pair's: the must-order level needs no safety stock.
        reorder = net.demand.mean * (net.leads.pair + net.review)
        size = net.demand.mean * order_cycle(net, joint=True)
        whole, step = orders_multiples(net), 0.25 * size
        return {
            "reorder_point": Parameter(reorder, sd, whole=whole),
            "can_order_level": Parameter(reorder + 0.75 * size, step, whole=whole),
            "order_up_to_level": Parameter(reorder + size, step, whole=whole),
        }

    def target(self, view: View) -> Target:
        can_gate = self._parameters["can_order_level"] - view.state.inventory_position
        return super().target(view)._replace(can_gate=can_gate)
