"""A policy trained on a few stores acts in larger networks it has not seen, with no code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conf.compose import compose
from echelon import main
from envs.environment.batched_env import BatchedEnv
from envs.errors import ArtifactError, ConfigError
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.artifact.actor import Actor
from evaluation.artifact.artifact import load_artifact
from evaluation.artifact.correction import learned_correction
from evaluation.artifact.transfer import base_parameters, parameters_for
from evaluation.commands.evaluate import EvaluateCommand
from tests.settings import as_shipped, training
from training.rllib.env_factory import ScenarioEnvFactory
from training.rllib.trainer import build_algorithm, trained_actors

LEVELS = {"level": {"warehouse": 160.0, "store": 20.0}}


def stores(count: int, **keys: Any) -> Scenario:
    """The shipped warehouse with so many stores, and changed keys."""
    changes = [f"scenario.{key}={value}" for key, value in {"stores": count, **keys}.items()]
    composed = compose(EvaluateCommand, ["scenario=one_warehouse_n_stores", *changes])
    return build_scenario(composed.command.scenario)


def moved(old: Scenario, new: Scenario, levels: dict[str, Any] | None = None) -> dict[str, float]:
    """Levels of the base policy on another network."""
    result = parameters_for(new, "echelon_base_stock", levels or LEVELS, old)["level"]
    assert isinstance(result, dict)
    return result


@pytest.fixture(scope="module")
def actors() -> dict[str, Actor]:
    """Trained on five stores: not for long, but they act."""
    config = training(
        algorithm=as_shipped("algorithm=ppo", minibatch_rows=1024, discount=0.99),
        resources=as_shipped("resources", envs_per_runner=32, fragment_periods=20),
    )
    algorithm = build_algorithm(ScenarioEnvFactory(stores(5)), config)
    for _ in range(8):
        algorithm.train()
    trained = trained_actors(algorithm)
    algorithm.stop()
    return trained


def test_evaluate_an_artifact_with_more_stores(tmp_path: Path) -> None:
    """Both commands as a user gives them; the base policy's levels grow with the network."""
    quiet = ["scenario=one_warehouse_n_stores", "scenario.horizon=20", "tracking.enabled=false"]
    train = [
        "scenario.stores=4", "algorithm=ppo", "algorithm.iterations=2",
        "resources.envs_per_runner=8", "tune.traces=8", "tune.budget=4",
        "validation.traces=4", "test.traces=8", "register=false", f"out={tmp_path / 'trained'}",
    ]  # fmt: skip
    assert main(["train", *quiet, *train]) == 0
    artifact = tmp_path / "trained" / "policy"
    evaluate = [
        "scenario.stores=12", "policies=[learned,echelon_base_stock]", f"artifact={artifact}",
        "traces=8", "tune.traces=8", "tune.budget=4", f"out={tmp_path / 'more'}",
    ]  # fmt: skip
    assert main(["evaluate", *quiet, *evaluate]) == 0
    results = json.loads((tmp_path / "more" / "evaluation.json").read_text())["policies"]
    before = load_artifact(artifact).manifest["base_policy"]["parameters"]["level"]
    after = results["learned"]["parameters"]["level"]
    assert after["store"] == before["store"]
    assert 2.7 < after["warehouse"] / before["warehouse"] < 3.3
    cost = {name: result["cost_per_period"]["mean"] for name, result in results.items()}
    assert cost["learned"] < 1.15 * cost["echelon_base_stock"]
    assert base_parameters(load_artifact(artifact), stores(4, horizon=20)) == {"level": before}


@pytest.mark.parametrize("count", [50, 1000])
def test_trained_networks_act_on_any_number_of_stores(count: int, actors: dict[str, Actor]) -> None:
    """Rows, not networks, are what an actor knows."""
    scenario = stores(count)
    env, correct = BatchedEnv(scenario, 4), learned_correction(actors, scenario)
    observation = env.reset(0)
    for _ in range(5):
        action = correct(observation)
        assert action.shape == (count + 1, env.action_size, 4)
        assert np.isfinite(action).all()
        assert action[1:].std() > 0.0
        observation, _, _ = env.step(action)


def test_what_does_not_fit_is_refused(actors: dict[str, Actor]) -> None:
    """Other features, other heads, another node kind: each is named."""
    longer = stores(6, memory=4)
    observation = BatchedEnv(longer, 1).reset(0)
    with pytest.raises(ArtifactError, match=r"got \d+ features"):
        learned_correction(actors, longer)(observation)
    scenario = stores(6)
    observation = BatchedEnv(scenario, 1).reset(0)
    with pytest.raises(ArtifactError, match="no actor for node kind 'store'"):
        learned_correction({"warehouse": actors["warehouse"]}, scenario)(observation)
    network = scenario.network
    shops = [replace(n, kind="shop") if n.kind == "store" else n for n in network.nodes]
    other = replace(scenario, network=replace(network, nodes=tuple(shops)))
    with pytest.raises(ConfigError, match="nodes of kind 'shop'; the policy was trained with"):
        moved(stores(3), other)


def test_levels_of_the_same_pairs_stay() -> None:
    """Dearer sales lost, or another seed of demand: the policy that was trained is meant."""
    assert moved(stores(5), stores(5, lost_sale_cost=20)) == LEVELS["level"]


def test_levels_grow_as_the_tuner_measures_them() -> None:
    """Five stores' level of 160: 150 of mean demand, and what is left for its spread.

    Independent demands pool, by the root of the number of stores; common ones add up.
    """
    alone, common = (
        moved(stores(5, correlation=rho), stores(20, correlation=rho)) for rho in (0.0, 0.98)
    )
    assert alone["store"] == common["store"] == 20.0
    assert alone["warehouse"] == pytest.approx(600 + 2 * 10, abs=1.0)
    assert common["warehouse"] == pytest.approx(600 + 4 * 10, abs=2.0)


def test_levels_of_single_stores_are_averaged_per_kind() -> None:
    """Stores the policy has not seen get what the seen ones have in the mean."""
    few = stores(3)
    names = [node.id for node in few.network.nodes if node.kind == "store"]
    levels = {"warehouse": 90.0, **dict(zip(names, (17.0, 20.0, 23.0), strict=True))}
    assert moved(few, stores(7), {"level": levels})["store"] == 20.0
