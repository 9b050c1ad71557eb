"""What becomes of a training whose simulators, runners or learners fail, on real Ray workers."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from echelon import main
from envs.errors import TrainingStopped
from tests.settings import as_shipped, training
from tests.training.conftest import run_module, textbook_factory, weights
from tests.training.faulty import BrokenFactory
from tests.waiting import wait_for
from training.job import train as job
from training.rllib.learners import on_learners
from training.rllib.trainer import build_algorithm, iteration_metrics

pytestmark = pytest.mark.usefixtures("ray_cluster")

ALGORITHMS = ["pathwise", "ppo"]


def built(name: str, marker: Path, runners: int, **resources: Any) -> Any:
    """32 episodes, for pathwise in 4 shards; models that act, so that the marker is looked at."""
    given = {"sample_timeout": 60.0, "restart_wait": 30.0} | resources
    settings = as_shipped(
        "resources", env_runners=runners, envs_per_runner=32, fragment_periods=32, **given
    )
    own = {"shards": 4} if name == "pathwise" else {}
    algorithm = build_algorithm(
        BrokenFactory(textbook_factory(), str(marker)),
        training(as_shipped(f"algorithm={name}", **own), resources=settings),
    )
    # On a busy machine one may take longer than the first iteration waits for it.
    while algorithm.env_runner_group.num_healthy_remote_workers() < runners:
        algorithm.remote.take_back(wait=1.0)
    algorithm.train()
    return algorithm


def steps(algorithm: Any) -> float:
    return iteration_metrics(algorithm.train())["sampling/num_env_steps_sampled_lifetime"]


def train_on(algorithm: Any) -> None:
    for _ in range(4):
        algorithm.train()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_environment_that_raises_once_costs_its_episodes(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    algorithm = built(name, marker, runners=0)
    marker.write_text("raise")
    before, length = weights(algorithm), {"pathwise": 64, "ppo": 32}[name]
    lost = 8 * length if name == "pathwise" else 0  # PPO's runner samples others
    assert steps(algorithm) == 2 * 32 * length - lost
    assert not marker.exists()
    assert not torch.equal(before, weights(algorithm))
    assert steps(algorithm) == 3 * 32 * length - lost
    algorithm.stop()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_environments_that_always_raise_end_the_training(name: str, tmp_path: Path) -> None:
    """With the cause, not after 300 s of iterations without a step."""
    marker = tmp_path / "marker"
    algorithm = built(name, marker, runners=0)
    marker.write_text("raise always")
    with pytest.raises(TrainingStopped, match=r"lost connection|no runner has given"):
        train_on(algorithm)
    algorithm.stop()


@pytest.mark.nightly
@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("what", ["raise always", "hang always", "end always"])
def test_runners_that_all_fail_end_the_training(name: str, what: str, tmp_path: Path) -> None:
    """Within a minute or two on a busy machine; stopping doesn't wait for those that hang."""
    marker = tmp_path / "marker"
    algorithm = built(name, marker, runners=2, sample_timeout=5.0, restart_wait=5.0)
    marker.write_text(what)
    with pytest.raises(TrainingStopped, match=r"lost connection|no runner has given"):
        train_on(algorithm)
    begun = time.monotonic()
    algorithm.stop()
    assert time.monotonic() - begun < 60.0  # 300 s and more where RLlib waits for them


@pytest.mark.nightly
@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("what", ["hang", "end"])
def test_one_runner_that_fails_is_replaced(name: str, what: str, tmp_path: Path) -> None:
    """The other one plays for it; later both do."""
    marker = tmp_path / "marker"
    algorithm = built(name, marker, runners=2, sample_timeout=10.0)
    marker.write_text(what)
    each = {"pathwise": 32 * 64, "ppo": 2 * 32 * 32}[name]
    assert steps(algorithm) == 2 * each
    assert not marker.exists(), "nothing failed"
    for done in range(3, 400):
        assert steps(algorithm) == done * each
        if algorithm.env_runner_group.num_healthy_remote_workers() == 2:
            break
        time.sleep(0.1)
    assert algorithm.env_runner_group.num_healthy_remote_workers() == 2
    algorithm.stop()


@pytest.mark.nightly
def test_kills_at_any_moment_change_no_weight(tmp_path: Path) -> None:
    """A shard is played again from its number alone, by whoever is there: ten kills leave the
    weights what they are without any, to the bit."""
    alone = built("pathwise", tmp_path / "marker", runners=0)
    algorithm = built("pathwise", tmp_path / "marker", runners=2, restart_wait=120.0)
    rng = np.random.default_rng(0)
    for _ in range(10):
        pids = algorithm.env_runner_group.foreach_env_runner(
            lambda _: os.getpid(), local_env_runner=False
        )
        victim = int(rng.choice(pids))
        timer = threading.Timer(rng.uniform(0.0, 0.3), os.kill, (victim, signal.SIGKILL))
        timer.start()
        for _ in range(2):
            algorithm.train()
            alone.train()
        timer.join()
        assert torch.equal(weights(alone), weights(algorithm))
    numbers = iteration_metrics(algorithm.train())
    assert numbers["sampling/num_env_steps_sampled_lifetime"] == 22 * 32 * 64
    algorithm.stop()
    alone.stop()


@pytest.mark.nightly
def test_what_a_runner_found_and_takes_with_it_is_played_again(tmp_path: Path) -> None:
    """Slopes stay where they were found until it is their turn to be added."""
    alone = built("pathwise", tmp_path / "marker", runners=0)
    algorithm = built("pathwise", tmp_path / "marker", runners=2, restart_wait=120.0)
    pids = algorithm.env_runner_group.foreach_env_runner(
        lambda _: os.getpid(), local_env_runner=False
    )
    fetch, fetched = algorithm.remote.fetch, list[bool]()

    def fetch_from_the_lost(place: Any) -> Any:
        if not fetched:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids))
            fetched.append(False)
            return None  # on their node it outlives them: only with that it is lost
        found = fetch(place)
        fetched.append(found is not None)
        return found

    algorithm.remote.fetch = fetch_from_the_lost
    alone.train()
    algorithm.train()
    assert len(fetched) > 1
    assert torch.equal(weights(alone), weights(algorithm))
    algorithm.stop()
    alone.stop()


def killing(iteration: int, victim: Callable[[Any], int]) -> Callable[..., Any]:
    """`build_algorithm` whose first algorithm loses a process before that iteration."""
    killed: list[int] = []

    def build(*arguments: Any) -> Any:
        algorithm = build_algorithm(*arguments)
        train, count = algorithm.train, iter(range(1, 1000))

        def step() -> Any:
            if next(count) == iteration and not killed:
                killed.append(victim(algorithm))
                os.kill(killed[0], signal.SIGKILL)
            return train()

        algorithm.train = step
        return algorithm

    return build


@pytest.mark.nightly
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_lost_learner_comes_back_with_the_last_checkpoint(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run ends well; every iteration is reported once."""
    monkeypatch.chdir(tmp_path)

    def learner(algorithm: Any) -> int:
        return int(on_learners(algorithm, lambda _: os.getpid())[0])

    monkeypatch.setattr(job, "build_algorithm", killing(4, learner))
    arguments = [
        "scenario=lost_sales", "smoke=true", f"algorithm={name}", "algorithm.iterations=6",
        "resources.learners=1", "checkpoint_every=1", "tracking.enabled=false", "out=run",
    ]  # fmt: skip
    assert main(["train", *arguments]) == 0
    assert "going on from iteration 3" in caplog.text
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    told = [
        record["step"]
        for record in map(json.loads, lines)
        if any("time/iteration" in str(part) for part in record.items())
    ]
    assert sorted(told) == list(range(1, 7))


@pytest.mark.nightly
def test_nodes_come_and_go() -> None:
    """On a Ray of several nodes, see tests/training/nodes.py."""
    done = run_module("tests.training.nodes")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "as on one node" in done.stdout
