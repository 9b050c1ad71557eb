"""EWMA base-stock: its recursion, and its cost where demand changes unseen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from envs.network.network import ServeOrder, Timing
from envs.policies import build_policy
from evaluation.comparison.rollout import play
from tests.envs.runs import play_actions, same
from tests.envs.test_policy_bayes_base_stock import market


@pytest.mark.parametrize("serve", ServeOrder)
def test_formula(serve: ServeOrder) -> None:
    """Mean and squared error are smoothed by what was asked; level = n F + k sqrt(n V)."""
    rule = {"smoothing": 0.3, "safety_factor": 1.5}
    scenario = replace(
        market(2, timing=Timing(demand=serve)),
        base_policy="ewma_base_stock",
        policy_params={"ewma_base_stock": rule},
    )
    run, _ = play_actions(scenario, np.zeros((12, 1, 3, 4), np.float32), seed=5)
    first = serve is ServeOrder.first
    mean = np.full(4, scenario.compiled.demand.mean[0])
    variance = np.full(4, scenario.compiled.demand.sd[0] ** 2)
    periods = 2 if first else 3
    for t in range(12):
        if t > 0 or first:
            error = run.demand[t if first else t - 1, 0] - mean
            variance = variance + 0.3 * (error**2 - variance)
            mean = mean + 0.3 * error
        level = periods * mean + 1.5 * np.sqrt(periods * variance)
        order = np.maximum(level - run.opened.inventory_position[t, 0], 0.0)
        same(f"order in period {t}", run.raw[t, 0], order, 1e-9)


def cost(name: str, lead_time: int, parameters: dict[str, Any]) -> float:
    """Mean cost per period where the market's mean is 3 or 9, unseen."""
    scenario = market(lead_time, horizon=400, warm_up=50)
    policy = build_policy(name, scenario.compiled, parameters)
    return float(play(scenario, policy, traces=1024, seed=2).cost.mean())


def test_smoothing_helps_at_short_lead_times_only() -> None:
    """Lead time 2: 17.84, below the best constant level's 18.39. Lead time 6: whatever
    follows demand loses to a constant level, 34.75."""
    smooth = {"smoothing": 0.17, "safety_factor": 2.3}
    assert cost("ewma_base_stock", 2, smooth) == pytest.approx(17.84, rel=0.015)
    assert cost("base_stock", 6, {"level": 73.0}) == pytest.approx(34.75, rel=0.02)
    assert cost("ewma_base_stock", 6, {"smoothing": 0.2, "safety_factor": 3.0}) > 37.0
