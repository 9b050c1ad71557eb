"""Artifacts for the tests of serving, written as training exports them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient

from envs.environment.batched_env import feature_names, row_groups
from envs.scenario import Scenario
from evaluation.artifact.actor import Actor
from evaluation.artifact.artifact import Artifact, Description, Quantity, save_artifact
from evaluation.artifact.network_io import network_hash, scenario_to_plain
from evaluation.artifact.registry import resolve_artifact
from evaluation.tracking.mlflow_destination import TrackingConfig
from evaluation.tracking.tracker import Tracker

__all__ = ["Registry", "random_actors", "spoil_weights", "wait_for", "write_artifact"]


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


class Registry:
    """A real model registry in a folder, filled as `echelon train` fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        self._count = 0

    def register(self, policy: Path, alias: str | None = "champion") -> str:
        """Register an artifact folder as the next version of `echelon`; returns the version."""
        self._count += 1
        config = TrackingConfig(uri=self.uri, system_metrics=False, flush_timeout=30.0)
        with Tracker(config, self.folder / f"run_{self._count}") as tracker:
            tracker.start(f"run {self._count}")
            version = tracker.register_model("echelon", policy, alias=alias)
        assert version is not None
        return version

    def files_of(self, version: str) -> Path:
        """Where the registry keeps the files of a version."""
        return resolve_artifact(version, tracking_uri=self.uri).folder

    def promote(self, version: str, alias: str = "champion") -> None:
        """Move the alias."""
        MlflowClient(self.uri).set_registered_model_alias("echelon", alias, version)


def spoil_weights(folder: Path) -> None:
    """Flip one bit of the weights: what a bad disk does."""
    path = folder / "policy.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def wait_for(condition: Any, seconds: float, what: str) -> None:
    """Wait until the condition holds; fail with `what` after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.05)
