"""training/rllib/ppo.py: whole iterations, here and on Ray workers."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from envs.errors import ConfigError, NonFiniteError, TrainingStopped
from envs.network.demand import DemandConfig
from envs.scenarios import build_scenario
from envs.scenarios.single_node import SingleNodeConfig
from tests.settings import as_shipped, training
from tests.training.conftest import small_config, small_factory
from tests.training.faulty import HangingFactory, SpoiledFactory
from training.rllib.algorithms.ppo import PpoConfig
from training.rllib.env_factory import ScenarioEnvFactory
from training.rllib.ppo import BatchedPPO
from training.rllib.ppo_learner import minibatches
from training.rllib.saved_state import restore_state, take_state
from training.rllib.trainer import (
    build_algorithm,
    configure,
    iteration_metrics,
    trained_actors,
)

pytestmark = pytest.mark.usefixtures("ray_cluster")


def fingerprint(algorithm: Algorithm) -> str:
    """SHA-256 of every weight of the learner."""
    digest = hashlib.sha256()
    state = algorithm.learner_group.get_state(components="learner/rl_module")
    for kind, weights in sorted(state["learner"]["rl_module"].items()):
        for name, values in sorted(weights.items()):
            digest.update(f"{kind}/{name}".encode() + np.asarray(values).tobytes())
    return digest.hexdigest()


def trained(iterations: int = 2, seed: int = 0) -> tuple[BatchedPPO, str]:
    algorithm = build_algorithm(small_factory(), small_config(seed))
    for _ in range(iterations):
        algorithm.train()
    return algorithm, fingerprint(algorithm)


# In this process


def test_the_same_seed_twice_gives_the_same_weights_bit_for_bit() -> None:
    """And training does change them; and another seed gives others."""
    algorithm, first = trained()
    algorithm.stop()
    assert first == trained()[1]
    assert first != trained(iterations=1)[1]
    assert first != trained(seed=1)[1]


def test_an_iteration_reports_our_counters() -> None:
    """10 periods of 8 replications of 4 nodes, twice."""
    algorithm = build_algorithm(small_factory(skus=2), small_config())
    algorithm.train()
    numbers = iteration_metrics(algorithm.train())
    assert numbers["sampling/num_env_steps_sampled_lifetime"] == 2 * 80
    assert numbers["sampling/num_agent_steps_sampled_lifetime"] == 2 * 80 * 4
    assert numbers["sampling/num_module_steps_sampled_lifetime"] == 2 * 80 * 8
    assert 0.5 < numbers["sampling/cost_ratio_to_base_policy"] < 2.0
    assert {"reward/store", "learner/warehouse_policy_loss"} < set(numbers)
    assert len(numbers) < 30, "a tracking server is asked for each of them"


def test_the_trained_actors_are_those_that_sample() -> None:
    """After the last update, not before it."""
    algorithm, _ = trained()
    observation = torch.randn(5, algorithm.env_runner.env.observation_size)
    for kind, actor in trained_actors(algorithm).items():
        module = algorithm.get_module(kind)
        expected = module.action_inputs(observation).chunk(2, dim=-1)[0]
        torch.testing.assert_close(actor(observation), expected)
        assert (expected != 0).any(), "nothing was learned"


def test_the_critic_starts_with_the_base_policys_return() -> None:
    """Rewards of a row are about -1 per period, so returns are about -1 / (1 - gamma)."""
    algorithm = build_algorithm(small_factory(), small_config())
    state = algorithm._runner_state()["rl_module"]
    for kind, (offset, scale) in algorithm.env_runner.base_run().value_units.items():
        assert state[kind]["value_offset"] == pytest.approx(offset)
        assert state[kind]["value_scale"] == pytest.approx(scale)
        assert -1000.0 < offset < -10.0


def test_a_batch_larger_than_a_minibatch_in_rows_but_not_in_env_steps_is_accepted() -> None:
    """PPO's own check compares the two."""
    algorithm = build_algorithm(small_factory(), small_config(minibatch_rows=200))
    assert algorithm.config.minibatch_size == 200 > algorithm.config.train_batch_size_per_learner
    algorithm.train()


def test_no_samples_for_three_iterations_stops_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """RLlib would return from train() for ever."""
    algorithm = build_algorithm(small_factory(), small_config())
    monkeypatch.setattr(algorithm, "_sample", list)
    algorithm.train()
    algorithm.train()
    with pytest.raises(TrainingStopped, match="no runner has given a sample for 3 iterations"):
        algorithm.train()


# Batches


def test_every_row_is_used_once_per_epoch_whatever_the_size_of_its_kind() -> None:
    """Twenty warehouse rows beside 403 store rows."""
    sizes = {"warehouse": 20, "store": 403}
    batch = MultiAgentBatch(
        {kind: SampleBatch({Columns.OBS: torch.arange(n)}) for kind, n in sizes.items()}, 10
    )
    generator = torch.Generator().manual_seed(0)
    parts = list(minibatches(batch, epochs=3, parts=7, generator=generator))
    assert len(parts) == 21
    for kind, size in sizes.items():
        shares = [part.policy_batches[kind][Columns.OBS].tolist() for part in parts]
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        assert Counter(row for share in shares for row in share) == dict.fromkeys(range(size), 3)
        assert shares[:7] != shares[7:14], "not shuffled"


# Checkpoints


def test_a_restored_algorithm_continues(tmp_path: Path) -> None:
    """Weights and counters as saved, episodes never seen before."""
    algorithm, saved = trained()
    take_state(algorithm).write(tmp_path)
    other = build_algorithm(small_factory(), small_config(seed=9))
    restore_state(other, tmp_path)
    assert fingerprint(other) == saved
    begun = algorithm.env_runner.get_state()["next_episode"]
    numbers = iteration_metrics(other.train())
    assert numbers["sampling/num_env_steps_sampled_lifetime"] == 3 * 80
    assert other.training_iteration == 3
    assert other.env_runner._roller.next_episode >= begun + 8
    assert fingerprint(other) != saved


def test_going_back_to_an_earlier_checkpoint_takes_its_weights(tmp_path: Path) -> None:
    """In the same algorithm too, where RLlib's counters say the weights are newer."""
    algorithm, saved = trained()
    take_state(algorithm).write(tmp_path)
    algorithm.train()
    assert fingerprint(algorithm) != saved
    restore_state(algorithm, tmp_path)
    assert fingerprint(algorithm) == saved
    for kind, weights in algorithm._runner_state()["rl_module"].items():
        sampling = algorithm.get_module(kind).get_state()
        np.testing.assert_array_equal(
            sampling["actor.layers.4.weight"], weights["actor.layers.4.weight"]
        )


# RLlib's own algorithm and sampler


@pytest.mark.parametrize("output", ["episodes", "agents"])
def test_rllibs_own_ppo_trains_the_same_modules(output: str) -> None:
    """From our episodes of rows, and from its own sampler's dicts of nodes."""
    config = small_config()
    rllib = configure(PPOConfig(), small_factory(skus=2), config, output)
    assert isinstance(config.algorithm, PpoConfig)
    config.algorithm.fill(rllib)
    algorithm = rllib.build_algo()
    before = fingerprint(algorithm)
    result = algorithm.train()
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] == 80
    assert fingerprint(algorithm) != before
    algorithm.stop()


@pytest.mark.nightly  # starts worker processes
@pytest.mark.parametrize("rllib", [IMPALAConfig, APPOConfig])
def test_rllibs_asynchronous_algorithms_train_on_our_episodes(rllib: type[IMPALAConfig]) -> None:
    """Unmodified, from a remote runner."""
    config = configure(rllib(), small_factory(), small_config(runners=1), "episodes")
    config.reporting(min_time_s_per_iteration=1)
    algorithm = config.build_algo()
    before = fingerprint(algorithm)
    while fingerprint(algorithm) == before:
        result = algorithm.train()
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] >= 80
    algorithm.stop()


# On Ray workers


@pytest.mark.nightly  # starts worker processes
def test_two_learners_share_a_batch_and_agree() -> None:
    """They average their gradients, so their weights stay equal."""
    config = small_config(minibatch_rows=50)
    config = replace(config, resources=replace(config.resources, learners=2))
    algorithm = build_algorithm(small_factory(), config)
    algorithm.train()
    numbers = iteration_metrics(algorithm.train())
    assert numbers["sampling/num_env_steps_sampled_lifetime"] == 2 * 80
    states = [
        result.get()
        for result in algorithm.learner_group.foreach_learner(
            lambda learner: learner.module.get_state()
        )
    ]
    assert len(states) == 2
    for kind, weights in states[0].items():
        for name, values in weights.items():
            np.testing.assert_array_equal(values, states[1][kind][name])
    last = trained_actors(algorithm)["store"].state_dict()["layers.4.weight"]
    assert (last != 0).any(), "nothing was learned"
    algorithm.stop()


@pytest.mark.nightly  # starts worker processes
def test_samples_go_to_the_learners_alone_and_what_one_cannot_fetch_is_left_out() -> None:
    """The driver knows where they lie; the steps are those without the lost sample."""

    class Cut:
        def off(self) -> None:
            threading.Event().wait()

    cut, weights = ray.remote(Cut).remote(), []
    for number_lost in (0, 1):
        config = small_config(minibatch_rows=50, runners=1)
        resources = replace(config.resources, learners=2, sample_timeout=5.0)
        config = replace(config, resources=resources)
        algorithm = build_algorithm(small_factory(), config)
        samples = algorithm._sample()
        assert [type(part) for part in samples[0].parts] == [ray.ObjectRef] * 2
        again = ray.put(ray.get(samples[0].parts[0]))
        samples += [samples[0]._replace(parts=[again, cut.off.remote()])] * number_lost
        algorithm._sample = lambda samples=samples: samples
        algorithm.train()
        weights.append(fingerprint(algorithm))
        algorithm.stop()
    ray.kill(cut)
    assert weights[0] == weights[1]


def pids(algorithm: BatchedPPO) -> list[int]:
    return algorithm.env_runner_group.foreach_env_runner(
        lambda _: os.getpid(), local_env_runner=False
    )


@pytest.mark.nightly  # starts three worker processes
def test_two_runners_sample_twice_as_much_and_survive_a_kill() -> None:
    """Different episodes each; when one is killed the other fills its place."""
    algorithm = build_algorithm(small_factory(), small_config(runners=2))
    numbers = iteration_metrics(algorithm.train())
    assert numbers["sampling/num_env_steps_sampled_lifetime"] == 2 * 80
    seeds = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: runner.stream_seed, local_env_runner=False
    )
    assert len(set(seeds)) == 2
    os.kill(pids(algorithm)[0], signal.SIGKILL)
    numbers = iteration_metrics(algorithm.train())
    assert numbers["sampling/num_env_steps_sampled_lifetime"] == 4 * 80
    assert numbers["learner/store_policy_loss"] is not None
    algorithm.stop()


def test_a_remote_runners_refusal_reaches_the_driver() -> None:
    """RLlib alone would drop it, restart the runner and go on for ever."""
    algorithm = build_algorithm(SpoiledFactory(small_factory()), small_config(runners=1))
    with pytest.raises(NonFiniteError, match="of node 'store_001'"):
        algorithm.train()
    algorithm.stop()


@pytest.mark.nightly  # starts three worker processes
def test_a_hanging_runner_is_replaced_and_does_not_hold_the_others(tmp_path: Path) -> None:
    """One deadline, not one per iteration; stopping does not wait for the hour that it hangs."""
    marker = tmp_path / "hang"
    config = replace(
        small_config(runners=2),
        resources=as_shipped(
            "resources", env_runners=2, envs_per_runner=8, fragment_periods=10, sample_timeout=5.0
        ),
    )
    algorithm = build_algorithm(HangingFactory(small_factory(), str(marker)), config)
    algorithm.train()
    before = set(pids(algorithm))
    marker.touch()
    numbers = iteration_metrics(algorithm.train())
    assert not marker.exists(), "nothing hung"
    assert numbers["sampling/num_env_steps_sampled_lifetime"] == 4 * 80
    assert algorithm.env_runner_group.num_healthy_remote_workers() == 1
    while algorithm.env_runner_group.num_healthy_remote_workers() < 2:
        algorithm.train()
    assert len(set(pids(algorithm)) - before) == 1
    started = time.monotonic()
    algorithm.stop()
    assert time.monotonic() - started < 600.0


@pytest.mark.nightly  # starts worker processes again and again
def test_the_only_runner_may_die_once_but_not_for_good() -> None:
    """Its restart is waited for; when it can't come back training stops."""
    algorithm = build_algorithm(
        small_factory(),
        replace(
            small_config(),
            resources=as_shipped(
                "resources",
                env_runners=1,
                envs_per_runner=8,
                fragment_periods=10,
                restart_wait=60.0,
            ),
        ),
    )
    algorithm.train()
    os.kill(pids(algorithm)[0], signal.SIGKILL)
    algorithm.train()  # the death is noticed here: what was asked of the runner is lost
    numbers = iteration_metrics(algorithm.train())
    assert numbers["sampling/num_env_steps_sampled_lifetime"] >= 2 * 80
    manager = algorithm.env_runner_group._worker_manager
    for runner, actor in manager.actors().items():
        ray.kill(actor, no_restart=True)
        manager.set_actor_state(runner, healthy=False)
    resources = algorithm.config.env_config["resources"]
    algorithm.config.env_config["resources"] = replace(resources, restart_wait=1.0)
    algorithm.train()
    algorithm.train()
    with pytest.raises(TrainingStopped, match=r"for 3 iterations \(0 of 1 runners are alive"):
        algorithm.train()
    algorithm.stop()


def test_a_badly_set_base_policy_is_corrected() -> None:
    """A store that holds far too little: a tenth of the cost goes within seconds."""
    scenario = build_scenario(
        SingleNodeConfig(
            kind="single_node",
            base_policy="forecast_base_stock",
            name="too low",
            lost_sale_cost=9.0,
            demand=DemandConfig("poisson", mean=5.0),
            horizon=50,
            warm_up=10,
            policy_params={"forecast_base_stock": {"safety_factor": -1.0}},
            lead_time=2,
            holding_cost=1.0,
        )
    )
    config = training(
        algorithm=as_shipped("algorithm=ppo", learning_rate=1e-3, discount=0.95),
        resources=as_shipped("resources", envs_per_runner=128, fragment_periods=25),
    )
    algorithm = build_algorithm(ScenarioEnvFactory(scenario), config)
    ratios = [
        iteration_metrics(algorithm.train())["sampling/cost_ratio_to_base_policy"]
        for _ in range(60)
    ]
    assert np.mean(ratios[-5:]) < 0.9


# Settings


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("algorithm=ppo", {"learning_rate": 0.0}, "learning_rate is 0.0"),  # nothing is learned
        ("algorithm=ppo", {"discount": 1.0}, "discount is 1.0"),  # infinite values
        ("algorithm=ppo", {"discount": 1.1}, "discount is 1.1"),
        ("algorithm=ppo", {"epochs": 2.5}, "epochs is 2.5; expected a whole number"),
        ("algorithm=ppo", {"epochs": True}, "epochs is True"),
        ("algorithm=ppo", {"gae_lambda": float("nan")}, "gae_lambda is nan"),
        ("model", {"hidden": [64, 0]}, "hidden is 0"),
        ("model", {"initial_std": 0.7}, "initial_std is 0.7"),  # above highest_std
        ("model", {"initial_std": 0.6}, "equal to model.highest_std"),  # infinite logit
        ("resources", {"envs_per_runner": 0}, "envs_per_runner is 0"),
    ],
)
def test_settings_out_of_range_are_refused(
    section: str, values: dict[str, object], message: str
) -> None:
    """With the name, what was got and what was wanted."""
    with pytest.raises(ConfigError) as caught:
        as_shipped(section, **values)
    assert message in str(caught.value)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed is -1"):
        small_config(seed=-1)
