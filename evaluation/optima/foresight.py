"""What planning ahead costs with better forecasts than anybody has: how loose hindsight is.

The rolling linear programme (`envs.policies.rolling_lp`) in the real simulator, rounding, fixed
costs and all, with part of the future given to it:

    mean        the true mean of demand, with the regimes that will be: a perfect forecaster, who
                can't know chance. (Of a replayed history nobody knows the mean: the forecast.)
    everything  demand, lead times and regimes as they will be over the planning horizon, and when
                the episode ends.

Neither is a bound. A hindsight bound far below `everything` is loose by what it relaxes; what lies
between `mean` and `everything` is the price of chance, which no policy escapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.compiled.network import CompiledNetwork
from envs.errors import ConfigError, did_you_mean
from envs.kpis.pairs import EpisodeKpis
from envs.linear_programme.programme import Outlook, record_outlooks
from envs.policies.base import View, per_pair
from envs.policies.rolling_lp import RollingLP
from envs.scenario import Scenario
from envs.trace.trace import Trace
from evaluation.comparison.rollout import play

__all__ = ["Foresight", "play_with_foresight"]

Floats = NDArray[np.float64]

_MOST = 256  # traces: they are held in memory, and a plan is made for each in every period


class Foresight(StrEnum):
    """What the planner knows of the future."""

    mean = "mean"
    everything = "everything"


def play_with_foresight(
    scenario: Scenario,
    foresight: Foresight,
    *,
    traces: int,
    seed: int,
    split: str = "test",
    parameters: Mapping[str, Any] | None = None,
) -> EpisodeKpis:
    """Play the rolling linear programme with foresight on traces 0, 1, ... of the seed.

    parameters: of `rolling_lp`; with `everything`, there is no safety stock and the end is known,
    unless they say otherwise. Raises ConfigError for more traces than a batch.
    """
    if not 1 <= traces <= _MOST:
        raise ConfigError(f"traces is {traces}; expected 1 to {_MOST}, each is planned by itself.")
    net = scenario.compiled
    given: dict[str, Any] = dict(parameters or {})
    if foresight is Foresight.everything:
        end = scenario.warm_up + scenario.episode_length(split)
        given = {"safety_factor": 0.0, "outage_factor": 0.0, "end": float(end), **given}
    tunable = RollingLP.tunable(net)
    for key in given:
        if key not in tunable:
            raise ConfigError(f"rolling_lp: '{key}' is unknown.{did_you_mean(key, tunable)}")
    values = {
        key: (per_pair(net, "rolling_lp", key, given[key]) if key in given else parameter.start)
        for key, parameter in tunable.items()
    }
    policy = _Foreseeing(net, {key: value[:, None] for key, value in values.items()})
    trace = Trace(net, traces)
    trace.reset(seed, 0, scenario.starts(split), scenario.bootstrap(split))
    periods = scenario.warm_up + scenario.episode_length(split) + policy.horizon + 1
    if foresight is Foresight.everything:
        policy.know(record_outlooks(trace, net, 0, periods))
    else:
        policy.know_demand(_mean_demand(net, trace, periods))
    return play(scenario, policy, traces=traces, seed=seed, split=split)


class _Foreseeing(RollingLP):
    """The rolling linear programme, told what will be."""

    _outlooks: list[Outlook] | None = None
    _demand: Floats | None = None  # [T, D, B], NaN where nobody knows

    @property
    def horizon(self) -> int:
        """Periods of a plan."""
        return self._periods

    def know(self, outlooks: list[Outlook]) -> None:
        """Plan with these, from period 0 on."""
        self._outlooks = outlooks

    def know_demand(self, mean: Floats) -> None:
        """Plan with this mean demand [T, D, B]."""
        self._demand = mean

    def _outlook(self, view: View, b: int) -> Outlook:
        now = slice(view.period, view.period + self._periods)
        if self._outlooks is not None:
            known = self._outlooks[b]
            return Outlook(
                known.demand[now],
                known.lead_time[now],
                known.factor[now],
                view.period,
                known.offset,
            )
        outlook = super()._outlook(view, b)
        assert self._demand is not None
        mean = self._demand[now, :, b]
        return outlook._replace(demand=np.where(np.isnan(mean), outlook.demand, mean))


def _mean_demand(net: CompiledNetwork, trace: Trace, periods: int) -> Floats:
    """[T, D, B] units, given the regimes' true states; NaN for replayed histories."""
    index = {g.id: i for i, g in enumerate(net.network.regimes)}
    stocks = [net.network.stocks[p] for p in net.customer_pair]
    mean = np.empty((periods, len(stocks), trace.offset.size))
    for t in range(periods):
        for d, stock in enumerate(stocks):
            assert stock.demand is not None
            mean[t, d] = np.nan if stock.demand.history is not None else stock.demand.mean
            if net.multiplier is not None:
                mean[t, d] *= net.multiplier[d, trace.calendar]
            for name in stock.demand_regimes:
                states = net.network.regimes[index[name]].states
                factor = np.array([state.demand for state in states])
                mean[t, d] *= factor[trace.true_regime[index[name]]]
        trace.advance()
    return mean
