"""Artifacts with random weights, written as training exports them, and fixtures of one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from envs.environment.batched_env import feature_names, row_groups
from envs.network.demand import DemandConfig
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.artifact.actor import Actor
from evaluation.artifact.artifact import (
    Artifact,
    Description,
    Quantity,
    load_artifact,
    save_artifact,
)
from evaluation.artifact.network_io import network_hash, scenario_to_plain
from evaluation.recommendation.recommender import Recommender
from tests.envs.networks import one_warehouse

__all__ = ["artifact_folder", "chain", "random_actors", "recommender", "write_artifact"]


def random_actors(scenario: Scenario, seed: int = 0, size: float = 0.5) -> dict[str, Actor]:
    """Untrained networks whose actions differ from 0; size 0: they are the base policy."""
    torch.manual_seed(seed)
    features = len(feature_names(scenario))
    actors = {g.name: Actor(features, g.action_size, (8,)) for g in row_groups(scenario)}
    for actor in actors.values():
        if size:
            for parameter in actor.parameters():
                torch.nn.init.normal_(parameter, std=size)
    return actors


def write_artifact(
    folder: Path, scenario: Scenario, seed: int = 0, size: float = 0.5, network: bool = True
) -> Artifact:
    """Export random networks for a scenario, with the parameters its base policy has."""
    parameters = dict(scenario.policy_params.get(scenario.base_policy, {}))
    description = Description(
        scenario=scenario.name,
        scenario_config={},
        network_sha256=network_hash(scenario),
        observation=tuple(Quantity(name, "1") for name in feature_names(scenario)),
        actions={
            g.name: tuple(Quantity(head, "1") for head in g.heads) for g in row_groups(scenario)
        },
        base_policy={"name": scenario.base_policy, "parameters": parameters},
        config={"seed": seed},
    )
    plain = scenario_to_plain(scenario) if network else None
    return save_artifact(folder, random_actors(scenario, seed, size), description, network=plain)


@pytest.fixture(scope="session")
def chain() -> Scenario:
    """A warehouse, three stores, two items; forecasts learn from sales."""
    return build_scenario(
        one_warehouse(
            name="chain",
            horizon=40,
            demand=DemandConfig("poisson", mean=5.0),
            stores=3,
            skus=2,
            lost_sale_cost=9.0,
            smoothing=0.1,
        )
    )


@pytest.fixture(scope="session")
def artifact_folder(chain: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact") / "policy"
    write_artifact(folder, chain)
    return folder


@pytest.fixture(scope="session")
def recommender(artifact_folder: Path) -> Recommender:
    return Recommender(load_artifact(artifact_folder), version="3", run_id="run")
