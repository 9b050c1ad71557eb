"""(R, S): every R periods, order up to S (Hadley and Whitin 1963, section 5-2).

Pairs with the same R and phase are ordered together, so that they share a supplier's fixed cost.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import shares_order_cost
from envs.policies.base import Follows, Parameter, Policy, Target, View
from envs.policies.base_stock import covering_level, safety_factor
from envs.policies.s_s import order_cycle
from envs.types import Floats


class PeriodicReview(Policy):
    """order = S - inventory_position in the calendar periods t with (t - phase) mod R = 0.

    S = mean + k sd of demand over lead time + R. Between two reviews the gate is shut by as many
    units as are sold until the next one.
    """

    name = "periodic_review"
    decides = frozenset({"gate"})
    follows = Follows.inventory_position
    by_date = True
    suits = staticmethod(shares_order_cost)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        cycle = np.maximum(np.round(order_cycle(net, joint=True)), 1.0)
        return {
            "review_period": Parameter(cycle, np.maximum(0.25 * cycle, 1.0), low=1.0, whole=True),
            "safety_factor": safety_factor(net),
            # Suppliers take turns: the second one reviews a period after the first.
            "phase": Parameter(
                np.maximum(net.arrays.stocks.joint_of, 0).astype(float), None, whole=True
            ),
        }

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        self._review, self._phase = parameters["review_period"], parameters["phase"]
        first = int(net.arrays.switches.demand_first)  # then today's demand is known already
        gap = np.maximum(self._review, (net.review + first)[:, None])
        span = net.leads.pair[:, None] + gap - first
        self._level = covering_level(net, span, parameters["safety_factor"])
        self._rate = net.arrays.stocks.demand_rate[:, None]

    def target(self, view: View) -> Target:
        shape = view.state.inventory_position.shape
        wait = np.mod(self._phase - (view.period + view.offset), self._review)
        return Target(
            self._level - view.state.inventory_position,
            gate=np.broadcast_to(-wait * self._rate, shape),
        )
