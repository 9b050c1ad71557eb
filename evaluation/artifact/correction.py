"""Trained models as a correction of a scenario's base policy."""

from __future__ import annotations

from collections.abc import Mapping

from envs.environment.batched_env import row_groups
from envs.scenario import Scenario
from envs.types import Floats32
from evaluation.artifact.actor import Actor, TorchPolicy
from evaluation.comparison.rollout import Correction


def learned_correction(actors: Mapping[str, Actor], scenario: Scenario) -> Correction:
    """Return observation [P, F, B] -> action [P, A, B] for the scenario's rows.

    Any network with the node kinds the actors were trained for will do.
    """
    policy, groups = TorchPolicy(actors), row_groups(scenario)

    def correct(observation: Floats32) -> Floats32:
        return policy.act(observation, groups)

    return correct
