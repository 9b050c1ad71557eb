"""Hidden states that move demand, inferred from sales: the filter of a hidden Markov model.

Bayes' rule, a period at a time (Rabiner 1989, eq. 19-20): belief x chance of today's demand in each
state, scaled to sum to 1; then a step of the chain.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import stats

from envs.compiled.network import CompiledNetwork
from envs.errors import ConfigError
from envs.network.demand import Demand
from envs.policies.base import View
from envs.types import Bools, Floats

_MOST_STATES = 256  # of all regimes together
_CELLS = 512  # of a table of one period's demand; coarser than one unit above that


def moving_regimes(net: CompiledNetwork, pair: int) -> tuple[int, ...]:
    """Return which Markov regimes move the mean of a customer pair's demand."""
    return tuple(
        g
        for g, regime in enumerate(net.network.regimes)
        if regime.id in net.network.stocks[pair].demand_regimes
        and regime.process.is_chain
        and any(state.demand != 1.0 for state in regime.states)
    )


def demand_cdf(demand: Demand, factor: float, units: Floats) -> Floats:
    """P(demand <= units) in a period, its mean multiplied by `factor`.

    A replayed history is taken as normal with its mean and standard deviation.
    """
    mean, sd = demand.mean * factor, demand.standard_deviation * factor
    if mean == 0.0:
        return (units >= 0.0).astype(float)
    if demand.process is None:
        return np.asarray(stats.norm.cdf(units, mean, max(sd, 1e-9)))
    return np.asarray(demand.process.distribution(factor).cdf(units), float)


class Chain:
    """The joint chain of some regimes, and what is believed of it.

    regimes: their numbers. transition [S, S], start [S]: of their joint states. state_of [R, S]: a
    joint state's state of each. belief [S, B]: the probability of today's state.

    It learns from customers whose demand only these regimes move, at pairs that no lane draws on.
    Regimes that are seen at once are known; seen late, they count as hidden. Known factors of a
    calendar are divided out.
    """

    def __init__(self, net: CompiledNetwork, regimes: tuple[int, ...]) -> None:
        self.regimes = regimes
        chosen = [net.network.regimes[g] for g in regimes]
        self.transition: Floats = np.ones((1, 1))
        self.start: Floats = np.ones(1)  # of no regime: one state
        for regime in chosen:
            self.transition = np.asarray(np.kron(self.transition, regime.step()), float)
            shares: Floats = np.maximum(regime.stationary(), 0.0)
            self.start = np.asarray(np.kron(self.start, shares), float)
        joint = list(product(*(range(len(regime.states)) for regime in chosen)))
        if len(joint) > _MOST_STATES:
            raise ConfigError(
                f"Regimes {[r.id for r in chosen]} have {len(joint)} joint states; expected "
                f"{_MOST_STATES} at most, for a belief of each. Use forecast_base_stock."
            )
        self.state_of = np.array(joint, np.int64).reshape(len(joint), -1).T
        self.belief = self.start[:, None]
        self._seen = [(r, g) for r, g in enumerate(regimes) if chosen[r].seen_after == 0]
        self._evidence = []  # of each customer: pair, stream, table [S, cells], units per cell
        for d, p in enumerate(net.customer_pair):
            own = moving_regimes(net, p)
            demand = net.network.stocks[p].demand
            assert demand is not None
            has_lanes = (
                net.arrays.stocks.outbound.pointer[p + 1] > net.arrays.stocks.outbound.pointer[p]
            )
            if own and set(own) <= set(regimes) and demand.process is not None and not has_lanes:
                self._evidence.append((int(p), d, *_probabilities(demand, self.factors(net, p))))

    def factors(self, net: CompiledNetwork, pair: int) -> Floats:
        """Return [S] the factor on a customer pair's mean demand in each joint state."""
        factor = np.ones(self.state_of.shape[1])
        moving = moving_regimes(net, pair)
        for r, g in enumerate(self.regimes):
            if g in moving:
                states = net.network.regimes[g].states
                factor *= np.array([state.demand for state in states])[self.state_of[r]]
        return factor

    def reset(self, batch_size: int) -> None:
        """Believe the long-run shares."""
        self.belief = np.repeat(self.start[:, None], batch_size, axis=1)

    def look(self, view: View) -> None:
        """Learn from the demand served since the last look; move on to today."""
        first = view.net.arrays.switches.demand_first  # then today's demand is known
        if first and view.period > 0:
            self.belief = self.transition.T @ self.belief
        if view.has_news:
            self._learn(view, lag=0 if first else 1)
        if not first and view.period > 0:
            self.belief = self.transition.T @ self.belief
        for r, g in self._seen:
            shown = (self.state_of[r][:, None] == view.seen[g]) | (view.seen[g] < 0)
            self.belief = self._scaled(self.belief * shown, shown)

    def _learn(self, view: View, lag: int) -> None:
        believed = self.belief
        for p, d, table, step in self._evidence:
            units = view.state.incoming[p]
            if view.net.demand.multiplier is not None:
                units = units / np.maximum(view.net.demand.multiplier[d, view.calendar - lag], 1e-9)
            cell = np.clip(np.round(units / step).astype(np.int64), 0, table.shape[1] - 1)
            believed = believed * table[:, cell]
            believed = self._scaled(believed, np.ones_like(believed))
        self.belief = believed

    def _scaled(self, weights: Floats, possible: Floats | Bools) -> Floats:
        """Scale to sum to 1; what can't be by the model leaves the long-run shares."""
        total = weights.sum(axis=0)
        fresh = self.start[:, None] * possible
        usual = fresh / np.maximum(fresh.sum(axis=0), 1e-300)
        result: Floats = np.where(total > 0.0, weights / np.maximum(total, 1e-300), usual)
        return result


def _probabilities(demand: Demand, factors: Floats) -> tuple[Floats, float]:
    """Return ([S, cells] chance of a period's demand in each state, units per cell)."""
    sd = demand.standard_deviation * max(factors.max(), np.sqrt(factors.max()))
    top = demand.mean * factors.max() + 8.0 * sd + 8.0
    step = max(1.0, top / _CELLS)
    edges = (np.arange(int(top / step) + 1) + 0.5) * step
    cdf = np.array([demand_cdf(demand, factor, edges) for factor in factors])
    # Never quite impossible: one unusual day must not rule a state out for ever.
    table: Floats = np.maximum(np.diff(cdf, axis=1, prepend=0.0), 1e-12)
    return table, step
