"""Artifacts for the tests of serving, written as training exports them."""

from __future__ import annotations

from pathlib import Path

import torch

from envs.batched_env import row_groups
from envs.observation import compile_observation
from envs.policies import build_policy
from envs.scenario import Scenario
from evaluation.actor import Actor
from evaluation.artifact import Artifact, Description, Quantity, save_artifact
from evaluation.network_io import network_hash, scenario_to_plain

__all__ = ["random_actors", "write_artifact"]


def random_actors(scenario: Scenario, seed: int = 0, size: float = 0.5) -> dict[str, Actor]:
    """Untrained networks whose actions differ from 0; size 0: they are the base policy."""
    torch.manual_seed(seed)
    features = len(compile_observation(scenario.compiled)[1])
    actors = {g.name: Actor(features, g.action_size, (8,)) for g in row_groups(scenario)}
    for actor in actors.values():
        if size:
            for parameter in actor.parameters():
                torch.nn.init.normal_(parameter, std=size)
    return actors


def write_artifact(
    folder: Path, scenario: Scenario, seed: int = 0, size: float = 0.5, network: bool = True
) -> Artifact:
    """Export random networks for a scenario; its base policy keeps its textbook parameters."""
    build_policy(scenario.base_policy, scenario.compiled, {})
    description = Description(
        scenario=scenario.name,
        scenario_config={},
        network_sha256=network_hash(scenario),
        observation=tuple(
            Quantity(name, "1") for name in compile_observation(scenario.compiled)[1]
        ),
        actions={
            g.name: tuple(Quantity(f"head_{i}", "1") for i in range(g.action_size))
            for g in row_groups(scenario)
        },
        base_policy={"name": scenario.base_policy, "parameters": {}},
        config={"seed": seed},
    )
    plain = scenario_to_plain(scenario) if network else None
    return save_artifact(folder, random_actors(scenario, seed, size), description, network=plain)
