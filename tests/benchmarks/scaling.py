"""What do more Ray workers cost? `python -m tests.benchmarks.scaling`.

Weak scaling: each worker has a shard of episodes of its own, so W workers play W times the episodes
of one. CPU seconds of the workers' processes and of the driver's, an iteration, the median of
several; on fewer cores than workers the wall clock says nothing, work done per CPU second does. In
turns with one worker, since the speed of a machine wanders. Bytes: of the slopes and weights that
one worker and the driver send each other in an iteration. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import pickle
import statistics
import time
from collections.abc import Sequence
from typing import Any

from evaluation.workers import prepare_ray

prepare_ray()

from conf.compose import compose
from envs.scenarios import build_scenario
from evaluation.ray_workers import ray_session
from training.commands.train import TrainCommand
from training.config import TrainingConfig
from training.rllib.env_factory import ScenarioEnvFactory
from training.rllib.learners import on_learners
from training.rllib.trainer import build_algorithm

ITERATIONS = 4


class Scaled:
    """An algorithm with so many workers, and what its iterations take."""

    def __init__(self, name: str, scenario: str, workers: int, episodes: int) -> None:
        own = [f"algorithm.shards={workers}"] if name == "pathwise" else []
        each = episodes * workers if name == "pathwise" else episodes
        command: Any = compose(
            TrainCommand,
            [
                f"scenario={scenario}", f"algorithm={name}", f"resources.envs_per_runner={each}",
                f"resources.env_runners={workers}", *own,
            ],
        ).command  # fmt: skip
        settings = TrainingConfig(command.algorithm, command.model, command.resources, seed=0)
        factory = ScenarioEnvFactory(build_scenario(command.scenario))
        self.workers, self.algorithm = workers, build_algorithm(factory, settings)
        self.algorithm.train()  # compiles, and warms up
        self.worker_seconds: list[float] = []
        self.driver_seconds: list[float] = []

    def step(self) -> None:
        """One iteration."""
        before, own = self._of_workers(), time.process_time()
        self.algorithm.train()
        self.driver_seconds.append(time.process_time() - own)
        self.worker_seconds.append(self._of_workers() - before)

    def _of_workers(self) -> float:
        group = self.algorithm.env_runner_group
        spent: list[float] = group.foreach_env_runner(
            lambda _: time.process_time(), local_env_runner=False
        )
        return sum(spent)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, then the numbers as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scaling")
    parser.add_argument("--algorithm", default="pathwise", choices=["pathwise", "ppo"])
    parser.add_argument("--scenario", default="two_echelon_dc")
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--episodes", type=int, default=32, help="of each worker")
    options = parser.parse_args(arguments)
    if min(options.workers) < 1 or options.episodes < 1:
        parser.error("--workers and --episodes must be 1 or more.")
    numbers: dict[str, float] = {}
    with ray_session(2 + max(options.workers)):
        for workers in options.workers:
            names = (options.algorithm, options.scenario)
            one, many = (Scaled(*names, count, options.episodes) for count in (1, workers))
            for _ in range(ITERATIONS):
                one.step()
                many.step()
            alone, each = (
                statistics.median(scaled.worker_seconds) / scaled.workers for scaled in (one, many)
            )
            driver = statistics.median(many.driver_seconds)
            share = driver / (driver + each * workers)
            print(
                f"{workers} workers: {each:.3f} CPU s of each ({alone:.3f} alone: work per CPU "
                f"second {alone / each:.1%}); driver {driver:.3f} s, {share:.1%} of all"
            )
            numbers |= {f"efficiency_{workers}": alone / each, f"driver_share_{workers}": share}
            if options.algorithm == "pathwise":
                sent = len(pickle.dumps(on_learners(many.algorithm, _actors)[0]))
                print(f"  weights, and slopes of a shard: {sent / 1e3:.0f} kB each")
                numbers["kB"] = sent / 1e3
            for scaled in (one, many):
                scaled.algorithm.stop()
    print(json.dumps({name: round(value, 4) for name, value in numbers.items()}))


def _actors(learner: Any) -> Any:
    return learner.actors()


if __name__ == "__main__":
    main()
