"""What do the networks of a trajectory cost? `python -m tests.benchmarks.networks [--batches 32]`.

Forward and back through the actors of all node kinds, on random observations: all periods in one
graph of torch's, one backward (what pathwise training took for its networks while all of it was
one graph), against training/pathwise/networks.py, which goes period by period: tanh layers written
out, with slopes for all features or only for those that can have any, and any module. Process CPU
time of one core, the best of repeats that alternate; ratios above 1 are faster. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from conf.compose import compose
from envs.environment.batched_env import BatchedEnv
from envs.observation.slopes import MovingFeatures
from envs.scenarios import build_scenario
from envs.types import Floats32
from evaluation.artifact.actor import Actor
from training.commands.train import TrainCommand
from training.pathwise.networks import ModuleSlopes, NetworkSlopes, TanhSlopes

__all__ = ["main"]

SCENARIOS = ("one_warehouse_n_stores", "two_echelon_dc")
BATCHES = (32, 256, 512)
REPEATS = 7


class Kind:
    """A node kind's actor and trajectory: observations [T, P, F, B], slopes by means [T, P, A, B].

    columns: features whose slopes are asked for.
    """

    def __init__(self, rows: int, features: int, heads: int, batch: int, periods: int) -> None:
        self.actor = Actor(features, heads)
        torch.nn.init.normal_(self.actor.get_parameter("layers.4.weight"), std=0.1)
        random = np.random.default_rng(1)
        self.seen: Floats32 = random.random((periods, rows, features, batch), np.float32)
        self.by_mean: Floats32 = random.random((periods, rows, heads, batch), np.float32)
        self.rows, self.batch = rows, batch

    def in_one_graph(self) -> None:
        """All periods forward, then back."""
        self.actor.zero_grad()
        seen = [torch.from_numpy(period).requires_grad_() for period in self.seen]
        means = [self.actor(x.transpose(1, 2)).transpose(1, 2) for x in seen]
        torch.autograd.backward(means, [torch.from_numpy(slope) for slope in self.by_mean])

    def by_period(self, networks: NetworkSlopes, columns: int) -> Callable[[], None]:
        """All periods forward, then back."""
        by_seen = np.empty((self.rows, columns, self.batch), np.float32)

        def play() -> None:
            networks.begin()
            for seen in self.seen:
                networks.forward(seen)
            for by_mean in self.by_mean[::-1]:
                networks.backward(by_mean, by_seen)
            networks.gradients()

        return play


def measure(scenario: str, batch: int, periods: int) -> dict[str, float]:
    """CPU seconds of a period by who takes them."""
    command: Any = compose(TrainCommand, [f"scenario={scenario}"]).command
    env = BatchedEnv(build_scenario(command.scenario), 1)
    features, moving = env.observation_size, MovingFeatures(env.layout, env.companions).columns
    ways: dict[str, list[Callable[[], None]]] = {}
    for group in env.groups:
        rows = group.stop - group.start
        kind = Kind(rows, features, group.action_size, batch, periods)
        whole, part = (TanhSlopes(kind.actor, rows, batch, columns) for columns in (None, moving))
        for name, way in {
            "one graph": kind.in_one_graph,
            "written out": kind.by_period(whole, features),
            f"{len(moving)} of {features} columns": kind.by_period(part, len(moving)),
            "any module": kind.by_period(ModuleSlopes(kind.actor), features),
        }.items():
            ways.setdefault(name, []).append(way)
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(REPEATS):
        for name, kinds in ways.items():
            start = time.process_time()
            for way in kinds:
                way()
            best[name] = min(best[name], (time.process_time() - start) / periods)
    return best


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, then the numbers as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.networks")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS))
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--periods", type=int, default=64, help="of a trajectory")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    numbers: dict[str, float] = {}
    for scenario in options.scenarios:
        print(scenario)
        for batch in options.batches:
            times = measure(scenario, batch, options.periods)
            whole = times["one graph"]
            ratios = {name: whole / spent for name, spent in times.items() if spent != whole}
            print(
                f"{batch:>6}  one graph {1e3 * whole:.3f} ms a period; "
                + ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()),
                flush=True,
            )
            numbers[f"{scenario}_{batch}_ms"] = round(1e3 * whole, 4)
            for name, ratio in ratios.items():
                numbers[f"{scenario}_{batch}_{name.replace(' ', '_')}"] = round(ratio, 3)
    print(json.dumps(numbers))


if __name__ == "__main__":
    main()
