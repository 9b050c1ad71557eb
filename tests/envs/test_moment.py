"""Moments: a simulator that returns to one goes on as it did before, to the bit."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from envs.environment.batched_env import BatchedEnv
from envs.scenario import Scenario
from envs.simulation.moment import Packed
from tests.envs.networks import random_network


def played(env: BatchedEnv, periods: int, *, opens: bool) -> list[np.ndarray]:
    """All that happens and is seen; opens: the next period first."""
    rng = np.random.default_rng(7)
    seen: list[np.ndarray] = []
    for t in range(periods):
        if t or opens:
            env.open_period()
        action = rng.uniform(-1.0, 1.0, env.no_action.shape).astype(np.float32)
        seen += [env.observe().copy(), *(part.copy() for part in env.state)]
        env.close_period(action)
        seen += [*(part.copy() for part in env.state), *(part.copy() for part in env.flows)]
    return seen


@pytest.mark.parametrize("seed", range(12))
def test_what_follows_is_the_same(seed: int) -> None:
    """Of a moment when agents act first, and of one when a period was closed."""
    scenario = Scenario(
        "random", random_network(Random(seed), hub=seed % 2 == 0), 40, base_policy="base_stock",
        smoothing=0.1 * (seed % 3), memory=2 * (seed % 2),
    )  # fmt: skip
    env = BatchedEnv(scenario, 3)
    env.reset(seed)
    for opens in (False, True):
        moment = env.mark()
        before = played(env, 6, opens=opens)
        env.return_to(moment)
        for one, two in zip(before, played(env, 6, opens=opens), strict=True):
            assert one.tobytes() == two.tobytes()


def test_zeros_take_a_bit_each() -> None:
    """Signs of zeros and what is no number are kept."""
    array = np.zeros((3, 70))
    array[1, 5:8] = 2.5, -0.0, np.nan
    packed = Packed.of(array)
    out = np.full_like(array, 9.0)
    packed.write(out)
    assert out.tobytes() == array.tobytes()
    assert sum(part.nbytes for part in packed) == 3 * 8 + 27
