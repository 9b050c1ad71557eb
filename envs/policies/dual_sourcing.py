"""Dual sourcing: regular lanes bring the bulk, expedite lanes what can't wait.

IP is the inventory position with everything on order; IP_e, `State.expedite_position`, counts only
what arrives within the expedite lead time L_e. Pairs without expedite lanes follow a base-stock
policy at `level`.

single index (Scarf-Federgruen): q = [S - IP]+, of which [S_e - IP]+ is expedited.
dual index (Veeraraghavan and Scheller-Wolf 2008): q_e = [S_e - IP_e]+, q_r = [S - IP - q_e]+.
capped dual index (Sun and Van Mieghem 2019): the same with q_r <= cap.
tailored base-surge (Allon and Van Mieghem 2010): q_e = [S_e - IP_e]+, q_r constant.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import expedites
from envs.policies.base import Follows, Parameter, Policy, Target, View, Weights, only_if_named
from envs.policies.base_stock import newsvendor_level, orders_multiples
from envs.types import Floats


class DualIndex(Policy):
    """order = S - IP, expedite = S_e - IP_e."""

    name = "dual_index"
    decides = frozenset({"expedite"})
    follows = Follows.inventory_position
    expedite_follows = Follows.expedite_position
    suits = staticmethod(only_if_named)

    @classmethod
    def unfit(cls, net: CompiledNetwork) -> str | None:
        return None if expedites(net) else "no lane expedites"

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        lead = np.maximum(net.arrays.stocks.expedite_periods, 0).astype(float)
        return {
            "level": newsvendor_level(net),
            "expedite_level": newsvendor_level(net, lead),
        }

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        super().__init__(net, parameters)
        self._has = net.arrays.stocks.expedite_periods >= 0

    def target(self, view: View) -> Target:
        order = self._parameters["level"] - view.state.inventory_position
        return Target(order, expedite=self._expedite(view))

    def _expedite(self, view: View) -> Floats:
        wanted = self._parameters["expedite_level"] - view.state.expedite_position
        return np.where(self._has[:, None], wanted, 0.0)


class SingleIndex(DualIndex):
    """order = S - IP, expedite = S_e - IP: one index for both."""

    name = "single_index"
    expedite_follows = Follows.inventory_position

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        parameters = super().tunable(net)
        level = parameters["level"].start
        low = Parameter(level - net.demand.mean, 0.5 * net.demand.mean, whole=orders_multiples(net))
        return {**parameters, "expedite_level": low}

    def _expedite(self, view: View) -> Floats:
        wanted = self._parameters["expedite_level"] - view.state.inventory_position
        return np.where(self._has[:, None], wanted, 0.0)


class CappedDualIndex(DualIndex):
    """order = S - IP, at most `cap` of it by regular lanes; expedite = S_e - IP_e."""

    name = "capped_dual_index"
    decides = frozenset({"expedite", "cap"})
    suits = staticmethod(expedites)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        has = net.arrays.stocks.expedite_periods >= 0
        mean = net.demand.mean * np.maximum(net.review, 1)
        cap = np.where(has, np.maximum(np.ceil(mean), 1.0), 1e12)
        step = np.where(has, np.maximum(np.round(0.5 * mean), 1.0), 0.0)
        return {**super().tunable(net), "cap": Parameter(cap, step, whole=orders_multiples(net))}

    def target(self, view: View) -> Target:
        cap = np.broadcast_to(self._parameters["cap"], view.state.on_hand.shape)
        return super().target(view)._replace(cap=cap)


class TailoredBaseSurge(DualIndex):
    """order = a constant quantity by regular lanes; expedite = S_e - IP_e."""

    name = "tailored_base_surge"
    suits = staticmethod(expedites)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        parameters = super().tunable(net)
        whole, mean = orders_multiples(net), net.demand.mean
        quantity = np.floor(0.8 * mean) if whole else 0.8 * mean
        step = np.maximum(np.round(0.2 * mean), 1.0) if whole else 0.1 * mean
        return {**parameters, "quantity": Parameter(quantity, step, whole=whole)}

    def target(self, view: View) -> Target:
        expedite = self._expedite(view)
        constant = self._parameters["quantity"] + np.maximum(expedite, 0.0)
        base_stock = self._parameters["level"] - view.state.inventory_position
        return Target(np.where(self._has[:, None], constant, base_stock), expedite=expedite)

    def order_weights(self, view: View) -> Weights:
        surges = self._has[:, None] & (self._expedite(view) > 0.0)
        return {
            Follows.expedite_position: surges.astype(float),
            Follows.inventory_position: (~self._has[:, None]).astype(float),
        }
