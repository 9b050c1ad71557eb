"""Validation beside learning: the same numbers as in this process, whatever becomes of Ray's."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conf.compose import compose
from echelon import main
from tests.evaluation.recommendation.artifacts import random_actors
from tests.training.conftest import textbook_factory
from training.commands.train import TrainCommand
from training.job.run_record import checkpoints_of
from training.job.validation import Validation

pytestmark = pytest.mark.usefixtures("ray_cluster")


def validation(runners: int, patience: float = 300.0) -> tuple[Validation, Any]:
    """And models to play."""
    scenario = textbook_factory().scenario
    options = [
        "scenario=lost_sales", "validation.traces=8", f"resources.env_runners={runners}",
        "resources.envs_per_runner=32", "algorithm.shards=2",
        f"resources.sample_timeout={patience}",
    ]  # fmt: skip
    settings = compose(TrainCommand, options).command
    return Validation(scenario, settings), random_actors(scenario, seed=1)


def cost(result: Any, seconds: float = math.inf) -> Any:
    kpis = result(seconds)
    return None if kpis is None else kpis.cost


def pid_of(beside: Validation) -> int:
    import ray

    found: int = ray.get(beside._remote.__ray_call__.remote(lambda _: os.getpid()))
    return found


def test_it_gives_the_same_beside_learning() -> None:
    here, actors = validation(runners=0)
    beside, _ = validation(runners=1)
    wanted = cost(here.begin(actors))
    assert np.array_equal(cost(beside.begin(actors)), wanted)
    killed = beside.begin(actors)
    os.kill(pid_of(beside), signal.SIGKILL)
    assert np.array_equal(cost(killed), wanted)  # played once more
    beside.close()


@pytest.mark.nightly
def test_what_gives_no_answer_is_played_here() -> None:
    here, actors = validation(runners=0)
    beside, _ = validation(runners=1, patience=0.2)
    cost(beside.begin(actors))
    if beside._remote is None:  # it was slower than that to start
        beside._patience = 300.0
        cost(beside.begin(actors))
        beside._patience = 0.2
    os.kill(pid_of(beside), signal.SIGSTOP)
    stopped = beside.begin(actors)
    assert cost(stopped, 0.01) is None
    assert np.array_equal(cost(stopped), cost(here.begin(actors)))
    assert beside._remote is None
    beside.close()


@pytest.mark.nightly
def test_a_training_is_the_same_with_it(tmp_path: Path) -> None:
    """Costs by iteration, and the best of them."""
    found = []
    for runners in (0, 1):
        folder = tmp_path / str(runners)
        arguments = [
            "scenario=lost_sales", "smoke=true", "tracking.enabled=false", f"out={folder}",
            "algorithm.iterations=12", "validation.every=2", "resources.envs_per_runner=32",
            "algorithm.shards=2", f"resources.env_runners={runners}",
        ]  # fmt: skip
        assert main(["train", *arguments]) == 0
        lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        rows = [line for line in lines if "time/iteration" in line["metrics"]]
        assert [line["step"] for line in rows] == list(range(1, 13))
        costs = [line["metrics"].get("validation/cost_per_period") for line in rows]
        best = checkpoints_of(folder).best()
        assert best is not None
        found.append((costs, best.step, best.cost))
    assert found[0] == found[1]
