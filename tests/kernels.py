"""Compile what most tests call, once, before they run side by side: `python -m tests.kernels`."""

from __future__ import annotations

from conf.compose import compose
from envs.environment.batched_env import BatchedEnv
from envs.scenarios import build_scenario
from training.commands.train import TrainCommand

_SCENARIOS = ("two_echelon_dc", "disruption", "joint_replenishment", "beer_game")


def main() -> None:
    """Play a few periods of scenarios that use all of the simulator."""
    for name in _SCENARIOS:
        composed = compose(TrainCommand, [f"scenario={name}", "smoke=true"])
        env = BatchedEnv(build_scenario(composed.command.scenario), 2)
        env.reset(0, 0)
        for _ in range(3):
            env.step(env.no_action)


if __name__ == "__main__":
    main()
