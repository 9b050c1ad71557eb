"""training/rllib/gae.py against the definition, written out term by term."""

from __future__ import annotations

import numpy as np
import pytest

from training.rllib.gae import advantages

RANDOM = np.random.default_rng(7)
T, ROWS = 9, 4
REWARD, VALUE, NEXT_VALUE = RANDOM.normal(size=(3, T, ROWS)).astype(np.float32)
CUT = np.zeros(T, np.bool_)
CUT[[3, 8]] = True


def by_definition(truncated: np.ndarray, discount: float, gae_lambda: float) -> np.ndarray:
    """Sum over k of (gamma lambda)^k delta_{t+k}, up to the end of the episode."""
    result = np.zeros((T, ROWS))
    for t in range(T):
        for k in range(T - t):
            error = REWARD[t + k] + discount * NEXT_VALUE[t + k] - VALUE[t + k]
            result[t] += (discount * gae_lambda) ** k * error
            if truncated[t + k]:
                break
    return result


@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("truncated", [CUT, np.zeros(T, np.bool_), np.ones(T, np.bool_)])
def test_advantages_are_the_discounted_sum_of_one_step_errors(
    truncated: np.ndarray, gae_lambda: float
) -> None:
    """Cut where an episode was cut, and nowhere else."""
    got = advantages(REWARD, VALUE, NEXT_VALUE, truncated, discount=0.9, gae_lambda=gae_lambda)
    np.testing.assert_allclose(got, by_definition(truncated, 0.9, gae_lambda), atol=1e-5)


def test_a_time_limit_counts_the_value_of_the_state_it_cut() -> None:
    """The last step before a time limit is worth its reward and what would have come."""
    got = advantages(REWARD, VALUE, NEXT_VALUE, CUT, discount=0.9, gae_lambda=1.0)
    np.testing.assert_allclose(got[3], REWARD[3] + 0.9 * NEXT_VALUE[3] - VALUE[3], atol=1e-6)


def test_inputs_are_left_alone() -> None:
    """The reward is learned from and reported: it must not be overwritten."""
    before = REWARD.copy()
    advantages(REWARD, VALUE, NEXT_VALUE, CUT, discount=0.9, gae_lambda=0.95)
    np.testing.assert_array_equal(REWARD, before)
