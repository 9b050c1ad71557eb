"""Capped base-stock: order up to a level, but never more than a cap in one period.

For lost sales, where base-stock orders too much after a stock-out: the demand it makes up for is
gone. Johansen and Thorstenson (2008) tried it as "restricted base-stock"; Xin (2021, Operations
Research 69(1)) proved it asymptotically optimal for long lead times. An infinite cap is base-stock
(best where lost sales cost much), an infinite level is constant order.
"""

from __future__ import annotations

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import loses_sales
from envs.policies.base import Parameter, Target, View
from envs.policies.base_stock import BaseStock, newsvendor_level, orders_multiples


class CappedBaseStock(BaseStock):
    """order = min(cap, level - inventory_position)."""

    name = "capped_base_stock"
    decides = frozenset({"cap"})
    suits = staticmethod(loses_sales)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        whole = orders_multiples(net)
        # periods between orders
        gap = np.maximum(net.review + int(net.arrays.switches.demand_first), 1)
        spread = net.demand.sd * np.sqrt(gap)
        cap = net.demand.mean * gap + 0.5 * spread  # below the mean, stock runs dry
        return {
            "level": newsvendor_level(net),
            "cap": Parameter(
                np.ceil(cap) if whole else cap,
                np.maximum(0.5 * spread, 1.0) if whole else 0.5 * spread,
                whole=whole,
            ),
        }

    def target(self, view: View) -> Target:
        cap = np.broadcast_to(self._parameters["cap"], view.state.on_hand.shape)
        return super().target(view)._replace(cap=cap)
