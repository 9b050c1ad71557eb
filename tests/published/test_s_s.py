"""(s, S) with a fixed cost per order: what neighbours of published optimal levels cost. The costs
themselves are cases of `echelon verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.network.demand import DemandConfig
from envs.policies import build_policy, policy_class
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.single_node import SingleNodeConfig
from evaluation.comparison.rollout import play

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data/s_s.json").read_text())


def scenario_of(case: dict[str, Any]) -> Scenario:
    """One item, Poisson demand, backlog, a fixed cost per order."""
    return build_scenario(
        SingleNodeConfig(
            kind="single_node",
            base_policy="forecast_base_stock",
            name=case["id"],
            horizon=2000,
            warm_up=100,
            demand=DemandConfig("poisson", mean=float(case["mean"])),
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
