"""Rewards: what a pair answers for, against the base policy on the same trace."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from envs.compiled.arrays import CostColumn
from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.network.network import Sku
from envs.reward import RewardConfig
from envs.scenario import Scenario
from tests.settings import cost_alone


def play(
    scenario: Scenario, reward: RewardConfig, action: float, seed: int = 3
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return rewards and costs [P, B] of every period under a constant level correction."""
    rows = len(scenario.network.stocks)
    env = BatchedEnv(scenario, 4, reward=reward, cost_scale=np.full(rows, 2.0))
    env.reset(seed)
    actions = np.full_like(env.no_action, action)
    rewards, costs, truncated = [], [], False
    while not truncated:
        _, reward_now, truncated = env.step(actions)
        rewards.append(reward_now.copy())
        costs.append(env.flows.total_cost.copy())
    return rewards, costs


def test_own_cost_is_negated_and_scaled(warehouse: Scenario) -> None:
    """Without shares a pair earns minus its own cost, in units of its scale."""
    rewards, costs = play(warehouse, cost_alone(), 0.3)
    for reward, cost in zip(rewards, costs, strict=True):
        np.testing.assert_allclose(reward, -cost / 2.0, rtol=1e-5, atol=1e-5)


def test_a_warehouse_answers_for_the_stores_it_serves(warehouse: Scenario) -> None:
    """With downstream_share 1 the warehouse's pair earns minus all costs of its item."""
    rewards, costs = play(warehouse, cost_alone(downstream_share=1.0), 0.3)
    stocks = warehouse.compiled.network.stocks
    for p, stock in enumerate(stocks):
        mine = [q for q, other in enumerate(stocks) if other.sku == stock.sku]
        expected = costs[7][mine].sum(axis=0) if stock.node == "warehouse" else costs[7][p]
        np.testing.assert_allclose(rewards[7][p], -expected / 2.0, rtol=1e-5, atol=1e-5)


def test_the_network_share_mixes_in_the_mean(warehouse: Scenario) -> None:
    """network_share 1: everybody earns the same."""
    rewards, costs = play(warehouse, cost_alone(network_share=1.0), 0.3)
    expected = np.broadcast_to(-costs[5].mean(axis=0) / 2.0, rewards[5].shape)
    np.testing.assert_allclose(rewards[5], expected, rtol=1e-5)


@pytest.mark.parametrize("action", [0.0, 0.4, -0.7])
def test_paired_rewards_are_differences_on_the_same_trace(
    warehouse: Scenario, action: float
) -> None:
    """Paired = reward of the action - reward of the base policy on equal traces; 0 for it."""
    paired, _ = play(warehouse, cost_alone(paired=True), action)
    alone, _ = play(warehouse, cost_alone(), action)
    base, _ = play(warehouse, cost_alone(), 0.0)
    for t in range(len(paired)):
        np.testing.assert_allclose(paired[t], alone[t] - base[t], atol=1e-4)
    if action == 0.0:
        assert not np.any(paired)


def test_salvage_takes_away_the_gain_of_draining_stock(shop: Scenario) -> None:
    """With goods bought at their value, not ordering near the end saves purchases, but salvage
    credits exactly what the others have left: the gain is gone."""
    network = shop.network
    lane = dataclasses.replace(network.lanes[0], unit_cost=10.0)
    network = dataclasses.replace(network, skus=(Sku("item", 10.0),), lanes=(lane,))
    scenario = dataclasses.replace(shop, network=network)

    def total(drain: bool, salvage: float) -> float:
        env = BatchedEnv(scenario, 64, reward=cost_alone(salvage_share=salvage))
        env.reset(5)
        cost = 0.0
        for t in range(env.horizon):
            late = t >= env.horizon - scenario.network.lanes[0].lead_time.minimum
            level = -1.0 if drain and late else 0.0
            env.close_period(np.full_like(env.no_action, level))
            cost += float(env.flows.total_cost.sum(axis=0).mean())
            env.open_period()
        return cost

    assert total(True, 0.0) < total(False, 0.0) - 5.0
    assert total(True, 1.0) > total(False, 1.0) - 1.0


def test_the_salvage_column_is_only_in_the_last_period(shop: Scenario) -> None:
    """And it is the value of stock and pipeline."""
    scenario = dataclasses.replace(
        shop, network=dataclasses.replace(shop.network, skus=(Sku("item", 3.0),))
    )
    env = BatchedEnv(scenario, 2)
    env.reset(0)
    for t in range(env.horizon):
        env.close_period(env.no_action)
        salvage = env.flows.cost[CostColumn.SALVAGE]
        left = env.state.on_hand + env.state.in_transit_total
        expected = -3.0 * left if t == env.horizon - 1 else np.zeros_like(left)
        np.testing.assert_allclose(salvage, expected)
        env.open_period()


@pytest.mark.parametrize("name", ["downstream_share", "network_share", "salvage_share"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_shares_are_checked(name: str, value: float) -> None:
    """Outside 0..1: one line that names the key."""
    with pytest.raises(ConfigError, match=name):
        cost_alone(**{name: value})
