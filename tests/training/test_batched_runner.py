"""training/rllib/batched_runner.py: what is sampled is what happened, and trouble is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.learner import (
    AddOneTsToEpisodesAndTruncate,
    GeneralAdvantageEstimation,
)
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from envs.errors import ConfigError, NonFiniteError, TrainingStopped
from tests.training.conftest import small_config, small_factory
from tests.training.faulty import Flaky, FlakyFactory, SpoiledFactory
from training.config import TrainingConfig
from training.rllib.batched_runner import BatchedEnvRunner
from training.rllib.batches import advantages_of
from training.rllib.env_factory import EnvFactory
from training.rllib.episodes import episodes_of
from training.rllib.trainer import configure

B, T = 8, 10  # as in small_config


def runner(
    factory: EnvFactory | None = None,
    config: TrainingConfig | None = None,
    output: str = "batch",
    worker: int = 0,
) -> BatchedEnvRunner:
    """A sampler on its own, without an Algorithm or a cluster."""
    config = config or small_config()
    rllib = configure(config.algorithm.build(config), factory or small_factory(), config, output)
    return BatchedEnvRunner(config=rllib, worker_index=worker)


def wake(sampler: BatchedEnvRunner) -> None:
    """Make actors and critics answer something else than 0."""
    torch.manual_seed(3)
    for module in sampler.module.values():
        for network in (module.actor, module.critic):
            torch.nn.init.normal_(network.layers[-1].weight, std=0.5)


def columns(sampler: BatchedEnvRunner) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Next fragment's columns by kind, each [T, R, B, ...]."""
    (batch,) = sampler.sample()
    assert batch.env_steps() == T * B
    return {
        kind: {name: values.reshape(T, -1, B, *values.shape[1:]) for name, values in part.items()}
        for kind, part in batch.policy_batches.items()
    }


def test_replaying_the_stored_actions_gives_the_stored_observations() -> None:
    """Every column belongs to the row, replication and period it stands at."""
    sampler = runner(small_factory(skus=2))
    wake(sampler)
    fragments = [columns(sampler), columns(sampler)]
    env = small_factory(skus=2)(B)
    observation = env.reset(sampler.stream_seed, 0)
    action = np.zeros((env.num_rows, env.action_size, B), np.float32)
    beyond = 0
    for t in range(env.horizon):
        stored = fragments[t // T]
        for group in env.groups:
            rows, kind = slice(group.start, group.stop), stored[group.name]
            seen = kind[Columns.OBS][t % T].swapaxes(1, 2)
            np.testing.assert_array_equal(seen, observation[rows])
            chosen = kind[Columns.ACTIONS][t % T].swapaxes(1, 2)
            beyond += int((np.abs(chosen) > 1).sum())
            action[rows, : group.action_size] = np.clip(chosen, -1, 1)
        observation, _, truncated = env.step(action)
    assert truncated
    assert beyond > 0, "the clipping was not tried"


def test_the_next_episodes_begin_where_the_horizon_is_reached() -> None:
    """Period 12 of the first fragments is period 0 of replications 8 to 15."""
    sampler = runner()
    sampler.sample()
    after = columns(sampler)
    env = small_factory()(B)
    expected = env.reset(sampler.stream_seed, B)
    for group in env.groups:
        got = after[group.name][Columns.OBS][env.horizon - T].swapaxes(1, 2)
        np.testing.assert_array_equal(got, expected[group.start : group.stop])


def test_log_probabilities_are_of_the_unclipped_actions() -> None:
    """They are those of a normal with the stored mean and standard deviation."""
    sampler = runner()
    wake(sampler)
    for kind in columns(sampler).values():
        mean, log_std = np.split(kind[Columns.ACTION_DIST_INPUTS], 2, axis=-1)
        z = (kind[Columns.ACTIONS] - mean) / np.exp(log_std)
        expected = (-0.5 * z**2 - log_std - 0.5 * np.log(2 * np.pi)).sum(-1)
        np.testing.assert_allclose(kind[Columns.ACTION_LOGP], expected, atol=1e-4)


def test_advantages_agree_with_rllibs_own_pipeline() -> None:
    """The same fragment as episodes through RLlib's connectors gives the same targets."""
    sampler = runner(small_factory(skus=2))
    wake(sampler)
    _, fragment = sampler._roll(T + 5, explore=True)  # reaches the horizon: period 12 of 15
    assert fragment.truncated.sum() == 1
    gamma, gae_lambda = sampler.config.gamma, sampler.config.lambda_
    episodes = episodes_of(fragment, sampler.module, sampler.simulator.agent_ids, "test")
    names = [(e.module_id, int(e.id_.split("-")[-1]), e.id_.split("-")[1]) for e in episodes]
    rllib = PPOConfig().multi_agent(policies=set(fragment.kinds), policy_mapping_fn=str)
    pipeline = rllib.build_learner_connector(None, None)
    pipeline.prepend(AddOneTsToEpisodesAndTruncate())
    pipeline.append(GeneralAdvantageEstimation(gamma=gamma, lambda_=gae_lambda))
    result = pipeline(rl_module=sampler.module, batch={}, episodes=episodes, shared_data={})
    for kind, rows in fragment.kinds.items():
        _, target = advantages_of(fragment, rows, sampler.module[kind], gamma, gae_lambda)
        valid = result[kind][Columns.LOSS_MASK].numpy().astype(bool)
        stock_target = result[kind][Postprocessing.VALUE_TARGETS].numpy()[valid]
        # RLlib's order: episode by episode; ours: period by period.
        ours = np.concatenate(
            [
                target[piece, row - rows.group.start, int(episode) % B]
                for piece in (slice(0, 12), slice(12, None))
                for name, row, episode in names
                if name == kind and (int(episode) < B) == (piece.start == 0)
            ]
        )
        np.testing.assert_allclose(stock_target, ours, rtol=1e-5, atol=2e-4)


def test_the_same_seed_samples_the_same_and_another_does_not() -> None:
    """Bit for bit; runners of one run differ from each other."""
    first, again = columns(runner()), columns(runner())
    for kind in first:
        for name in first[kind]:
            np.testing.assert_array_equal(first[kind][name], again[kind][name])
    for other in (runner(config=small_config(seed=1)), runner(worker=1)):
        actions = columns(other)["store"][Columns.ACTIONS]
        assert (actions != first["store"][Columns.ACTIONS]).any()


def test_without_exploration_the_mean_is_played() -> None:
    """So the untrained policy costs exactly what the base policy does."""
    sampler = runner()
    (batch,) = sampler.sample(explore=False)
    assert not batch["store"][Columns.ACTIONS].any()


def test_metrics_count_env_steps_nodes_and_rows() -> None:
    """Ten periods of 8 replications: 4 nodes, 2 SKUs each."""
    sampler = runner(small_factory(skus=2))
    sampler.sample()
    metrics = sampler.metrics.peek_results(sampler.get_metrics())
    assert metrics["num_env_steps_sampled"] == T * B
    assert metrics["num_agent_steps_sampled"]["all"] == T * B * 4
    assert metrics["num_module_steps_sampled"] == {"warehouse": T * B * 2, "store": T * B * 6}
    assert set(metrics["node_cost_per_period"]) == set(sampler.simulator.agent_ids)
    assert metrics["cost_per_period"] == pytest.approx(
        sum(metrics["node_cost_per_period"].values())
    )
    assert 0.5 < metrics["cost_ratio_to_base_policy"] < 2.0


# State


def test_a_restored_runner_goes_on_with_episodes_never_seen() -> None:
    """By its own count; and by the run's count of steps where it has none."""
    sampler = runner()
    sampler.sample()
    state = sampler.get_state()
    assert state["next_episode"] == B
    copy = runner()
    copy.set_state(state)
    # One replication's worth per env step is more than have ever begun.
    assert copy._current_roller().next_episode >= B
    seen = columns(copy)["store"][Columns.OBS][0]
    assert (seen != columns(runner())["store"][Columns.OBS][0]).any()
    restarted = runner()
    restarted.set_state({"num_env_steps_sampled_lifetime": 5 * T * B})
    assert restarted._current_roller().next_episode > 5 * T * B


def test_a_runner_in_mid_episode_is_not_disturbed_by_weights() -> None:
    """Weights come every iteration: only they may change."""
    sampler, undisturbed = runner(), runner()
    for each in (sampler, undisturbed):
        each.sample()
    sampler.set_state(sampler.get_state(components="rl_module"))
    np.testing.assert_array_equal(
        columns(sampler)["store"][Columns.OBS], columns(undisturbed)["store"][Columns.OBS]
    )


@pytest.mark.parametrize("number", [3, 2, 0])
def test_weights_are_taken_whatever_their_number(number: int) -> None:
    """Equal: the same weights with the critic. Lower: an earlier checkpoint."""
    sampler, source = runner(), runner()
    wake(source)
    sampler._weights_seq_no = 3
    weights = source.get_state()["rl_module"]
    sampler.set_state({"rl_module": weights, WEIGHTS_SEQ_NO: number})
    for kind, values in sampler.module.get_state().items():
        np.testing.assert_array_equal(
            values["critic.layers.4.weight"], weights[kind]["critic.layers.4.weight"]
        )


# Trouble


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("what", ["observation", "reward"])
def test_numbers_that_are_not_finite_are_refused_by_name(what: str, value: float) -> None:
    """Node, row, field, period, episode: all that is needed to look it up."""
    sampler = runner(SpoiledFactory(small_factory(), what, value))
    feature = sampler.simulator.feature_names[3]
    with pytest.raises(NonFiniteError) as caught:
        sampler.sample()
    message = str(caught.value)
    expected = f"observation '{feature}'" if what == "observation" else "reward"
    assert message.startswith(f"{expected} of node 'store_001' (store, row 2) is {value}")
    assert "in period 4" in message
    assert "episode 4" in message


def test_huge_but_finite_numbers_pass() -> None:
    """Their sum overflows, they don't."""
    sampler = runner(SpoiledFactory(small_factory(), "reward", 3e38))
    assert sampler.sample()


def test_a_failing_episode_costs_itself_only() -> None:
    """The fragment is full, with episodes begun anew."""
    Flaky.failures = 2
    sampler = runner(FlakyFactory(small_factory()))
    (batch,) = sampler.sample()
    assert batch.env_steps() == T * B
    assert sampler.get_state()["next_episode"] == 3 * B
    assert sampler.metrics.peek("env_failures_lifetime") == 2


def test_too_many_failing_episodes_stop_training() -> None:
    """Naming simulator, seed, episodes, period and cause."""
    Flaky.failures = 1000
    sampler = runner(FlakyFactory(small_factory()))
    with pytest.raises(
        TrainingStopped, match=r"Flaky of runner 0, seed \d+, .* period 0.*lost con"
    ):
        sampler.sample()
    Flaky.failures = 0


def test_asking_for_episodes_is_refused() -> None:
    """RLlib's evaluation asks so; ours is elsewhere."""
    with pytest.raises(ConfigError, match="num_episodes"):
        runner().sample(num_episodes=3)
