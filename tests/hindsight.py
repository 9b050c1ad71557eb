"""The hindsight programme, trace by trace."""

from __future__ import annotations

import numpy as np

from envs.scenario import Scenario
from envs.types import Floats
from evaluation.optima.hindsight import solve_episode


def hindsight_costs(scenario: Scenario, *, traces: int, seed: int) -> Floats:
    """[traces] currency per period: no policy pays less on that trace."""
    return np.array(
        [solve_episode(scenario, seed, "test", episode)[0] for episode in range(traces)]
    )
