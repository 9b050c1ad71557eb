"""Which way to send goods, and when: a fixed way, or the one that costs least in the weather.

Both rules send whole loads: (r, nQ), Veinott (1965), with the load of the way as Q.

fixed path: always on the lane of the largest base share.
expected path: the cost of a unit on a way is freight + value of time x expected lead time, for a
departure today in the weather that is seen, and for one in 1..F days in the weather that is to be
expected then, plus the days waited. Where waiting is cheapest nothing is ordered today. (A rolling
horizon form of the shortest path in a network with random, time-dependent travel times, Hall 1986.)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.policies.base import Parameter, Target, View, only_if_named
from envs.policies.base_stock import BaseStock, newsvendor_level
from envs.policies.travel import Travel
from envs.types import Bools, Floats

_GATE = 0.5  # spreads: an action of so much opens or closes the gate
_DRAWS = 1000  # of the weather, for the textbook level


class FixedPath(BaseStock):
    """order = level - IP, to the nearest whole load of the lane in regular use."""

    name = "fixed_path"
    approximate = "orders are whole loads"
    suits = staticmethod(only_if_named)

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        super().__init__(net, parameters)
        lanes = net.network.lanes
        self._to, self._regular_lanes = net.arrays.lanes.to, _RegularLanes(net)
        self._load = np.array([q.load_size if q.load_size and q.load_cost else 0.0 for q in lanes])
        self._fixed = self._regular_lanes.cheapest(np.zeros((len(lanes), 1)))

    def target(self, view: View) -> Target:
        return Target(self._whole_loads(view, self._fixed))

    def _whole_loads(self, view: View, used: Bools) -> Floats:
        """[P, B] units to order, on the lanes used [Q, B]."""
        gap = self._parameters["level"] - view.state.inventory_position
        load = np.zeros((len(gap), used.shape[1]))
        np.maximum.at(load, self._to, self._load[:, None] * used)
        whole = np.floor(gap / np.where(load > 0.0, load, 1.0) + 0.5) * load
        return np.where(load > 0.0, whole, gap)


class ExpectedPath(FixedPath):
    """The same on the lane of the least expected cost, unless waiting is cheaper."""

    name = "expected_path"
    decides = frozenset({"lane_share", "gate"})

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        arrays = net.arrays
        time = arrays.stocks.holding_cost + 0.1 * np.maximum(
            arrays.stocks.backlog_cost, arrays.stocks.lost_sale_cost
        )
        lead, lead_sd = _usual_lead(net, time)
        return {
            "level": newsvendor_level(net, lead, lead_sd),
            "value_of_time": Parameter(time, 0.5 * np.maximum(time, 1e-3)),
        }

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        super().__init__(net, parameters)
        self._travel = Travel(net)

    def target(self, view: View) -> Target:
        value = self._parameters["value_of_time"]
        cost = self._travel.cost(view.seen, np.full_like(view.seen, -1), 0, value[self._to])
        now = self._regular_lanes.least(cost)
        later = np.full_like(now, np.inf)
        for days, forecast in enumerate(view.forecast, start=1):
            then = self._travel.cost(view.seen, forecast, days, value[self._to])
            later = np.minimum(later, self._regular_lanes.least(then) + days * value)
        gate = np.where(later < now, -_GATE, _GATE) * self.spread(view)
        used = self._regular_lanes.cheapest(cost)
        return Target(self._whole_loads(view, used), gate=gate, lane_share=used.astype(float))


class _RegularLanes:
    """The regular lanes of every pair."""

    def __init__(self, net: CompiledNetwork) -> None:
        self._to, self._regular = net.arrays.lanes.to, ~net.arrays.lanes.expedite
        self._pairs = len(net.network.stocks)
        self._base = net.base_share[:, None]

    def least(self, cost: Floats) -> Floats:
        """[Q, B] -> [P, B]."""
        least = np.full((self._pairs, cost.shape[1]), np.inf)
        np.minimum.at(least, self._to[self._regular], cost[self._regular])
        return least

    def cheapest(self, cost: Floats) -> Bools:
        """[Q, B] the cheapest lane of each pair; of equals the one of the largest base share."""
        near = (cost <= self.least(cost)[self._to] + 1e-9) & self._regular[:, None]
        rest = np.where(near, -self._base, np.inf)
        return near & (rest <= self.least(rest)[self._to])


def _usual_lead(net: CompiledNetwork, value_of_time: Floats) -> tuple[Floats, Floats]:
    """[P] mean and standard deviation of the periods that goods travel on the way that is cheapest
    in the weather of the day."""
    travel, lanes = Travel(net), _RegularLanes(net)
    states = travel.usual_states(_DRAWS)
    nothing, to = np.full_like(states, -1), net.arrays.lanes.to
    used = lanes.cheapest(travel.cost(states, nothing, 0, value_of_time[to][:, None]))
    periods = lanes.least(np.where(used, travel.expect(states, nothing, 0)[0], np.inf))
    return periods.mean(axis=1), periods.std(axis=1)
