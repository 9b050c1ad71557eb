"""Planning with better forecasts than anybody has."""

from __future__ import annotations

import numpy as np
import pytest

from conf.compose import compose_runs
from envs.errors import ConfigError
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.comparison.rollout import play
from evaluation.optima.foresight import Foresight, play_with_foresight
from evaluation.optima.hindsight import hindsight_costs

TRACES = 4


def build(name: str, *arguments: str) -> Scenario:
    """Build a scenario at its smoke size."""
    composed = next(iter(compose_runs("train", [f"scenario={name}", "smoke=true", *arguments])))
    return build_scenario(composed.command.scenario)


def rolling(scenario: Scenario) -> float:
    """Mean cost of the rolling linear programme."""
    policy = build_policy("rolling_lp", scenario.compiled, {})
    return float(play(scenario, policy, traces=TRACES, seed=5).cost.mean())


def foreseen(scenario: Scenario, foresight: Foresight) -> np.ndarray:
    """[traces] cost per period."""
    kpis = play_with_foresight(scenario, foresight, traces=TRACES, seed=5)
    return kpis.cost.mean(axis=0)


@pytest.mark.parametrize("name", ["single_backlog", "serial", "dual_sourcing"])
def test_who_foresees_everything_pays_what_hindsight_says(name: str) -> None:
    """Or little more: it paid attention to costs in the warm-up, too."""
    scenario = build(name)
    cost = foreseen(scenario, Foresight.everything)
    bound = hindsight_costs(scenario, traces=TRACES, seed=5)
    assert (cost >= bound - 1e-6).all()
    assert cost.mean() <= 1.01 * bound.mean() + 1e-6


def test_a_known_mean_is_no_better_than_a_right_forecast() -> None:
    """Demand whose mean never moves: the same plans, to the unit."""
    scenario = build("single_backlog")
    assert foreseen(scenario, Foresight.mean).mean() == pytest.approx(rolling(scenario))


def test_a_known_mean_tells_hidden_regimes() -> None:
    """Where the mean moves and nobody sees it, to know it is worth a lot, and not all."""
    scenario = build("hidden_regime")
    known = foreseen(scenario, Foresight.mean).mean()
    assert known < 0.8 * rolling(scenario)
    assert known > 5.0 + foreseen(scenario, Foresight.everything).mean()


def test_a_known_mean_follows_calendar_and_history() -> None:
    """A season is known ahead to all; of a replayed history nobody knows the mean."""
    scenario = build("beer_game")  # a step, given as a history
    assert foreseen(scenario, Foresight.mean).mean() == pytest.approx(rolling(scenario))


@pytest.mark.parametrize("traces", [0, 257])
def test_traces_are_few(traces: int) -> None:
    """Every trace is planned by itself."""
    with pytest.raises(ConfigError, match="traces is"):
        play_with_foresight(build("single_backlog"), Foresight.mean, traces=traces, seed=0)


def test_parameters_are_those_of_the_policy() -> None:
    """Others are refused."""
    with pytest.raises(ConfigError, match="Did you mean 'horizon'"):
        play_with_foresight(
            build("single_backlog"), Foresight.mean, traces=1, seed=0, parameters={"horizons": 3}
        )
