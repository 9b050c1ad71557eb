"""Shortest expected path: leave on the way that costs least in today's weather, or wait for better.

Cost of a unit on a way: freight + value of time x lead time, both in the weather that is seen for a
departure today, that is forecast for one in 1..F days (plus the days waited). Where waiting is
cheapest nothing is ordered today. The quantity is base-stock's. (A rolling horizon form of the
time-dependent shortest path problem, Hall 1986.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from envs.compiled import CompiledNetwork
from envs.network import Regime
from envs.policies.base import Parameter, Target, View
from envs.policies.base_stock import newsvendor_level, whole_units

__all__ = ["ExpectedPath"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CLOSED = 1e9  # currency: never chosen where another way is open


class ExpectedPath:
    """order = level - IP, on the lane of the least expected cost, unless waiting is cheaper."""

    name: ClassVar[str] = "expected_path"
    decides: ClassVar[frozenset[str]] = frozenset({"lane_share", "gate"})

    @staticmethod
    def tunable(net: CompiledNetwork) -> dict[str, Parameter]:
        level, sd = newsvendor_level(net, net.lead_mean, net.review)
        arrays = net.arrays
        time = arrays.holding_cost + 0.1 * np.maximum(arrays.backlog_cost, arrays.lost_sale_cost)
        return {
            "level": Parameter(level, sd, whole=whole_units(net)),
            "value_of_time": Parameter(time, 0.5 * np.maximum(time, 1e-3)),
        }

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        self._parameters = dict(parameters)
        network, arrays = net.network, net.arrays
        self._to, self._expedite = arrays.lane_to, arrays.expedite
        loads = [q.load_cost / q.load_size if q.load_size else 0.0 for q in network.lanes]
        self._freight = arrays.unit_cost + np.array(loads)
        self._lead = np.array([q.lead_time.mean() + q.information_delay for q in network.lanes])
        self._base = np.zeros(len(network.lanes))
        self._base[arrays.inbound.index] = arrays.inbound.value
        self._exposed = [
            (q, g, *_by_state(regime.for_mode(lane.mode)))
            for q, lane in enumerate(network.lanes)
            for g, regime in enumerate(network.regimes)
            if regime.id in lane.regimes
        ]

    def reset(self, batch_size: int) -> None:
        """Nothing to forget."""

    def target(self, view: View) -> Target:
        batch = view.state.on_hand.shape[1]
        pairs = view.state.on_hand.shape[0]
        cost = self._cost(view.seen, batch)
        cheapest = np.full((pairs, batch), np.inf)
        np.minimum.at(cheapest, self._to, cost)
        later = np.full((pairs, batch), np.inf)
        for days, states in enumerate(view.forecast, start=1):
            then = np.full((pairs, batch), np.inf)
            np.minimum.at(then, self._to, self._cost(states, batch))
            later = np.minimum(later, then + days * self._parameters["value_of_time"])
        gate = np.where(later < cheapest, -1e9, 0.0)
        order = self._parameters["level"] - view.state.inventory_position
        share = (cost <= cheapest[self._to] + 1e-9).astype(float)
        share += 1e-6 * self._base[:, None]  # of equal ways the regular one
        best = np.zeros((pairs, batch))
        np.maximum.at(best, self._to, np.where(self._expedite[:, None], 0.0, share))
        return Target(order, gate=gate, lane_share=(share >= best[self._to]).astype(float))

    def spread(self, view: View) -> Floats:
        return view.state.forecast_sd

    def _cost(self, states: Ints, batch: int) -> Floats:
        """[Q, B] currency per unit, leaving in these regime states [G, B]; -1: as on average."""
        slow = np.ones((len(self._to), batch))
        closed = np.zeros((len(self._to), batch), bool)
        for q, g, factor, is_open, mean in self._exposed:
            state = states[g]
            known = np.maximum(state, 0)
            slow[q] *= np.where(state < 0, mean, factor[known])
            closed[q] |= (state >= 0) & ~is_open[known]
        time = self._parameters["value_of_time"][self._to]
        cost = self._freight[:, None] + time * self._lead[:, None] * slow
        result: Floats = np.where(closed, cost + _CLOSED, cost)
        return result


def _by_state(regime: Regime) -> tuple[Floats, NDArray[np.bool_], float]:
    """(lead-time factor [states], open [states], mean factor)."""
    factor = np.array([s.lead_time for s in regime.states])
    is_open = np.array([s.availability * s.ordering > 0 for s in regime.states])
    return factor, is_open, regime.mean("lead_time")
