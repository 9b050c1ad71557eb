"""What do more Ray workers cost? `python -m tests.benchmarks.scaling`.

Weak scaling: each worker has a shard of episodes of its own, so W workers play W times the episodes
of one. CPU seconds of the workers' processes and of the driver's, an iteration, the median of
several; on fewer cores than workers the wall clock says nothing, work done per CPU second does. In
turns with one worker, since the speed of a machine wanders. Bytes: of the slopes and weights that
one worker and the driver send each other in an iteration.

`--noise`: how many episodes are worth their time in an iteration of pathwise: the simple noise
scale of McCandlish et al. (2018), eq. 2.9, estimated as in their appendix A.1. With so many, a goal
takes twice the iterations that it takes with infinitely many. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import pickle
import statistics
import time
import unittest.mock
from collections.abc import Sequence
from typing import Any

from evaluation.workers import prepare_ray

prepare_ray()

from conf.compose import compose
from envs.scenarios import build_scenario
from evaluation.ray_workers import ray_session
from training.commands.train import TrainCommand
from training.config import TrainingConfig
from training.rllib import pathwise
from training.rllib.env_factory import ScenarioEnvFactory
from training.rllib.learners import on_learners
from training.rllib.trainer import build_algorithm

ITERATIONS = 4


class Scaled:
    """An algorithm with so many workers, and what its iterations take."""

    def __init__(
        self, name: str, scenario: str, workers: int, episodes: int, shards: int = 0
    ) -> None:
        own = [f"algorithm.shards={shards or workers}"] if name == "pathwise" else []
        each = episodes * max(workers, 1) if name == "pathwise" else episodes
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


def noise_scales(scenario: str, shards: int, episodes: int, blocks: int) -> list[float]:
    """Episodes, by block of 5 x `ITERATIONS`: of one iteration it would be rough."""
    found: list[tuple[float, float]] = []

    class Watched(pathwise._Total):
        def __init__(self) -> None:
            super().__init__()
            self.each: list[float] = []

        def add(self, played: Any) -> None:
            self.each.append(_square(played.slopes))
            super().add(played)

        def mean_slopes(self) -> Any:
            average = super().mean_slopes()
            small, large = statistics.fmean(self.each), _square(average)
            whole = shards * episodes
            found.append((
                (small - large) / (1.0 / episodes - 1.0 / whole),  # trace of the covariance
                (whole * large - episodes * small) / (whole - episodes),  # squared gradient
            ))  # fmt: skip
            return average

    scaled = Scaled("pathwise", scenario, 0, episodes * shards, shards)
    scales = []
    with unittest.mock.patch.object(pathwise, "_Total", Watched):
        for _ in range(blocks):
            found.clear()
            for _ in range(5 * ITERATIONS):
                scaled.algorithm.train()
            spread, square = (statistics.fmean(column) for column in zip(*found, strict=True))
            scales.append(spread / square if square > 0.0 else math.inf)
    scaled.algorithm.stop()
    return scales


def _square(slopes: Any) -> float:
    return sum(float((slope**2).sum()) for kind in slopes.values() for slope in kind.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, then the numbers as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scaling")
    parser.add_argument("--algorithm", default="pathwise", choices=["pathwise", "ppo"])
    parser.add_argument("--scenario", default="two_echelon_dc")
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--episodes", type=int, default=32, help="of each worker")
    parser.add_argument("--noise", action="store_true", help="episodes that are worth their time")
    options = parser.parse_args(arguments)
    if min(options.workers) < 1 or options.episodes < 1:
        parser.error("--workers and --episodes must be 1 or more.")
    numbers: dict[str, float] = {}
    if options.noise:
        with ray_session(2):
            scales = noise_scales(options.scenario, 16, options.episodes, blocks=5)
        for block, scale in enumerate(scales, start=1):
            print(f"iterations to {5 * ITERATIONS * block}: noise scale {scale:.0f} episodes")
        print(json.dumps({f"noise_{block}": scale for block, scale in enumerate(scales, start=1)}))
        return
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
