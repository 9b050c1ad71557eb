"""How checkers compute: an optimum by our solver, a policy's cost by our simulator."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from envs.policies import build_policy
from envs.scenario import Scenario
from evaluation.comparison.rollout import play
from evaluation.optima.exact import NotCovered, solve_scenario
from evaluation.tuning.config import TuneConfig
from evaluation.tuning.search import tune_policy
from evaluation.verify.case import Case, Row

RELATIVE = 0.005  # of a simulated cost: what a million periods leave of noise, and little more
_TIME_LIMIT = 300.0  # seconds of value iteration
_SEED = 7


def simulated_cost(
    scenario: Scenario,
    policy: str,
    parameters: Mapping[str, Any],
    traces: int = 512,
    demand_price: float = 0.0,
    mean: float = 0.0,
) -> float:
    """Mean cost per period.

    demand_price: what a unit of demand costs whatever the policy does, a control variate: the cost
        is corrected by the gap between the drawn demand and its mean.
    """
    result = play(scenario, build_policy(policy, scenario.compiled, parameters), traces=traces,
                  seed=_SEED)  # fmt: skip
    return float(result.cost.mean()) - demand_price * (float(result.demand.mean()) - mean)


def tuned_parameters(scenario: Scenario, policy: str, budget: int = 50) -> Mapping[str, Any]:
    """Tune a policy on training traces: many short ones, which are cheap to play together."""
    short = replace(scenario, horizon=200)
    return tune_policy(short, policy, TuneConfig(256, budget, seed=1)).parameters


def optimum_row(case: Case, scenario: Scenario, expected: float | None = None) -> Row:
    """Compare the optimum with what value iteration finds."""
    wanted = case.optimal if expected is None else expected
    began = time.perf_counter()
    try:
        found = solve_scenario(scenario, time_limit=_TIME_LIMIT)
    except NotCovered as reason:
        return Row(case.id, case.family, "optimum", wanted, note=str(reason))
    return case.row("optimum", wanted, found.cost, began, case.tolerance)


def policy_row(
    case: Case,
    quantity: str,
    expected: float | None,
    scenario: Scenario,
    policy: str,
    parameters: Mapping[str, Any],
    *,
    judged: bool = True,
    relative: float = RELATIVE,
    **options: Any,
) -> Row:
    """Compare a policy's cost with that of the simulator."""
    began = time.perf_counter()
    cost = simulated_cost(scenario, policy, parameters, **options)
    tolerance = relative * abs(expected) if judged and expected is not None else None
    return case.row(quantity, expected, cost, began, tolerance)
