"""What a unit costs, and how long it takes, on each lane in the weather that is or is to come."""

from __future__ import annotations

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.network.regime import Regime
from envs.types import Bools, Floats, Ints

_CLOSED = 1e9  # currency: never chosen where another way is open


def state_ahead(regime: Regime, days: int) -> Floats:
    """Return [seen, forecast, state]: the distribution of the state `days` ahead, given the state
    seen today and the state forecast; the last of seen and forecast is: none.

    Bayes' rule: the chain moves `days` steps, and a forecast of accuracy a says the true state
    with probability a, else one drawn from the stationary distribution.
    """
    start, size = regime.stationary(), len(regime.states)
    prior = np.vstack([np.linalg.matrix_power(regime.step(), days), start])
    has_forecast = 1 <= days <= len(regime.forecast_accuracy)
    accuracy = regime.forecast_accuracy[days - 1] if has_forecast else 0.0
    likelihood = accuracy * np.eye(size) + (1.0 - accuracy) * start[:, None]
    joint = prior[:, None, :] * np.vstack([likelihood, np.ones(size)])
    believed = np.vstack([np.eye(size), start])[None]  # a forecast of what can't be: of an event
    total = joint.sum(axis=2, keepdims=True)
    result: Floats = np.where(total > 0.0, joint / np.maximum(total, 1e-300), believed)
    return result


class Travel:
    """Lanes as ways to go. freight [Q]: currency per unit in full loads. lead [Q]: periods in
    usual weather."""

    def __init__(self, net: CompiledNetwork) -> None:
        lanes, self._regimes = net.network.lanes, net.network.regimes
        loads = [q.load_cost / q.load_size if q.load_size else 0.0 for q in lanes]
        self.freight = net.arrays.lanes.unit_cost + np.array(loads)
        self.lead = np.array([q.lead_time.mean() + q.information_delay for q in lanes])
        exposed = [
            (q, g)
            for q, lane in enumerate(lanes)
            for g, regime in enumerate(self._regimes)
            if regime.id in lane.regimes
        ]
        self._lane, self._regime = np.array(exposed, np.int64).reshape(-1, 2).T
        felt = [self._regimes[g].for_mode(lanes[q].mode) for q, g in exposed]
        ahead = max((len(r.forecast_accuracy) for r in self._regimes), default=0)
        self._tables = [_tabulate(felt, days) for days in range(ahead + 1)]

    def expect(self, seen: Ints, forecast: Ints, days: int) -> tuple[Floats, Bools]:
        """Return ([Q, B] periods that goods will travel that leave in `days`, [Q, B] whether they
        probably can). seen, forecast [G, B]: states of today and of the forecast, -1: not known."""
        slow, is_open = np.ones((2, len(self.lead), seen.shape[1]))
        if self._lane.size:
            factor, opening = self._tables[days]
            entry = np.arange(len(self._lane))[:, None]
            where = entry, seen[self._regime], forecast[self._regime]  # -1: the last one
            np.multiply.at(slow, self._lane, factor[where])
            np.multiply.at(is_open, self._lane, opening[where])
        return self.lead[:, None] * slow, is_open > 0.5

    def cost(self, seen: Ints, forecast: Ints, days: int, value_of_time: Floats) -> Floats:
        """Return [Q, B] currency per unit; value_of_time [Q, 1 or B]: per unit and period."""
        periods, is_open = self.expect(seen, forecast, days)
        cost = self.freight[:, None] + value_of_time * periods
        result: Floats = np.where(is_open, cost, cost + _CLOSED)
        return result

    def usual_states(self, draws: int) -> Ints:
        """Return [G, draws] states, drawn from the stationary distributions."""
        rng = np.random.default_rng(0)
        states = [rng.choice(len(r.states), draws, p=_shares(r)) for r in self._regimes]
        return np.array(states, np.int64).reshape(-1, draws)


def _shares(regime: Regime) -> Floats:
    shares = np.maximum(regime.stationary(), 0.0)
    result: Floats = shares / shares.sum()
    return result


def _tabulate(regimes: list[Regime], days: int) -> tuple[Floats, Floats]:
    """[entries, seen, forecast] the expected lead-time factor in `days`, and the probability that
    goods can leave; the last of seen and forecast is: none."""
    size = max((len(r.states) for r in regimes), default=0) + 1
    slow, is_open = np.ones((2, len(regimes), size, size))
    for entry, regime in enumerate(regimes):
        known = [*range(len(regime.states)), -1]
        chance = state_ahead(regime, days)
        factor = [s.lead_time for s in regime.states]
        leaves = [float(s.availability * s.ordering > 0) for s in regime.states]
        slow[entry][np.ix_(known, known)] = chance @ factor
        is_open[entry][np.ix_(known, known)] = chance @ leaves
    return slow, is_open
