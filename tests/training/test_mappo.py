"""MAPPO: critics that see the network and what nobody knows; actors that don't."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from conf.compose import compose
from envs.environment.batched_env import BatchedEnv, feature_names
from envs.errors import ConfigError
from envs.observation.central_view import CENTRAL
from envs.observation.features import FLOW_FEATURES
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.artifact.correction import learned_correction
from evaluation.comparison.rollout import Competitor, play
from tests.settings import as_shipped, training
from tests.training.conftest import small_factory
from training.commands.train import TrainCommand
from training.rllib.algorithms.ppo import PpoConfig
from training.rllib.env_factory import ScenarioEnvFactory, with_central_view
from training.rllib.trainer import build_algorithm, iteration_metrics, trained_actors

pytestmark = pytest.mark.usefixtures("ray_cluster")


def scenario_of(name: str) -> Scenario:
    """As on the command line."""
    return build_scenario(compose(TrainCommand, [f"scenario={name}"]).command.scenario)


def test_central_columns_stand_behind_the_actors_and_tell_the_truth() -> None:
    """Means of each kind, the true market of each SKU, the demand that the period will bring."""
    scenario = scenario_of("two_echelon_dc")
    env, plain = BatchedEnv(scenario, 3, central=True), BatchedEnv(scenario, 3)
    seen, own = env.reset(5), plain.reset(5)
    size = plain.observation_size
    assert np.array_equal(seen[:, :size], own)
    names = list(env.feature_names)
    assert [n.startswith(CENTRAL) for n in names] == [i >= size for i in range(len(names))]
    for group in env.groups:
        first = names.index(f"{CENTRAL}{group.name}_{FLOW_FEATURES[0]}")
        means = own[group.start : group.stop, : len(FLOW_FEATURES)].mean(axis=0)
        assert seen[0, first : first + len(FLOW_FEATURES)] == pytest.approx(means, abs=1e-5)
    regime = scenario.network.regimes[2]
    columns = [names.index(f"{CENTRAL}{regime.id}_{state.name}") for state in regime.states]
    assert np.array_equal(seen[0, columns].argmax(axis=0), env.simulator.trace.true_regime[2])
    assert (seen[0, columns].sum(axis=0) == 1.0).all()
    store = env.net.customer_pair[7]
    to_come = seen[store, names.index(f"{CENTRAL}demand_to_come")]
    coming = env.simulator.trace.demand[7] / env.net.demand.customer_mean[7] - 1.0
    assert to_come == pytest.approx(coming, rel=1e-5)
    env.step(env.no_action)
    assert env.flows.demand[store] == pytest.approx(
        (coming + 1.0) * env.net.demand.customer_mean[7]
    )


def _explained(algorithm: PpoConfig, scenario: Scenario) -> float:
    """Variance of returns that the critic explains after some learning."""
    resources = as_shipped("resources", envs_per_runner=32, fragment_periods=32)
    config = training(algorithm, resources=resources)
    trainer = build_algorithm(ScenarioEnvFactory(scenario), config)
    try:
        found = [
            iteration_metrics(trainer.train())["learner/store_vf_explained_var"] for _ in range(30)
        ]
        actors = trained_actors(trainer)
    finally:
        trainer.stop()
    assert actors["store"].observation_size == len(feature_names(scenario))
    name = scenario.base_policy
    rule = Competitor(name, name, scenario.policy_params.get(name, {})).build(scenario)
    played = play(scenario, rule, learned_correction(actors, scenario), traces=4, seed=1)
    assert np.isfinite(played.cost).all()
    return float(np.mean(found[-10:]))


def test_the_critic_explains_more_where_the_regime_is_hidden() -> None:
    """Same seed, same samples at first; the actors fit the scenario without its columns."""
    scenario = dataclasses.replace(scenario_of("hidden_regime"), horizon=64, warm_up=20)
    settings = {"learning_rate": 1e-3, "minibatch_rows": 512, "discount": 0.99}
    plain = _explained(as_shipped("algorithm=ppo", **settings), scenario)
    central = _explained(as_shipped("algorithm=mappo", **settings), scenario)
    assert central > plain + 0.02


def test_a_factory_without_a_scenario_is_refused() -> None:
    """It cannot be told to append columns."""
    with pytest.raises(ConfigError, match="needs a ScenarioEnvFactory; got function"):
        with_central_view(lambda batch_size: small_factory()(batch_size))
