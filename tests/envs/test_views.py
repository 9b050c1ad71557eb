"""The views pass their projects' own checkers and agree with the batched environment."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from pettingzoo.test import parallel_api_test, parallel_seed_test

from envs.environment.batched_env import BatchedEnv
from envs.environment.multi_agent import NodeAgents, SupplyChainParallelEnv
from envs.environment.vector_env import SupplyChainVectorEnv
from envs.network.demand import DemandConfig
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.one_warehouse import OneWarehouseConfig


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return build_scenario(
        OneWarehouseConfig(
            kind="one_warehouse", name="small", horizon=12, warm_up=2, stores=3, skus=2,
            lost_sale_cost=9, demand=DemandConfig(mean=5),
        )
    )  # fmt: skip


def test_pettingzoo_checker_passes(scenario: Scenario) -> None:
    """PettingZoo's own API test and seed test accept the parallel view."""
    parallel_api_test(SupplyChainParallelEnv(scenario), num_cycles=30)
    parallel_seed_test(lambda: SupplyChainParallelEnv(scenario), num_cycles=5)


def test_agents_get_their_own_rows(scenario: Scenario) -> None:
    """What agents see, do and earn is what the batched environment has for their rows."""
    batched, view = BatchedEnv(scenario, 1), NodeAgents(BatchedEnv(scenario, 1))
    observation, by_agent = batched.reset(3), view.reset(3)
    rng = np.random.default_rng(0)
    action = rng.uniform(-1, 1, (batched.num_rows, batched.action_size, 1)).astype(np.float32)
    rows = {
        agent: np.flatnonzero(batched.net.node_of_pair == i)
        for i, agent in enumerate(batched.agent_ids)
    }
    for agent, own in rows.items():
        np.testing.assert_array_equal(by_agent[agent], observation[own, :, 0])
    _, reward, _ = batched.step(action)
    _, rewards, _ = view.step({agent: action[own, :, 0] for agent, own in rows.items()})
    for agent, own in rows.items():
        assert rewards[agent] == pytest.approx(float(reward[own].sum()), rel=1e-6)


def test_vector_view_is_truncated_at_the_horizon_and_starts_anew(scenario: Scenario) -> None:
    """Gymnasium's statistics wrapper counts episodes of exactly the horizon."""
    env = RecordEpisodeStatistics(SupplyChainVectorEnv(scenario, 4))
    observation, _ = env.reset(seed=5)
    assert env.observation_space.contains(observation)
    lengths = []
    for _ in range(2 * scenario.horizon + 2):
        _, _, terminated, truncated, info = env.step(env.action_space.sample())
        assert not terminated.any()
        if truncated.any():
            assert truncated.all()
            lengths += info["episode"]["l"].tolist()
    assert lengths == [scenario.horizon] * 8


def test_vector_rows_equal_solo_runs(scenario: Scenario) -> None:
    """Row b of the vector view is episode b of the seed."""
    vector = SupplyChainVectorEnv(scenario, 3)
    observation, _ = vector.reset(seed=11)
    solo = BatchedEnv(scenario, 1)
    for b in range(3):
        np.testing.assert_array_equal(observation[b], solo.reset(11, b)[:, :, 0])


def test_rllib_checker_passes(scenario: Scenario) -> None:
    """RLlib's own check of multi-agent environments accepts the node agents."""
    from ray.rllib.utils.pre_checks.env import check_multiagent_environments

    from training.rllib.batched_runner import RunnerSettings
    from training.rllib.env_factory import ScenarioEnvFactory
    from training.rllib.multi_agent_env import NodeAgentsEnv

    settings = RunnerSettings(ScenarioEnvFactory(scenario), "agents", 1, 0)
    check_multiagent_environments(NodeAgentsEnv({"settings": settings}))
