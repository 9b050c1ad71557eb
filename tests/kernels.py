"""Compile what most tests call, once, before they run side by side: `python -m tests.kernels PART`.

The parts are halves of a period, `open` and `close`, and `reverse`, a period backwards: processes
compile them at the same time.
"""

from __future__ import annotations

import sys

import numpy as np

from conf.compose import compose
from envs.environment.batched_env import BatchedEnv
from envs.kernel import Handle
from envs.kpis.pairs import KpiTally
from envs.observation.slopes import MovingFeatures, reverse_observation
from envs.scenarios import build_scenario
from envs.simulation.reverse import Tape
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
        elif part == "open":
            env.simulator.reset(0)
            env.simulator.open_period()
            env.observe()
        else:
            reverse(env)


def reverse(env: BatchedEnv) -> None:
    """The same backwards, of an empty system."""
    parts, tape = env.simulator.handles, Tape(env.simulator, env.action_size, 1)
    moving = MovingFeatures(env.layout, env.companions)
    tape.begin()
    tape.note_closed()
    tape.reverse_close(0, np.zeros(2), np.zeros(2))
    by_features = np.zeros((env.num_rows, len(moving.columns), 2), np.float32)
    observation = np.zeros((env.num_rows, env.observation_size, 2), np.float32)
    reverse_observation(
        parts.net, parts.forecast, env.observed, Handle(moving.at), observation, by_features,
        env.target, tape.marks[0], tape.slopes_handle, np.zeros((5, 2)), 0,
    )  # fmt: skip
    tape.reverse_open(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
