"""Relative value iteration: the long-run cost of the best policy, between two certified bounds.

With V any function of the state and T the Bellman operator (one period's cost under the best
action, then V), the optimal average cost lies between the least and the largest of TV - V
(Odoni 1969; Puterman 1994, theorem 8.5.5). Steps are damped, V + d (TV - V), which leaves the
optimum as it is and converges where the best policy is periodic (Schweitzer 1971).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from envs.types import Floats

# Write TV of its first argument to its second; return the least and the largest of TV - V.
Improve = Callable[[Floats, Floats], tuple[float, float]]

_CONVERGED = 1e-7  # of the cost: how far apart the bounds may be
_ROUNDING = 1e-13  # of the largest value: what floating point leaves of a difference
_EVEN_DAMPING = 0.98


@dataclass(frozen=True, eq=False)
class Solution:
    """Where value iteration stopped."""

    lower: float  # bounds on the optimal cost [currency per period]
    upper: float
    values: Floats  # relative values, any shape
    iterations: int
    converged: bool  # False where the time was up before

    @property
    def cost(self) -> float:
        """The middle of the bounds; when time was up, the one that is certain."""
        return 0.5 * (self.lower + self.upper) if self.converged else self.lower


def iterate_values(
    improve: Improve, values: Floats, *, damping: float = _EVEN_DAMPING, deadline: float
) -> Solution:
    """Iterate from `values` until the bounds meet, or until `deadline` [time.monotonic()].

    damping: 1 is plain value iteration; less where orders come in cycles.
    """
    target, iterations = np.zeros_like(values), 0
    best_lower, best_upper = -np.inf, np.inf
    while True:
        lower, upper = improve(values, target)
        iterations += 1
        best_lower, best_upper = max(best_lower, lower), min(best_upper, upper)
        tolerance = _CONVERGED * abs(best_upper) + _ROUNDING * float(np.abs(values).max())
        converged = best_upper - best_lower <= tolerance
        if converged or time.monotonic() > deadline:
            return Solution(best_lower, best_upper, values, iterations, converged)
        target -= values
        target *= damping
        values = values + target
        values -= values.flat[0]
