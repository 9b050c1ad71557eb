"""(s, S) with a fixed cost per order: the costs of published optimal levels.

Zheng and Federgruen (1991), "Finding optimal (s, S) policies is about as simple as evaluating a
single policy", Operations Research 39(4); Snyder and Shen (2019), example 4.7. Cases with a lead
time were computed by renewal enumeration: cost is charged on what L+1 periods of demand leave.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.demand import DemandConfig
from envs.policies import build_policy, policy_class
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.single_node import SingleNodeConfig
from evaluation.rollout import play

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data/s_s.json").read_text())


def scenario_of(case: dict[str, Any]) -> Scenario:
    """One item, Poisson demand, backlog, a fixed cost per order."""
    return build_scenario(
        SingleNodeConfig(
            kind="single_node",
            name=case["id"],
            horizon=2000,
            warm_up=100,
            demand=DemandConfig(mean=float(case["mean"])),
            lead_time=case["lead_time"],
            fixed_cost=float(case["fixed_cost"]),
            holding_cost=float(case["holding_cost"]),
            backlog_cost=float(case["backlog_cost"]),
        )
    )


def cost_of(scenario: Scenario, reorder_point: float, order_up_to_level: float) -> float:
    """Mean cost per period over half a million periods."""
    levels = {"reorder_point": reorder_point, "order_up_to_level": order_up_to_level}
    policy = build_policy("s_s", scenario.compiled, levels)
    return float(play(scenario, policy, traces=256, seed=11).cost.mean())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_cost_of_optimal_levels(case: dict[str, Any]) -> None:
    """Within half a percent."""
    cost = cost_of(scenario_of(case), case["reorder_point"], case["order_up_to_level"])
    assert cost == pytest.approx(case["cost"], rel=0.005)


def test_other_levels_cost_more() -> None:
    """Around the optimum of example 4.7, on the same traces."""
    case = CASES[0]
    scenario = scenario_of(case)
    s, top = case["reorder_point"], case["order_up_to_level"]
    best = cost_of(scenario, s, top)
    for lower, upper in ((s - 1, top), (s + 1, top), (s, top - 2), (s, top + 2)):
        assert cost_of(scenario, lower, upper) > best


def test_start_values_are_the_textbook_ones() -> None:
    """S - s starts at the economic order quantity."""
    case = CASES[1]
    tunable = policy_class("s_s").tunable(scenario_of(case).compiled)
    size = tunable["order_up_to_level"].start - tunable["reorder_point"].start
    assert size == pytest.approx(np.sqrt(2 * 64 * 10))
