"""EWMA base-stock: the level follows an exponentially weighted mean of the pair's demand.

The usual planning rule: simple exponential smoothing of demand and of the square of its one-period
forecast error (Brown 1959; Silver, Pyke and Thomas 2017, section 3.6), level = forecast + k
standard deviations over lead time and review. Unlike forecast-driven base-stock it looks at the
pair's own demand only, and its smoothing is a parameter to tune: 0 is base-stock.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.policies.base import Follows, Parameter, Policy, Target, View, only_if_named
from envs.policies.base_stock import safety_factor
from envs.types import Floats


class EwmaBaseStock(Policy):
    """order = n F + k sqrt(n V + (F lead-time sd)^2) - inventory_position, n = lead time + review.

    F += smoothing (demand - F), V += smoothing ((demand - F)^2 - V), every period.
    """

    name = "ewma_base_stock"
    follows = Follows.inventory_position
    remembers = True
    approximate = "the level of an inner node follows what was ordered from it"
    suits = staticmethod(only_if_named)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        tenth = np.full(len(net.network.stocks), 0.1)
        return {
            "smoothing": Parameter(tenth, tenth, high=1.0),
            "safety_factor": safety_factor(net),
        }

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        self._smoothing, self._factor = parameters["smoothing"], parameters["safety_factor"]
        self._periods = np.maximum(net.leads.pair + net.review, 0.0)[:, None]
        self._lead_sd = net.leads.pair_sd[:, None]
        self._start = net.demand.mean[:, None], (net.demand.sd**2)[:, None]
        self._mean, self._variance = self._start

    def reset(self, batch_size: int) -> None:
        self._mean, self._variance = (np.repeat(s, batch_size, axis=1) for s in self._start)

    def target(self, view: View) -> Target:
        state = view.state
        if view.has_news:
            error = state.incoming - self._mean
            self._variance += self._smoothing * (error**2 - self._variance)
            self._mean += self._smoothing * error
        variance = self._periods * self._variance + (self._mean * self._lead_sd) ** 2
        level = self._periods * self._mean + self._factor * np.sqrt(variance)
        return Target(level - state.inventory_position)
