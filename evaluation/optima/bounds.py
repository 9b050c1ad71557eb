"""What no policy can beat, by the best method there is for a scenario."""

from __future__ import annotations

import time

from envs.scenario import Scenario
from evaluation.optima.bound import Bound
from evaluation.optima.exact import NotCovered, solve_scenario
from evaluation.optima.hindsight import hindsight_bound
from evaluation.progress import SILENT, Progress


def best_bound(
    scenario: Scenario,
    *,
    traces: int,
    seed: int,
    time_limit: float | None = None,
    progress: Progress = SILENT,
) -> Bound:
    """Return the optimum where value iteration finds it, else what hindsight would have cost.

    traces, seed: of the test episodes that hindsight knows in advance; two or more.
    time_limit: seconds, half of them for value iteration.
    Raises what `hindsight_bound` does.
    """
    began = time.monotonic()
    try:
        return solve_scenario(scenario, time_limit=None if time_limit is None else 0.5 * time_limit)
    except NotCovered:
        left = None if time_limit is None else time_limit - (time.monotonic() - began)
    return hindsight_bound(scenario, traces=traces, seed=seed, time_limit=left, progress=progress)
