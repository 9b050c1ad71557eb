"""Compile what most tests call, once, before they run side by side: `python -m tests.kernels PART`.

The parts, `open` and `close`, are halves of a period: two processes compile them at the same time.
"""

from __future__ import annotations

import sys

from conf.compose import compose
from envs.environment.batched_env import BatchedEnv
from envs.kpis.pairs import KpiTally
from envs.scenarios import build_scenario
from training.commands.train import TrainCommand

_SCENARIOS = ("two_echelon_dc", "disruption", "joint_replenishment", "beer_game")


def main(part: str) -> None:
    """Play a part of a period of scenarios that use all of the simulator."""
    for name in _SCENARIOS:
        composed = compose(TrainCommand, [f"scenario={name}", "smoke=true"])
        env = BatchedEnv(build_scenario(composed.command.scenario), 2)
        if part == "close":  # of an empty system: nothing else is compiled for it
            env.simulator.close_period(env.target, env.spread, env.no_action)
            KpiTally(env).add()
        else:
            env.simulator.reset(0)
            env.simulator.open_period()
            env.observe()


if __name__ == "__main__":
    main(*sys.argv[1:])
