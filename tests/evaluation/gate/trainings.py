"""What a training leaves, made by hand: policies of one shop, and a registry they are put into."""

from __future__ import annotations

from pathlib import Path

import torch
from mlflow import MlflowClient

from envs.network.demand import DemandConfig
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.single_node import SingleNodeConfig
from evaluation.artifact.network_io import scenario_to_plain
from evaluation.gate.config import GateConfig
from tests.evaluation.recommendation.artifacts import random_actors, write_actors

MODEL = "echelon-shop"
GATE = GateConfig(
    traces=128, target_fill_rate=None, service_margin=0.005, segment_margin=0.02, tie_margin=0.01
)


def shop(mean: float = 5.0, level: float = 12.0) -> Scenario:
    """A shop that loses sales. Its rule orders up to 12, where 16 would be best: a correction of
    0.5 makes up for that."""
    return build_scenario(
        SingleNodeConfig(
            kind="single_node", base_policy="base_stock", name="shop", horizon=30, warm_up=3,
            demand=DemandConfig("poisson", mean=mean), lead_time=2, lost_sale_cost=4.0,
            holding_cost=1.0, policy_params={"base_stock": {"level": level}},
        )
    )  # fmt: skip


def train(
    folder: Path, correction: float, noise: float = 0.0, scenario: Scenario | None = None
) -> Path:
    """Export a policy whose correction is this number, with noise on the weights."""
    scenario = scenario or shop()
    actors = random_actors(scenario, seed=int(1e6 * abs(correction)), size=noise)
    with torch.no_grad():
        for actor in actors.values():
            list(actor.parameters())[-1].fill_(correction)
    write_actors(folder, scenario, actors, {}, scenario_to_plain(scenario))
    return folder


def register(uri: str, policy: Path) -> str:
    """Make it the next version, by MLflow's client: a tracked run takes a second more."""
    client = MlflowClient(uri)
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(MODEL)
    version = str(client.create_model_version(MODEL, policy.as_uri(), run_id=None).version)
    client.set_registered_model_alias(MODEL, "challenger", version)
    return version
