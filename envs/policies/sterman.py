"""Sterman's anchoring and adjustment rule, the usual model of how people play the beer game.

order = L + stock_weight (desired_stock - inventory_level - supply_line_weight on_order), where L
is the expected demand, smoothed by `smoothing` (Sterman 1989, Management Science 35(3), eq. 4-7).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.policies.base import Follows, Parameter, Policy, Target, View, Weights, only_if_named
from envs.policies.base_stock import newsvendor
from envs.types import Floats


class Sterman(Policy):
    """Anchoring and adjustment; until `fixed_periods` have passed, `fixed_order` is ordered."""

    name = "sterman"
    approximate = "orders of an inner node follow what was ordered from it"
    remembers = True
    suits = staticmethod(only_if_named)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        level, sd = newsvendor(net)
        one = np.ones(len(level))
        return {
            "desired_stock": Parameter(level, sd + 1.0),
            "stock_weight": Parameter(one, 0.2 * one, high=1.0),
            "supply_line_weight": Parameter(one, 0.2 * one, high=1.0),
            "smoothing": Parameter(0.0 * one, 0.2 * one, high=1.0),
            "initial_forecast": Parameter(net.demand.mean, None),
            "fixed_periods": Parameter(0.0 * one, None),
            "fixed_order": Parameter(net.demand.mean, None),
        }

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        super().__init__(net, parameters)
        self._pairs = len(net.network.stocks)
        self._expected = np.zeros((self._pairs, 1))

    def reset(self, batch_size: int) -> None:
        start = self._parameters["initial_forecast"]
        self._expected = np.broadcast_to(start, (self._pairs, batch_size)).copy()

    def target(self, view: View) -> Target:
        p, state = self._parameters, view.state
        if view.has_news:
            self._expected += p["smoothing"] * (state.incoming - self._expected)
        supply_line = p["supply_line_weight"] * state.on_order
        gap = p["desired_stock"] - state.inventory_level - supply_line
        order = self._expected + p["stock_weight"] * gap
        return Target(np.where(view.period < p["fixed_periods"], p["fixed_order"], order))

    def order_weights(self, view: View) -> Weights:
        p = self._parameters
        stock = np.where(view.period < p["fixed_periods"], 0.0, p["stock_weight"])
        return {
            Follows.inventory_level: stock,
            Follows.on_order: stock * p["supply_line_weight"],
        }
