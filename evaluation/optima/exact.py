"""The cost of the best policy there is, for scenarios that are small enough to compute it."""

from __future__ import annotations

import time

from envs.scenario import Scenario
from evaluation.optima.bound import Bound, BoundKind
from evaluation.optima.coverage import NotCovered, problems_of
from evaluation.optima.joint_pair import JointPair, solve_joint_pair
from evaluation.optima.single_pair import TooLarge, solve_single_pair

__all__ = ["NotCovered", "solve_scenario"]


def solve_scenario(scenario: Scenario, *, time_limit: float | None = None) -> Bound:
    """Return the long-run cost per period of the best policy. Raises NotCovered, which says why.

    Covered is one stocked pair, bought from outside on lanes of constant lead time, and two pairs
    that share a supplier or a budget; also any number of such, side by side. Customers wait or
    leave; units are whole; regimes that planners see may stop orders and move prices and demand.
    Where planners don't see a regime, the result is a bound: what the best policy costs at least.
    So it is where `time_limit` [seconds] ends the computation.
    """
    began, clock = time.process_time(), time.monotonic()
    cost, states, relaxed, converged = 0.0, 0, set(), True
    for problem in problems_of(scenario):
        left = None if time_limit is None else max(0.0, time_limit - (time.monotonic() - clock))
        solve = solve_joint_pair if isinstance(problem.model, JointPair) else solve_single_pair
        try:
            optimum = solve(problem.model, time_limit=left)  # type: ignore[arg-type]
        except TooLarge as reason:
            raise NotCovered(str(reason)) from reason
        cost += optimum.cost + problem.constant
        states += optimum.states
        relaxed |= {problem.relaxed} - {""}
        converged &= optimum.converged
    notes = [f"value iteration, {states:,} states", *sorted(relaxed)]
    if not converged:
        notes.append("stopped by the time limit")
    kind = BoundKind.exact if converged and not relaxed else BoundKind.bound
    return Bound(cost, kind, ", ".join(notes), seconds=time.process_time() - began)
