"""Artifacts with random weights, written as training exports them, and fixtures of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from envs.environment.batched_env import feature_names, row_groups
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, LaneInput
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
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
from evaluation.recommendation.schemas import RecommendationRequest
from tests.envs.networks import one_warehouse

__all__ = [
    "artifact_folder",
    "chain",
    "random_actors",
    "recommender",
    "request",
    "season",
    "seasonal",
    "write_actors",
    "write_artifact",
]


def request(**fields: Any) -> RecommendationRequest:
    """Through JSON, as a caller sends it, for all lines."""
    body = {"stock": [], "scope": {}, **fields}
    return RecommendationRequest.model_validate_json(json.dumps(body))


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
    plain = scenario_to_plain(scenario) if network else None
    return write_actors(
        folder, scenario, random_actors(scenario, seed, size), {"seed": seed}, plain
    )


def write_actors(
    folder: Path,
    scenario: Scenario,
    actors: dict[str, Actor],
    config: dict[str, Any],
    network: dict[str, Any] | None,
) -> Artifact:
    """Export these networks for a scenario, with the parameters its base policy has."""
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
        config=config,
    )
    return save_artifact(folder, actors, description, network=network)


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


@pytest.fixture
def season() -> Scenario:
    """One shop, no demand on Sundays, a calendar of 371 real days; two ways to be supplied."""
    days = np.arange(371)
    factor = np.where(days % 7 == 0, 0.0, 7 / 6)
    demand = Demand(5.0, 2.0, history=np.zeros(371), multiplier=factor)
    inputs = (LaneInput("depot", "tea"),)
    limits: dict[str, Any] = {"minimum_order": 10.0, "maximum_order": 25.0, "order_multiple": 4.0}
    network = SupplyNetwork(
        (Node("depot", "depot"), Node("shop", "store")),
        (Sku("tea", 1.0),),
        (
            Stock("depot", "tea", holding_cost=0.5),
            Stock("shop", "tea", holding_cost=1.0, backlog_cost=9.0, demand=demand),
        ),
        (
            Lane("mill > depot", "depot", "tea", LeadTime(3), unit_cost=2.0),
            Lane("depot > shop", "shop", "tea", LeadTime(1), inputs, **limits),
            Lane("mill > shop", "shop", "tea", LeadTime(2), unit_cost=3.0, base_share=0.5),
        ),
    )
    return Scenario("season", network, horizon=14, smoothing=0.1, start_date="2017-01-01")


@pytest.fixture
def seasonal(season: Scenario, tmp_path: Path) -> Recommender:
    return Recommender(write_artifact(tmp_path / "season", season))
