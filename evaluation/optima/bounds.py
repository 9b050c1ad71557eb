"""What no policy can beat, by the best method there is for a scenario."""

from __future__ import annotations

from envs.scenario import Scenario
from evaluation.optima.bound import Bound
from evaluation.optima.exact import exact_optimum
from evaluation.optima.hindsight import hindsight_bound

__all__ = ["best_bound"]


def best_bound(
    scenario: Scenario,
    *,
    traces: int,
    seed: int,
    split: str = "test",
    time_limit: float | None = None,
) -> Bound:
    """Return the optimum where value iteration finds it, else what hindsight would have cost.

    traces, seed, split: of the episodes that hindsight knows in advance; two or more. time_limit:
    seconds for value iteration. Raises what `hindsight_bound` does: ConfigError where the network
    is too large for that, too, NetworkError where its linear programme has no least cost.
    """
    found = exact_optimum(scenario, time_limit=time_limit)
    if found is not None:
        return found
    return hindsight_bound(scenario, traces=traces, seed=seed, split=split)
