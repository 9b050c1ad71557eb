"""The views pass their projects' own checkers, train in their projects' own trainers, and agree
with the batched environment."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from numpy.typing import NDArray
from pettingzoo.test import parallel_api_test, parallel_seed_test

from envs.environment.batched_env import BatchedEnv
from envs.environment.joint_agent import SupplyChainEnv, SupplyChainVectorEnv
from envs.environment.multi_agent import NodeAgents, SupplyChainParallelEnv
from envs.errors import ActionError, ConfigError
from envs.network.demand import DemandConfig
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from tests.envs.networks import one_warehouse

HORIZON = 12
Step = Callable[[float], tuple[Any, Any]]  # one number for all actions -> observation, cost


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return build_scenario(
        one_warehouse(
            name="small", horizon=HORIZON, warm_up=2, stores=3, skus=2,
            lost_sale_cost=9, demand=DemandConfig("poisson", mean=5),
        )
    )  # fmt: skip


def test_pettingzoo_checker_passes(scenario: Scenario) -> None:
    """PettingZoo's own API test and seed test accept the parallel view."""
    parallel_api_test(SupplyChainParallelEnv(scenario), num_cycles=30)
    parallel_seed_test(lambda: SupplyChainParallelEnv(scenario), num_cycles=5)


def test_gymnasium_checker_passes(scenario: Scenario) -> None:
    """Gymnasium's own check accepts the joint view; it only warns that features have no bounds."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*A Box observation space m.*")
        check_env(SupplyChainEnv(scenario), skip_render_check=True)


def test_rllib_checker_passes(scenario: Scenario) -> None:
    """RLlib's own check of multi-agent environments accepts the node agents."""
    from ray.rllib.utils.pre_checks.env import check_multiagent_environments

    from training.rllib.env_factory import ScenarioEnvFactory
    from training.rllib.multi_agent_env import SupplyChainMultiAgentEnv

    config = {"env_factory": ScenarioEnvFactory(scenario)}
    check_multiagent_environments(SupplyChainMultiAgentEnv(config))


def test_stable_baselines_trains(scenario: Scenario) -> None:
    """Its own check passes, its PPO steps the joint view and moves its policy."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_checker import check_env as check_for_stable_baselines

    env = SupplyChainEnv(scenario)
    check_for_stable_baselines(env)
    model = PPO("MlpPolicy", env, n_steps=24, batch_size=12, n_epochs=2, seed=0, device="cpu")
    before = model.policy.state_dict()["action_net.weight"].clone()
    model.learn(48)
    assert model.num_timesteps == 48
    assert (model.policy.state_dict()["action_net.weight"] != before).any()
    action, _ = model.predict(env.reset(seed=3)[0], deterministic=True)
    assert env.action_space.contains(action)


@pytest.mark.usefixtures("ray_cluster")
def test_rllibs_own_ppo_trains(scenario: Scenario) -> None:
    """Its default modules, sampler and learner on the multi-agent view, without any of ours."""
    from ray.rllib.algorithms.ppo import PPOConfig

    from training.rllib.env_factory import ScenarioEnvFactory
    from training.rllib.multi_agent_env import SupplyChainMultiAgentEnv

    config = (
        PPOConfig()
        .environment(
            SupplyChainMultiAgentEnv, env_config={"env_factory": ScenarioEnvFactory(scenario)}
        )
        .env_runners(num_env_runners=0, num_envs_per_env_runner=2)
        .multi_agent(
            policies={"warehouse", "store"},
            policy_mapping_fn=lambda agent, *_, **__: agent.split("_")[0],
        )
        .training(train_batch_size_per_learner=48, minibatch_size=24, num_epochs=1)
    )
    algorithm = config.build_algo()
    try:
        result = algorithm.train()
    finally:
        algorithm.stop()
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] >= 48
    assert set(result["learners"]) == {"warehouse", "store", "__all_modules__"}
    assert result["env_runners"]["episode_return_mean"] < 0.0


def test_agents_get_their_own_rows(scenario: Scenario) -> None:
    """What agents see, do, earn and pay is what the batched environment has for their rows."""
    batched, view = BatchedEnv(scenario, 1), NodeAgents(BatchedEnv(scenario, 1))
    observation, by_agent = batched.reset(3), view.reset(3)
    rng = np.random.default_rng(0)
    action = rng.uniform(-1, 1, (batched.num_rows, batched.action_size, 1)).astype(np.float32)
    rows = {
        agent: np.flatnonzero(batched.net.arrays.stocks.node_of == i)
        for i, agent in enumerate(batched.agent_ids)
    }
    for agent, own in rows.items():
        np.testing.assert_array_equal(by_agent[agent], observation[own, :, 0].ravel())
    _, reward, _ = batched.step(action)
    actions = {agent: action[own, :, 0].ravel() for agent, own in rows.items()}
    _, rewards, infos, _ = view.step(actions)
    for agent, own in rows.items():
        assert rewards[agent] == pytest.approx(float(reward[own].sum()), rel=1e-6)
        assert infos[agent]["cost"] == pytest.approx(batched.flows.total_cost[own].sum())


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


def test_joint_agents_are_the_batched_environment(scenario: Scenario) -> None:
    """Row b of the vector view is episode b of the single view and of the batched environment;
    the reward is the network's cost in one unit, whatever pairs it comes from."""
    vector, single = SupplyChainVectorEnv(scenario, 3), SupplyChainEnv(scenario)
    seen, _ = vector.reset(seed=11)
    actions = np.random.default_rng(0).uniform(-1, 1, vector.action_space.shape)
    after, rewards, _, _, infos = vector.step(actions.astype(np.float32))
    assert np.ptp(rewards / infos["cost"]) == pytest.approx(0.0, abs=1e-6)
    assert (rewards < 0.0).all()
    for b in range(3):
        solo = BatchedEnv(scenario, 1)
        np.testing.assert_array_equal(seen[b], solo.reset(11, b)[:, :, 0].ravel())
        np.testing.assert_array_equal(single.reset(seed=None if b else 11)[0], seen[b])
        observation, reward, _, _, info = single.step(actions[b].astype(np.float32))
        np.testing.assert_array_equal(observation, after[b])
        assert (reward, info["cost"]) == (rewards[b], infos["cost"][b])
        solo.step(actions[b].reshape(solo.num_rows, solo.action_size, 1).astype(np.float32))
        assert info["cost"] == pytest.approx(solo.flows.total_cost.sum())


def player(name: str, scenario: Scenario) -> tuple[Callable[[], Any], Step]:
    """reset and step of a view, with one number for all actions."""
    from training.rllib.env_factory import ScenarioEnvFactory
    from training.rllib.multi_agent_env import SupplyChainMultiAgentEnv

    if name in ("pettingzoo", "rllib"):
        agents: Any = (
            SupplyChainParallelEnv(scenario)
            if name == "pettingzoo"
            else SupplyChainMultiAgentEnv({"env_factory": ScenarioEnvFactory(scenario)})
        )
        spaces = NodeAgents(BatchedEnv(scenario, 1)).action_spaces

        def step_all(value: float) -> tuple[Any, Any]:
            actions = {a: np.full(s.shape, value, np.float32) for a, s in spaces.items()}
            observation, *_, infos = agents.step(actions)
            return observation["warehouse"], sum(info["cost"] for info in infos.values())

        return lambda: agents.reset(seed=1)[0]["warehouse"], step_all
    joint: Any = (
        SupplyChainEnv(scenario)
        if name == "gymnasium"
        else SupplyChainVectorEnv(scenario, int(name.split()[-1]))
    )

    def step(value: float) -> tuple[Any, Any]:
        observation, *_, info = joint.step(np.full(joint.action_space.shape, value, np.float32))
        return observation, info["cost"]

    return lambda: joint.reset(seed=1)[0], step


VIEWS = ("gymnasium", "vector of 1", "vector of 3", "pettingzoo", "rllib")


@pytest.mark.parametrize("name", VIEWS)
def test_what_a_view_gave_stays(name: str, scenario: Scenario) -> None:
    """Trainers keep observations in buffers: a later step does not change them."""
    reset, step = player(name, scenario)
    given: list[NDArray[np.float32]] = [reset(), step(0.0)[0], step(0.5)[0]]
    kept = [observation.copy() for observation in given]
    _, cost = step(-0.5)
    for observation, copy in zip(given, kept, strict=True):
        np.testing.assert_array_equal(observation, copy)
    assert np.all(np.asarray(cost) > 0.0)


@pytest.mark.parametrize("name", VIEWS)
def test_impossible_steps_are_refused(name: str, scenario: Scenario) -> None:
    """Before a reset, and with a NaN, which does not spoil the episode."""
    reset, step = player(name, scenario)
    with pytest.raises(ActionError, match=r"call reset\(\) first"):
        step(0.0)
    reset()
    for value in (float("nan"), float("inf")):
        with pytest.raises(ActionError, match=r"NaN or infinite, the first for level of item_00@"):
            step(value)
    assert np.isfinite(step(0.0)[0]).all()


def test_the_batched_environment_refuses_impossible_steps(scenario: Scenario) -> None:
    """Before the compiled code sees them: it reads where there is nothing."""
    env = BatchedEnv(scenario, 3)
    with pytest.raises(ActionError, match=r"call reset\(seed\) first"):
        env.step(env.no_action)
    env.reset(1)
    action = env.no_action.copy()
    with pytest.raises(ActionError, match=r"shape \[8, 1\]; expected \[8, 1, 3\]"):
        env.step(action[..., 0])
    for value in (-np.inf, np.nan, 1e30):
        action[7, 0, 2] = value
        shown = re.escape(f"replication 2 is {action[7, 0, 2]};")
        with pytest.raises(ActionError, match=f"agent 'store_002': .* level of .* {shown}"):
            env.step(action)
    assert np.isfinite(env.step(env.no_action)[0]).all()


def test_a_wrong_action_names_its_agent_and_what_was_expected(scenario: Scenario) -> None:
    """Of several agents, one is missing, one unknown, one of another shape; past the horizon."""
    env = SupplyChainParallelEnv(scenario)
    with pytest.raises(ActionError, match=r"call reset\(\) first"):
        env.step({})
    env.reset(seed=1)
    actions = {a: np.zeros(env.action_space(a).shape, np.float32) for a in env.agents}
    with pytest.raises(ActionError, match=r"missing for \['store_002'\] .* unknown \['shop'\]"):
        env.step({"shop" if a == "store_002" else a: action for a, action in actions.items()})
    with pytest.raises(ActionError, match=r"store_002: .* has shape \[5, 1\]; expected \[2\]"):
        env.step({**actions, "store_002": np.zeros((5, 1), np.float32)})
    for _ in range(HORIZON):
        env.step(actions)
    with pytest.raises(ActionError, match=f"after the {HORIZON} periods of an episode"):
        env.step(actions)
    with pytest.raises(ConfigError, match="seed is a list"):
        SupplyChainVectorEnv(scenario, 2).reset(seed=[1, 2])
    with pytest.raises(ConfigError, match="has 2 replications; expected 1"):
        NodeAgents(BatchedEnv(scenario, 2))


def test_views_without_a_seed_meet_different_demand(scenario: Scenario) -> None:
    """Copies that a trainer makes don't all play the same episodes."""
    one, other = SupplyChainParallelEnv(scenario), SupplyChainParallelEnv(scenario)
    assert any(not np.array_equal(one.reset()[0][a], seen) for a, seen in other.reset()[0].items())
