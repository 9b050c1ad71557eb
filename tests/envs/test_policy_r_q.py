"""(r, nQ): its formula, its textbook start, and its cost against the exact one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from envs.network.demand import DemandConfig
from envs.policies import build_policy, policy_class
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.single_node import SingleNodeConfig
from evaluation.comparison.rollout import play
from tests.envs.runs import play_actions, same

PARAMETERS = {"reorder_point": 18.0, "quantity": 6.0}


@pytest.fixture
def ordering() -> Scenario:
    """One store, backlog, an order costs 32: the economic quantity is sqrt(2 x 32 x 4) = 16."""
    return build_scenario(
        SingleNodeConfig(
            kind="single_node",
            name="ordering",
            horizon=2000,
            warm_up=50,
            demand=DemandConfig("poisson", mean=4.0),
            lead_time=3,
            backlog_cost=9.0,
            fixed_cost=32.0,
            base_policy="r_q",
            policy_params={"r_q": PARAMETERS},
            holding_cost=1.0,
        )
    )


def test_formula(ordering: Scenario) -> None:
    """Above r nothing, else the fewest lots that bring the position above it."""
    run, _ = play_actions(ordering, np.zeros((40, 1, 3, 4), np.float32), seed=5)
    position = run.opened.inventory_position[:, 0]
    wanted = np.zeros_like(position)
    while (position + wanted <= 18.0).any():
        wanted[position + wanted <= 18.0] += 6.0
    same("order", run.raw[:, 0], wanted)
    assert {0.0, 6.0, 12.0} <= set(np.unique(wanted))


def test_textbook_start(ordering: Scenario) -> None:
    """Q is the economic order quantity, r the newsvendor's over lead time and review."""
    start = policy_class("r_q").tunable(ordering.compiled)
    assert start["quantity"].start == pytest.approx([16.0])
    level = 16.0 + stats.norm.ppf(0.9) * 4.0
    assert start["reorder_point"].start == pytest.approx([level])


def test_cost_is_the_exact_one(ordering: Scenario) -> None:
    """After an order the position is uniform on r + 1..r + Q (Hadley and Whitin 1963, section 4-3):
    cost = mean over these of G(y) + K P(an order)."""
    demand = stats.poisson(16.0)  # over lead time and review
    units = np.arange(200)
    chance = demand.pmf(units)
    cost = []
    for y in 18 + 1 + np.arange(6):
        left = y - units
        cost.append(chance @ (np.maximum(left, 0) + 9.0 * np.maximum(-left, 0)))
    # An order is due where the period's demand brings the position, uniform, to r or below.
    below = np.mean([stats.poisson(4.0).sf(k - 1) for k in 1 + np.arange(6)])
    exact = np.mean(cost) + 32.0 * below
    policy = build_policy("r_q", ordering.compiled, PARAMETERS)
    assert play(ordering, policy, traces=256, seed=2).cost.mean() == pytest.approx(exact, rel=0.004)


def test_a_lot_of_nothing_orders_up_to_r(ordering: Scenario) -> None:
    """Set by hand to 0, the quantity leaves base-stock."""
    costs = [
        play(ordering, build_policy(name, ordering.compiled, parameters), traces=8, seed=2).cost
        for name, parameters in (
            ("r_q", {"reorder_point": 18.0, "quantity": 0.0}),
            ("base_stock", {"level": 18.0}),
        )
    ]
    same("cost", costs[0], costs[1], 1e-3)
