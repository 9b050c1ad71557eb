"""Every model of conf/model/: trained by both algorithms, exported, transferred, from the shell."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conf.compose import compose
from echelon import main
from envs.environment.batched_env import BatchedEnv, feature_names, row_groups
from envs.errors import ArtifactError, ConfigError
from envs.observation.companions import CompanionsOf
from envs.scenario import Scenario
from evaluation.artifact.actor import Actor
from evaluation.artifact.artifact import Description, Quantity, load_artifact, save_artifact
from evaluation.artifact.correction import learned_correction
from evaluation.artifact.models import MODELS
from evaluation.artifact.network_io import network_hash, scenario_from_plain, scenario_to_plain
from tests.settings import as_shipped, training
from tests.training.conftest import small_factory
from training.commands.train import TrainCommand
from training.config import ModelConfig
from training.rllib.env_factory import ScenarioEnvFactory
from training.rllib.modules import seen_by
from training.rllib.trainer import build_algorithm, trained_actors

pytestmark = pytest.mark.usefixtures("ray_cluster")

FILES = sorted(path.stem for path in Path("conf/model").glob("*.yaml"))
ALGORITHMS: dict[str, dict[str, Any]] = {
    "ppo": {"minibatch_rows": 64, "epochs": 2, "discount": 0.99},
    "pathwise": {"periods": 6, "tail": 2},
}


def model(name: str) -> ModelConfig:
    """As shipped."""
    composed = compose(TrainCommand, ["scenario=lost_sales", f"model={name}"])
    config = composed.command.model
    assert isinstance(config, ModelConfig)
    return config


def trained(scenario: Scenario, config: ModelConfig, algorithm: str) -> dict[str, Actor]:
    """After two iterations."""
    settings = as_shipped(f"algorithm={algorithm}", **ALGORITHMS[algorithm])
    resources = as_shipped("resources", envs_per_runner=8, fragment_periods=6)
    built = build_algorithm(ScenarioEnvFactory(scenario), training(settings, config, resources))
    for _ in range(2):
        built.train()
    actors = trained_actors(built)
    built.stop()
    return actors


def saved(folder: Path, actors: dict[str, Actor], scenario: Scenario) -> Path:
    heads = {group.name: group.heads for group in row_groups(scenario)}
    description = Description(
        scenario=scenario.name,
        scenario_config={},
        network_sha256=network_hash(scenario),
        observation=tuple(Quantity(name, "1") for name in feature_names(scenario)),
        actions={kind: tuple(Quantity(head, "1") for head in heads[kind]) for kind in heads},
        base_policy={"name": scenario.base_policy, "parameters": {}},
        config={},
    )
    save_artifact(folder, actors, description, network=scenario_to_plain(scenario))
    return folder


def test_every_network_has_a_model() -> None:
    """What is registered can be asked for by name."""
    assert {model(name).form for name in FILES} == set(MODELS)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", FILES)
def test_models_learn_and_travel(name: str, algorithm: str, tmp_path: Path) -> None:
    """Both algorithms move the weights; what is loaded back acts in the scenario as before."""
    config = model(name)
    scenario = seen_by(small_factory(stores=3, skus=2).scenario, config)
    actors = trained(scenario, config, algorithm)
    assert {actor.form for actor in actors.values()} == {config.form}
    artifact = load_artifact(saved(tmp_path / "policy", actors, scenario))
    assert artifact.network is not None
    same = scenario_from_plain(artifact.network)
    assert feature_names(same) == feature_names(scenario)
    before, after = (
        learned_correction(networks, scenario) for networks in (actors, artifact.policy.actors)
    )
    env = BatchedEnv(same, 4)
    observation = env.reset(0)
    for _ in range(3):
        action = before(observation)
        assert np.array_equal(after(observation), action)
        assert np.abs(action[:, 0]).min() > 0.0
        observation, _, _ = env.step(action)


def test_attention_acts_in_larger_networks() -> None:
    """Trained on 3 stores, on 7 unseen ones; weights of single rows are refused there."""
    for name in ("graph_attention", "per_node"):
        config = model(name)
        small, large = (seen_by(small_factory(stores=n).scenario, config) for n in (3, 7))
        correct = learned_correction(trained(small, config, "ppo"), large)
        env = BatchedEnv(large, 4)
        observation = env.reset(0)
        if name == "per_node":
            with pytest.raises(ArtifactError, match="trained for rows 0 to 2"):
                correct(observation)
        else:
            assert np.isfinite(correct(observation)).all()


def test_a_model_asks_for_what_it_sees() -> None:
    """At least that: what a scenario shows already stays."""
    scenario = small_factory().scenario
    rich = replace(scenario, memory=30, companions=9, identity=True)
    asked = as_shipped(
        "model", form="graph_attention", memory=24, companions=4, companions_of=CompanionsOf.node
    )
    seen = seen_by(scenario, asked)
    assert (seen.memory, seen.companions, seen.companions_of) == (24, 4, CompanionsOf.node)
    assert not seen.identity
    more = seen_by(rich, asked)
    assert (more.memory, more.companions, more.companions_of) == (30, 9, CompanionsOf.node)
    assert more.identity
    assert seen_by(rich, as_shipped("model")) == rich
    with pytest.raises(ConfigError, match=r"set model\.companions"):
        seen_by(scenario, as_shipped("model", form="graph_attention"))
    with pytest.raises(ConfigError, match=r"Did you mean 'recurrent'"):
        seen_by(scenario, as_shipped("model", form="recurent"))


def test_from_the_shell_to_another_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`echelon train model=graph_attention`, then `echelon evaluate` on more stores: the scenario
    shows what the artifact's networks saw, without being told."""
    quiet = ["scenario=one_warehouse_n_stores", "scenario.horizon=20", "tracking.enabled=false"]
    train = [
        "scenario.stores=3", "model=graph_attention", "algorithm.iterations=2",
        "algorithm.periods=8", "algorithm.tail=2", "resources.envs_per_runner=8", "tune.traces=8",
        "tune.budget=4", "validation.traces=4", "test.traces=8",
        f"out={tmp_path / 'trained'}",
    ]  # fmt: skip
    assert main(["train", *quiet, *train]) == 0
    assert "Not registered: tracking.enabled=false." in capsys.readouterr().out
    artifact = tmp_path / "trained" / "policy"
    manifest = load_artifact(artifact).manifest
    assert {item["name"] for item in manifest["networks"].values()} == {"graph_attention"}
    evaluate = [
        "scenario.stores=7", "policies=[learned,echelon_base_stock]", f"artifact={artifact}",
        "traces=8", "tune.traces=8", "tune.budget=4", f"out={tmp_path / 'more'}",
    ]  # fmt: skip
    assert main(["evaluate", *quiet, *evaluate]) == 0
    results = json.loads((tmp_path / "more" / "evaluation.json").read_text())["policies"]
    cost = {name: result["cost_per_period"]["mean"] for name, result in results.items()}
    assert cost["learned"] < 1.3 * cost["echelon_base_stock"]
