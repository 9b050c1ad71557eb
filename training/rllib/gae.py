"""Generalised advantage estimation, for all rows and replications at once."""

from __future__ import annotations

import numpy as np

from envs.types import Bools, Floats32


def advantages(
    reward: Floats32,
    value: Floats32,
    next_value: Floats32,
    truncated: Bools,
    *,
    discount: float,
    gae_lambda: float,
) -> Floats32:
    """Advantage of every step: Schulman et al. 2016, eq. 16, cut at time limits.

    Supply chains never terminate: an episode's end is only where the simulation stops, so
    the value of the state reached there counts in full, and only the sum over later
    steps is cut. The value target of a step is its advantage plus its value.

    Args:
        reward: [T, ...] reward of each step.
        value: [T, ...] value of the state each step started from.
        next_value: [T, ...] value of the state each step reached, before any reset.
        truncated: [T] whether the episode ended with the step.
        discount: per period [gamma].
        gae_lambda: share [lambda].

    Returns:
        [T, ...], the shape of `reward`.
    """
    result = reward + np.float32(discount) * next_value - value  # one-step errors [delta]
    decay = np.float32(discount * gae_lambda)
    for t in range(len(reward) - 2, -1, -1):
        if not truncated[t]:
            result[t] += decay * result[t + 1]
    return result
