"""What to expect of the periods to come: the outlook a planner plans with.

Demand: the forecast's level times what is known ahead of the calendar, and what the states of
regimes that are seen or forecast mean for it. Regimes: the mean of what their states multiply;
where that can only be yes or no (whether goods ship, move, are received, whether orders are taken),
the likelier. Lead times: the mean, rounded.
"""

from __future__ import annotations

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.linear_programme.programme import Outlook
from envs.network.regime import Regime
from envs.policies.base import View
from envs.types import Floats, Ints


class Expectation:
    """Outlooks of `periods` periods for a network."""

    def __init__(self, net: CompiledNetwork, periods: int) -> None:
        self._net, self._periods = net, periods
        arrays, lanes, regimes = net.arrays, net.network.lanes, net.network.regimes
        self._lead = np.array([q.lead_time.mean() for q in lanes])
        # Goods may be there at once only where the network allows it.
        self._shortest = np.where(arrays.lanes.at_once | arrays.switches.receive_after_ship, 0, 1)
        either = (
            arrays.factor_rows.availability,
            arrays.factor_rows.ordering,
            arrays.factor_rows.transit,
        )
        rows = np.concatenate([*either, arrays.factor_rows.receiving])
        self._either = np.isin(np.arange(len(net.exposures)), rows)
        self._regimes = regimes
        self._steps = [_powers(g, periods + (g.seen_after or 0)) for g in regimes]
        self._varies = any(g.seen_after is not None or g.forecast_accuracy for g in regimes)
        nothing = [g.stationary() for g in regimes]
        self._usual = self._what_regimes_do([np.tile(p, (periods, 1)) for p in nothing])

    def outlook(self, view: View, b: int) -> Outlook:
        """Return what to expect for replication b from today on."""
        net, periods = self._net, self._periods
        factor, lead, demand_factor = self._usual
        first = view.period + int(view.offset[b])
        if self._varies:
            chance = [self._chance(view, g, b) for g in range(len(self._regimes))]
            factor, lead, demand_factor = self._what_regimes_do(chance)
        factor = factor * net.open_factors(first, periods)
        usual = self._usual[2]
        ratio = np.divide(demand_factor, usual, out=np.ones_like(usual), where=usual > 0.0)
        demand = ratio * view.state.demand_level[:, b]
        calendar = int(view.calendar[b])
        if net.demand.multiplier is not None:
            days = (calendar + np.arange(periods)) % net.demand.calendar_length
            demand = demand * net.demand.multiplier[:, days].T
        return Outlook(demand, lead, factor, view.period, int(view.offset[b]))

    def _chance(self, view: View, g: int, b: int) -> Floats:
        """[T, states] of regime g, by Bayes' rule from what is seen of it and forecast."""
        regime, seen = self._regimes[g], int(view.seen[g, b])
        start = regime.stationary()
        chance = np.tile(start, (self._periods, 1))
        if seen >= 0:
            delay = regime.seen_after or 0
            chance = self._steps[g][delay : delay + self._periods, seen].copy()
        for ahead, accuracy in enumerate(regime.forecast_accuracy[: self._periods - 1], start=1):
            state = int(view.forecast[ahead - 1, g, b])
            if state < 0:
                continue
            likelihood = np.full(len(start), (1.0 - accuracy) * start[state])
            likelihood[state] += accuracy
            joint = chance[ahead] * likelihood
            if joint.sum() > 0.0:
                chance[ahead] = joint / joint.sum()
        return chance

    def _what_regimes_do(self, chance: list[Floats]) -> tuple[Floats, Ints, Floats]:
        """Mean factors [T, V], lead times [T, Q] and factors on demand [T, D]."""
        net, periods = self._net, self._periods
        index = {g.id: i for i, g in enumerate(self._regimes)}

        def mean(names: tuple[str, ...], mode: str, multiplier: str) -> Floats:
            product = np.ones(periods)
            for name in names:
                states = self._regimes[index[name]].for_mode(mode).states
                product *= chance[index[name]] @ [getattr(s, multiplier) for s in states]
            return product

        columns = [mean(e.regimes, e.mode, e.multiplier) for e in net.exposures]
        factor = np.array(columns).reshape(len(columns), periods).T
        factor = np.where(self._either, (factor >= 0.5).astype(float), factor)
        lead = np.array([mean(q.regimes, q.mode, "lead_time") for q in net.network.lanes]).T
        lead_time = np.clip(np.round(self._lead * lead), self._shortest, None).astype(np.int64)
        stocks = [net.network.stocks[p] for p in net.customer_pair]
        demand = np.array([mean(s.demand_regimes, "", "demand") for s in stocks])
        return factor, lead_time, demand.reshape(len(stocks), periods).T


def _powers(regime: Regime, most: int) -> Floats:
    """[most, states, states]: row s of entry k is the distribution k periods after state s."""
    step = regime.step()
    powers = [np.eye(len(step))]
    for _ in range(most - 1):
        powers.append(powers[-1] @ step)
    return np.array(powers)
