"""A simulated run, posted period by period: what serving orders beside what the simulation does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from conf.compose import compose
from envs.environment.batched_env import BatchedEnv
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.recommendation.recommender import Recommender
from evaluation.recommendation.record import RunRecord
from evaluation.recommendation.schemas import RecommendationResponse
from tests.evaluation.recommendation.artifacts import request, write_artifact
from training.commands.train import TrainCommand

LATER = {"MISSING_SALES", "MISSING_RECEIPTS"}  # nothing was sold, or received, yet
ALWAYS = {"CALENDAR_ASSUMED", "CALENDAR_EXTRAPOLATED", "LIMIT_NOT_USED_UP", "STATUS_HIDDEN"}


def smoke(name: str) -> Scenario:
    """A shipped scenario at its small size, from the first period on."""
    scenario = build_scenario(
        compose(TrainCommand, [f"scenario={name}", "smoke=true"]).command.scenario
    )
    return replace(scenario, warm_up=0)


def post_a_run(
    scenario: Scenario, folder: Path, periods: int, *, learned: bool, seed: int = 5
) -> tuple[float, float]:
    """Post every period of a run with all that was seen since it began.

    Returns the largest difference between orders of serving and of the simulation, and all units
    ordered. Asserts that nothing is assumed that the run knows.
    """
    artifact = write_artifact(folder, scenario, size=0.3)
    recommender, env = Recommender(artifact), BatchedEnv(scenario, 1)
    observation = env.reset(seed)
    record, largest, units = RunRecord(env), 0.0, 0.0
    for _ in range(periods):
        policy = "champion" if learned else "classical"
        answer = recommender.recommend(request(**record.tables(), policy=policy, include_zero=True))
        check(answer)
        action = artifact.policy.act(observation, env.groups) if learned else env.no_action
        env.close_period(action)
        record.close()
        ordered: Any = env.flows.ordered[:, 0]
        quantities = np.array([line.quantity for line in answer.lines])
        largest = max(largest, float(np.abs(quantities - ordered).max()))
        units += float(ordered.sum())
        env.open_period()
        record.open()
        observation = env.observe()
    return largest, units


def check(answer: RecommendationResponse) -> None:
    assert not answer.fallback.used, answer.fallback.reasons
    assert {w.code for w in answer.warnings} <= LATER | ALWAYS, answer.warnings
