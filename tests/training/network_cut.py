"""Pathwise on two machines whose cable is pulled: its driver.

Prints what it has come to, a line each; test_network_cut.py pulls the cable and puts it back.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import ray
import torch

from tests.machines import HEAD
from tests.settings import as_shipped, training
from tests.training.conftest import textbook_factory, weights
from training.rllib.trainer import build_algorithm, iteration_metrics

PATIENCE = 20.0  # seconds: resources.sample_timeout
CUT = 30.0  # seconds
LONG_CUT = float(os.environ.get("LONG_CUT", "0"))  # seconds, at least


def built(runners: int) -> Any:
    """32 episodes in 4 shards."""
    resources = as_shipped(
        "resources", env_runners=runners, envs_per_runner=32, restart_wait=60.0,
        sample_timeout=PATIENCE,
    )  # fmt: skip
    settings = training(as_shipped("algorithm=pathwise", shards=4), resources=resources)
    return build_algorithm(textbook_factory(), settings)


class Training:
    """One on both machines, and beside it the same one that no fault reaches."""

    def __init__(self) -> None:
        self.alone, self.algorithm = built(0), built(2)
        self.done, self.longest = 0, 0.0

    @property
    def healthy(self) -> int:
        return int(self.algorithm.env_runner_group.num_healthy_remote_workers())

    def step(self) -> None:
        """One iteration, with all its episodes; weights are those of the other one."""
        begun = time.monotonic()
        result = self.algorithm.train()
        self.longest = max(self.longest, time.monotonic() - begun)
        self.done += 1
        steps = iteration_metrics(result)["sampling/num_env_steps_sampled_lifetime"]
        assert steps == self.done * 32 * 64, (steps, self.done)
        self.alone.train()
        assert torch.equal(weights(self.alone), weights(self.algorithm))

    def tell(self, what: str) -> None:
        print(f"{what}; iteration {self.done}, longest {self.longest:.1f} s", flush=True)
        self.longest = 0.0

    def wait_for_runners(self, count: int) -> None:
        """Play until so many answer: where fewer are to, until the silent one is given up."""
        while self.healthy != count:
            time.sleep(1.0)  # its process starts, or is far away
            self.step()

    def tell_once_both(self, do: str) -> None:
        """The network is there again."""
        self.wait_for_runners(2)
        for _ in range(5):
            self.step()
        assert self.healthy == 2
        self.tell(f"both {do}")


def machines_alive() -> int:
    return sum(bool(node["Alive"]) for node in ray.nodes())


def main() -> None:
    """The cable is pulled for half a minute, then for longer than Ray waits."""
    ray.init(address=HEAD, log_to_driver=False, logging_level="ERROR")
    run = Training()
    run.wait_for_runners(2)
    for _ in range(3):
        run.step()
    run.tell("both play")

    assert sys.stdin.readline() == "cut\n"
    until = time.monotonic() + CUT
    run.wait_for_runners(1)
    run.tell("the other plays on")
    while time.monotonic() < until:
        time.sleep(1.0)
        run.step()
    assert machines_alive() == 2
    run.tell("half a minute is over")
    assert sys.stdin.readline() == "plugged\n"
    run.tell_once_both("play again")

    assert sys.stdin.readline() == "cut\n"
    until = time.monotonic() + LONG_CUT
    while machines_alive() == 2 or time.monotonic() < until:
        time.sleep(1.0)
        run.step()
    assert run.healthy == 1
    run.tell("Ray has given the machine up")
    assert sys.stdin.readline() == "plugged\n"
    run.tell_once_both("play for the third time")
    run.algorithm.stop()
    run.alone.stop()


if __name__ == "__main__":
    main()
