"""Capped base-stock: its formula, and what it costs where sales are lost."""

from __future__ import annotations

import numpy as np
import pytest

from envs.network.demand import DemandConfig
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.single_node import SingleNodeConfig
from evaluation.comparison.rollout import play
from tests.envs.runs import play_actions, same

# Lost sales, mean demand 5, h = 1: demand, lead time, p, level, cap, cost. The levels are those of
# Zipkin's (2008) instances that a search over level and cap finds; costs by 10^7 periods simulated.
CASES = [
    ("poisson", 2, 4.0, 17.0, 5.0, 4.406),
    ("poisson", 2, 19.0, 21.0, 7.0, 7.723),
    ("poisson", 4, 4.0, 26.0, 5.0, 4.799),
    ("poisson", 4, 19.0, 31.0, 6.0, 8.959),
    ("geometric", 2, 4.0, 17.0, 4.0, 10.33),
    ("geometric", 2, 19.0, 28.0, 9.0, 21.075),
]


def lost_sales(distribution: str, lead_time: int, penalty: float) -> Scenario:
    """One of Zipkin's (2008) problems."""
    return build_scenario(
        SingleNodeConfig(
            kind="single_node",
            name="lost_sales",
            horizon=2000,
            warm_up=50,
            demand=DemandConfig(distribution, mean=5.0),
            lead_time=lead_time,
            lost_sale_cost=penalty,
            base_policy="capped_base_stock",
            policy_params={"capped_base_stock": {"level": 20.0, "cap": 7.0}},
            holding_cost=1.0,
        )
    )


def test_formula() -> None:
    """Order = level - inventory position, at least 0 and at most the cap."""
    scenario = lost_sales("geometric", 2, 19.0)
    run, _ = play_actions(scenario, np.zeros((40, 1, 3, 4), np.float32), seed=5)
    gap = 20.0 - run.opened.inventory_position[:, 0]
    same("order", run.raw[:, 0], np.clip(gap, 0.0, 7.0))
    assert (gap > 7.0).any()
    assert ((gap > 0.0) & (gap < 7.0)).any()


@pytest.mark.parametrize(
    ("distribution", "lead_time", "penalty", "level", "cap", "cost"),
    [CASES[0], *(pytest.param(*case, marks=pytest.mark.nightly) for case in CASES[1:])],
)
def test_published_cost(
    distribution: str, lead_time: int, penalty: float, level: float, cap: float, cost: float
) -> None:
    """Within half a percent of the table."""
    scenario = lost_sales(distribution, lead_time, penalty)
    policy = build_policy("capped_base_stock", scenario.compiled, {"level": level, "cap": cap})
    result = play(scenario, policy, traces=1024, seed=3)
    assert result.cost.mean() == pytest.approx(cost, rel=0.005)
