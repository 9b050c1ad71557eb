"""Rolling-horizon linear programme: plan for what is expected, do the first step, plan again.

Every `every` periods the linear programme of the network (`envs.linear_programme.programme`) is
solved over the next `horizon` periods, from stock and pipeline as they are, with expected demand
and lead times. Uncertainty enters as safety stock: safety_factor x s(own lead time + review), and
outage_factor x the demand of an outage, as in `capacity_checked`. It is a target that costs
something to miss: `safety_cost` x what a shortage costs. So it is a deterministic lookahead with
tuned parameters (a "cost function approximation", Powell 2022, Reinforcement Learning and
Stochastic Optimization, chapter 13).

At the end of the horizon stock is worth what it costs to get it there the cheapest way, and who
still waits is charged the same, so that the plan neither sells off stock nor puts off buying. Where
everything ends with period `end` (0: never), plans go no further, and stock is worth its salvage.
Fixed costs, loads, minima and multiples enter as the linear programme takes them; orders are then
rounded like those of any policy.

A programme per replication and plan: thousands of times slower than a formula.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import stats

from envs.compiled.network import CompiledNetwork
from envs.linear_programme.programme import OpeningState, Outlook, Pricing
from envs.linear_programme.rows import build_programme
from envs.policies.base import Parameter, Policy, Target, View, only_if_named
from envs.policies.base_stock import critical_ratio
from envs.policies.capacity_checked import outage_cover
from envs.policies.expectation import Expectation
from envs.types import Floats

_STEP_UP = 0.5
_BEYOND = 3  # periods that the horizon goes beyond the longest way to a customer


class RollingLP(Policy):
    """order = what the plan orders now."""

    name = "rolling_lp"
    decides = frozenset({"expedite", "lane_share"})
    approximate = "its orders solve a linear programme"
    suits = staticmethod(only_if_named)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        ones = np.ones(len(net.demand.mean))
        customers = net.arrays.stocks.demand_of >= 0
        factor = np.maximum(stats.norm.ppf(critical_ratio(net)), 0.0)
        factor[~customers] *= 0.5  # they share the risk of those below
        # As far as what is ordered now has consequences.
        way = np.ceil(net.leads.path + net.leads.path_sd).max() + net.review.max()
        return {
            "safety_factor": Parameter(factor, 0.5 * ones, 0.0, 8.0),
            "outage_factor": Parameter(ones, 0.25 * ones * (_cover(net) > 0.0)),
            "safety_cost": Parameter(0.5 * ones, 0.25 * ones, 0.0, 1.0),
            "horizon": Parameter((way + _BEYOND) * ones, None, 1.0, whole=True),
            "every": Parameter(ones, None, 1.0, whole=True),
            "end": Parameter(0.0 * ones, None, 0.0, whole=True),
        }

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        self._net = net
        self._factor = np.asarray(parameters["safety_factor"])
        self._cover = parameters["outage_factor"] * _cover(net)[:, None]
        self._periods = int(np.max(parameters["horizon"]))
        self._every = int(np.clip(np.max(parameters["every"]), 1, self._periods))
        self.keeps_plan = self._every > 1
        self._end = int(np.max(parameters["end"]))
        self._expectation = Expectation(net, self._periods)
        self._safety_cost = parameters["safety_cost"] * _shortage_cost(net)[:, None]
        self._worth = _landed_cost(net)
        self._base = net.base_share[:, None]
        self._plan = np.zeros((0, 0, 0))
        self._planned_at = 0

    def reset(self, batch_size: int) -> None:
        """Forget the plan."""
        self._plan = np.zeros((0, len(self._base), batch_size))

    def target(self, view: View) -> Target:
        arrays, age = self._net.arrays, view.period - self._planned_at
        if not 0 < age < min(self._every, len(self._plan)):
            self._plan, self._planned_at, age = self._make_plan(view), view.period, 0
        good = self._plan[age] * arrays.lanes.expected_yield[:, None]  # [Q, B]
        shape = view.state.on_hand.shape
        order, expedite = np.zeros(shape), np.zeros(shape)
        np.add.at(order, arrays.lanes.to, good)
        np.add.at(expedite, arrays.lanes.to[arrays.lanes.expedite], good[arrays.lanes.expedite])
        # Where nothing is ordered a learned correction may still order: base shares then.
        regular = (order - expedite)[arrays.lanes.to]
        ordered = np.where(arrays.lanes.expedite[:, None], expedite[arrays.lanes.to], regular) > 0.0
        return Target(order, expedite, lane_share=np.where(ordered, good, self._base))

    def _outlook(self, view: View, b: int) -> Outlook:
        return self._expectation.outlook(view, b)

    def _make_plan(self, view: View) -> Floats:
        """[T, Q, B] units to order on lanes."""
        net, nothing = self._net, np.zeros(len(self._worth))
        batch = view.state.on_hand.shape[1]
        plan = np.zeros((self._periods, len(self._base), batch))
        safety = np.zeros((len(nothing), batch)) + self._cover
        safety += self._factor * view.state.forecast_sd
        short = np.broadcast_to(self._safety_cost, safety.shape)
        left = self._end - view.period
        periods = min(self._periods, left) if left > 0 else self._periods
        ends = periods == left
        worth, waiting = (
            (net.arrays.stocks.salvage, nothing) if ends else (self._worth, self._worth)
        )
        for b in range(batch):
            start = OpeningState.of(net, view.state, None, view.period, b)
            pricing = Pricing(0, nothing, worth, waiting, safety[:, b], short[:, b])
            outlook = _first(self._outlook(view, b), periods)
            programme = build_programme(net, outlook, start, pricing)
            plan[:periods, :, b] = np.maximum(programme.solve().columns[programme.ordered], 0.0)
        return plan


def _first(outlook: Outlook, periods: int) -> Outlook:
    """The outlook's first periods."""
    shorter = {name: getattr(outlook, name)[:periods] for name in ("demand", "lead_time", "factor")}
    return outlook._replace(**shorter)


def _cover(net: CompiledNetwork) -> Floats:
    """[P] units to hold against outages, where there is no second source."""
    alone = np.diff(net.arrays.stocks.inbound.pointer) == 1
    return np.where(alone, outage_cover(net) * net.demand.mean, 0.0)


def _shortage_cost(net: CompiledNetwork) -> Floats:
    """[P] currency per unit and period: what a shortage costs the pair's customers (a lost sale
    costs once: spread over lead time and review); half of that over all inputs together one step
    up, and so on. So nothing is kept back as safety stock that would be one further down, or would
    serve."""
    arrays = net.arrays
    lost = arrays.stocks.lost_sale_cost / np.maximum(net.leads.pair + net.review, 1.0)
    cost = np.maximum(arrays.stocks.backlog_cost, lost) * (arrays.stocks.demand_of >= 0)
    lane = arrays.lanes.inputs.rows
    taken = np.bincount(lane, arrays.lanes.inputs.value, minlength=len(arrays.lanes.to))
    for _ in range(len(cost)):
        above = cost.copy()
        passed = _STEP_UP * cost[arrays.lanes.to[lane]] / taken[lane]
        np.maximum.at(above, arrays.lanes.inputs.index, passed)
        if np.array_equal(above, cost):
            break
        cost = above
    return cost


def _landed_cost(net: CompiledNetwork) -> Floats:
    """[P] currency that it takes at least to get a unit there, from outside: unit costs, what
    loads cost when full, and what the inputs cost, all in their cheapest regimes; a shortest path
    over lanes (Bellman 1958)."""
    arrays, network = net.arrays, net.network
    regimes = {g.id: g for g in network.regimes}
    rate = np.zeros(len(network.lanes))
    for q, lane in enumerate(network.lanes):
        least = 1.0
        for name in lane.regimes:
            least *= min(s.cost for s in regimes[name].for_mode(lane.mode).states)
        uses = slice(arrays.lanes.uses.pointer[q], arrays.lanes.uses.pointer[q + 1])
        used, per_unit = arrays.lanes.uses.index[uses], arrays.lanes.uses.value[uses]
        size = np.where(
            arrays.resources.load_size[used] > 0.0, arrays.resources.load_size[used], np.inf
        )
        loads = float((per_unit * arrays.resources.load_cost[used] / size).sum())
        rate[q] = max(0.0, least * (arrays.lanes.unit_cost[q] + loads) - arrays.lanes.price[q])
    worth = np.full(len(network.stocks), np.inf)
    for _ in range(len(worth) + 1):
        before = worth.copy()
        for q, to in enumerate(arrays.lanes.to):
            inputs = slice(arrays.lanes.inputs.pointer[q], arrays.lanes.inputs.pointer[q + 1])
            parts = arrays.lanes.inputs.value[inputs] @ worth[arrays.lanes.inputs.index[inputs]]
            worth[to] = min(worth[to], (rate[q] + parts) / arrays.lanes.yield_share[q])
        if np.array_equal(before, worth):
            break
    return np.where(np.isfinite(worth), worth, 0.0)
