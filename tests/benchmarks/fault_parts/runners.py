"""Faults of runners, their nodes and their environments, while pathwise learns on two nodes."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from envs.errors import TrainingStopped
from tests.benchmarks.fault_parts.nodes import Nodes, kill
from tests.benchmarks.fault_parts.row import Row, say
from tests.settings import as_shipped, training
from tests.training.conftest import textbook_factory, weights
from tests.training.faulty import BrokenFactory
from training.rllib.trainer import build_algorithm, iteration_metrics

_EPISODES, _PERIODS = 32, 64


class Sampled:
    """An algorithm with two runners, and one without that nothing disturbs."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker
        self.alone, self.algorithm = self._built(0), self._built(2)
        self.iterations = 0
        self.usual = statistics.median(self.step() for _ in range(4))

    def _built(self, runners: int) -> Any:
        settings = training(
            as_shipped("algorithm=pathwise", shards=4),
            resources=as_shipped(
                "resources", env_runners=runners, envs_per_runner=_EPISODES, restart_wait=60.0
            ),
        )
        return build_algorithm(BrokenFactory(textbook_factory(), str(self.marker)), settings)

    def step(self) -> float:
        """One iteration; returns its seconds."""
        begun = time.monotonic()
        numbers = iteration_metrics(self.algorithm.train())
        self.iterations += 1
        self.steps = numbers["sampling/num_env_steps_sampled_lifetime"]
        return time.monotonic() - begun

    @property
    def lost(self) -> str:
        """Episodes, until now."""
        episodes = self.iterations * _EPISODES - self.steps / _PERIODS
        return f"{episodes:.0f} episodes" if episodes else "nothing"

    @property
    def healthy(self) -> int:
        return int(self.algorithm.env_runner_group.num_healthy_remote_workers())

    def pids(self) -> list[int]:
        """Of the runners."""
        found: list[int] = self.algorithm.env_runner_group.foreach_env_runner(
            lambda _: os.getpid(), local_env_runner=False
        )
        return found

    def disturbed(
        self, fault: str, harm: Callable[[], object], then: Callable[[], object] = lambda: None
    ) -> Row:
        """Let something happen, and learn until both runners play again.

        then: called after the iteration in which it happened.
        """
        say(fault)
        begun = time.monotonic()
        harm()
        first = self.step()
        then()
        while self.healthy < 2:
            time.sleep(0.2)
            self.step()
        seconds = time.monotonic() - begun
        while self.alone.iteration < self.iterations:
            self.alone.train()
        same = torch.equal(weights(self.alone), weights(self.algorithm))
        return Row(
            fault,
            f"that iteration took {first:.1f} s ({self.usual:.1f} s usually); weights "
            f"{'as' if same else 'NOT as'} undisturbed",
            self.lost,
            seconds,
            is_good=same,
        )

    def stop(self) -> None:
        self.algorithm.stop()
        self.alone.stop()


def runner_killed(folder: Path) -> list[Row]:
    """One of two, then both."""
    with Nodes():
        sampled = Sampled(folder / "marker")
        rows = [
            sampled.disturbed("runner SIGKILL", lambda: kill(sampled.pids()[:1])),
            sampled.disturbed("both runners SIGKILL", lambda: kill(sampled.pids())),
        ]
        sampled.stop()
    return rows


def node_killed(folder: Path) -> list[Row]:
    """One of two; another one joins once the first iteration is over."""
    with Nodes() as nodes:
        sampled = Sampled(folder / "marker")
        row = sampled.disturbed(
            "node SIGKILL, another joins", lambda: nodes.remove(nodes.nodes[0]), nodes.add
        )
        sampled.stop()
    return [row]


def hung(folder: Path) -> list[Row]:
    """A step of an environment that never returns."""
    marker = folder / "marker"
    with Nodes():
        sampled = Sampled(marker)
        row = sampled.disturbed("environment hangs", lambda: marker.write_text("hang"))
        sampled.stop()
    return [row]


def dead(folder: Path) -> list[Row]:
    """Runners that end in every iteration, all of them."""
    marker, told = folder / "marker", "it goes on"
    with Nodes():
        sampled = Sampled(marker)
        say("every runner dies always")
        marker.write_text("end always")
        begun = time.monotonic()
        try:
            for _ in range(10):
                sampled.step()
        except TrainingStopped as stopped:
            told = f"the training ends: {str(stopped).partition(';')[0]}"
        seconds = time.monotonic() - begun
        marker.unlink()
        sampled.stop()
    is_good = told.startswith("the training ends")
    return [Row("every runner dies, always", told, "since the last checkpoint", seconds,
                is_good=is_good)]  # fmt: skip
