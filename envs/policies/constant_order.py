"""Constant order: the same quantity every period.

Asymptotically optimal for lost sales as the lead time grows (Goldberg, Katz-Rogozhnikov, Lu,
Sharma and Squillante 2016).
"""

from __future__ import annotations

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.policies.base import Follows, Parameter, Policy, Target, View, only_if_named
from envs.policies.base_stock import orders_multiples


class ConstantOrder(Policy):
    """target = quantity."""

    name = "constant_order"
    follows = Follows.nothing
    suits = staticmethod(only_if_named)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        mean = net.demand.mean
        return {"quantity": Parameter(mean * 0.9, mean * 0.1, whole=orders_multiples(net))}

    def target(self, view: View) -> Target:
        return Target(np.broadcast_to(self._parameters["quantity"], view.state.on_hand.shape))
