"""Two items of one supplier: Poisson demand of 5 each, 75 per order, 10 per item in it, holding 1,
backlog 19, no lead time. The optimum is 48.42 per period (value iteration)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.demand import DemandConfig
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.explicit import ExplicitConfig, LaneEntry, StockEntry
from evaluation.rollout import play
from evaluation.tune import tune_policy

OPTIMUM = 48.42


def two_items() -> Scenario:
    """One shop, two items."""
    demand, items = DemandConfig("poisson", mean=5.0), ("a", "b")
    stocks = {
        i: StockEntry(
            "shop", i, holding_cost=1.0, backlog_cost=19.0, initial_stock=20.0, demand=demand
        )
        for i in items
    }
    lanes = {
        i: LaneEntry("shop", i, 0, resources={"supplier": 1.0}, fixed_cost=10.0, order_multiple=1.0)
        for i in items
    }
    return build_scenario(
        ExplicitConfig(
            kind="explicit",
            name="two items",
            horizon=2000,
            warm_up=100,
            nodes={"shop": "shop"},
            skus=dict.fromkeys(items, 0.0),
            stocks=stocks,
            lanes=lanes,
            resources={"supplier": {"fixed_cost": 75.0}},
        )
    )


def cost_of(scenario: Scenario, policy: str, parameters: dict[str, Any]) -> float:
    """Mean cost per period over half a million periods."""
    rule = build_policy(policy, scenario.compiled, parameters)
    return float(play(scenario, rule, traces=256, seed=5).cost.mean())


@pytest.mark.parametrize(
    ("policy", "parameters", "gap"),
    [
        (
            "can_order",
            {"reorder_point": 3.0, "can_order_level": 22.0, "order_up_to_level": 25.0},
            0.002,
        ),
        # S = 5 x 4 + k sqrt(5 x 4) = 24.
        ("periodic_review", {"review_period": 4.0, "safety_factor": 4.0 / np.sqrt(20.0)}, 0.07),
    ],
    ids=["can_order", "periodic_review"],
)
def test_gaps_to_the_optimum(policy: str, parameters: dict[str, Any], gap: float) -> None:
    """Within half a percent of the optimum's cost."""
    cost = cost_of(two_items(), policy, parameters)
    assert cost == pytest.approx(OPTIMUM * (1.0 + gap), rel=0.005)


def test_ordering_alone_is_dear() -> None:
    """Independent (s, S), tuned: +18.6 %, for either item pays the supplier's fixed cost."""
    scenario = two_items()
    tuned = tune_policy(scenario, "s_s", seed=1, traces=16, budget=60)
    cost = cost_of(scenario, "s_s", tuned.parameters)
    assert cost == pytest.approx(OPTIMUM * 1.186, rel=0.01)
