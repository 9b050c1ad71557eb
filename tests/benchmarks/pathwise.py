"""What does a trajectory cost beside its networks? `python -m tests.benchmarks.pathwise`.

Forward and back through T periods of a scenario as pathwise training plays them, against the
networks alone: all periods in one graph of torch's, one backward, on random observations. Process
CPU time of one core, the best of repeats that alternate; a ratio of 1 means that simulator, reverse
pass and written-out networks together take what the networks take by automatic differentiation.
MB: what the tape keeps of an environment and a period, networks apart. ns a row: to open a period,
ask the base policy and write what agents see; chance: to draw it, not among them. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from conf.compose import compose
from envs.environment.batched_env import BatchedEnv
from envs.scenarios import build_scenario
from tests.benchmarks.networks import Kind
from training.commands.train import TrainCommand
from training.pathwise.networks import network_slopes
from training.pathwise.trajectory import Shard, Trajectories, fragments_of, period_bytes

__all__ = ["main"]

SCENARIOS = (
    "one_warehouse_n_stores", "two_echelon_dc", "assembly_plant", "retail", "disruption",
    "omni_fulfilment",
)  # fmt: skip
BATCHES = (32, 256)
PERIODS, TAIL = 64, 16
REPEATS = 5


def measure(scenario: str, batch: int) -> dict[str, float]:
    """CPU seconds of a period: networks alone, forward, back, its opening, chance; and MB."""
    command: Any = compose(TrainCommand, [f"scenario={scenario}"]).command
    env = BatchedEnv(build_scenario(command.scenario), batch)
    trajectories = Trajectories(env, 0, PERIODS)
    kinds = {
        group.name: Kind(
            group.stop - group.start, env.observation_size, group.action_size, batch, PERIODS
        )
        for group in env.groups
    }
    networks = {
        name: network_slopes(kind.actor, kind.rows, batch, trajectories.moving.columns)
        for name, kind in kinds.items()
    }
    weight = np.full(batch, 1.0 / (batch * PERIODS))
    fragments = fragments_of(env, PERIODS)
    shards = (Shard(0, n // fragments * batch, n % fragments) for n in itertools.count())

    def alone() -> None:
        for kind in kinds.values():
            kind.in_one_graph()

    ways: dict[str, Callable[[], Any]] = {
        "networks": alone,
        "forward": lambda: trajectories.play(next(shards), networks, TAIL),
        "back": lambda: trajectories.reverse(networks, weight),
    }
    best = dict.fromkeys((*ways, "look", "chance"), float("inf"))
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.process_time()
            way()
            best[name] = min(best[name], (time.process_time() - start) / PERIODS)
        for name, seconds in looking(env).items():
            best[name] = min(best[name], seconds / PERIODS)
    return best | {"rows": env.num_rows * batch, "MB": period_bytes(env, {}) / batch / 1e6}


def looking(env: BatchedEnv) -> dict[str, float]:
    """CPU seconds of opening periods up to where agents act, and of their chance."""
    spent, advance = {"look": 0.0, "chance": 0.0}, env.simulator.trace.advance

    def draw() -> None:
        start = time.process_time()
        advance()
        spent["chance"] += time.process_time() - start

    env.reset(0)
    with patch.object(env.simulator.trace, "advance", draw):
        for _ in range(PERIODS):
            env.close_period(env.no_action)
            start = time.process_time()
            env.open_period()
            env.observe()
            spent["look"] += time.process_time() - start
    spent["look"] -= spent["chance"]
    return spent


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, then the numbers as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.pathwise")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS))
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    options = parser.parse_args(arguments)
    if min(options.batches) < 1:
        parser.error(f"--batches is {options.batches}; expected numbers of episodes, from 1 on.")
    torch.set_num_threads(1)
    numbers: dict[str, float] = {}
    for scenario in options.scenarios:
        for batch in options.batches:
            found = measure(scenario, batch)
            rows = 1e-9 * found["rows"]
            ratio = found["networks"] / (found["forward"] + found["back"])
            print(
                f"{scenario} {batch}: networks alone / all of it {ratio:.2f}; ms a period: "
                f"networks {1e3 * found['networks']:.2f}, forward {1e3 * found['forward']:.2f}, "
                f"back {1e3 * found['back']:.2f}; {found['MB']:.4f} MB; ns a row: "
                f"look {found['look'] / rows:.0f}, chance {found['chance'] / rows:.0f}",
                flush=True,
            )
            numbers[f"{scenario}_{batch}"] = round(ratio, 3)
            numbers[f"{scenario}_{batch}_MB"] = round(found["MB"], 5)
    print(json.dumps(numbers))


if __name__ == "__main__":
    main()
