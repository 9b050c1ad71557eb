"""Where learning begins: at the models of an exported policy, or where a classical policy is.

An exported policy may come from any algorithm: pathwise gradients can start PPO, and PPO can finish
what has no slope.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.simulation.action_spaces import ActionSpace
from evaluation.artifact.actor import Actor
from evaluation.artifact.artifact import load_artifact
from evaluation.artifact.correction import learned_correction
from evaluation.artifact.transfer import base_parameters
from evaluation.comparison.rollout import play
from evaluation.progress import Progress
from evaluation.tuning.search import tune_policy
from training.config import Settings
from training.job.imitation import imitate

_POLICY = "policy"  # of a run folder: the exported policy


@dataclass(frozen=True)
class StartingPolicy:
    """Models to begin with, by node kind, and the parameters of the policy they correct."""

    actors: dict[str, Actor]
    parameters: dict[str, Any]


def load_start(folder: Path, scenario: Scenario) -> StartingPolicy:
    """Read an exported policy, or the one of a run folder, that acts on the scenario.

    Raises:
        ArtifactError: it can't be read, or was changed.
        ConfigError: it corrects another policy, or sees or does other things.
    """
    path = folder / _POLICY if (folder / _POLICY).is_dir() else folder
    artifact = load_artifact(path)
    manifest = artifact.manifest
    name, base = str(manifest["base_policy"]["name"]), scenario.base_policy
    if name != base:
        raise ConfigError(
            f"start={folder} corrects the policy {name}; expected {base}, as "
            f"scenario.base_policy says; set scenario.base_policy={name}, or imitate.policy={name} "
            "instead of start."
        )
    for key, usual in (("action_space", ActionSpace.residual), ("action_scale", 1.0)):
        meant, wanted = manifest["scenario_config"].get(key, usual), getattr(scenario, key)
        if meant != wanted:
            raise ConfigError(
                f"start={folder} was trained with scenario.{key}={meant}; expected {wanted}; set "
                f"scenario.{key}={meant}."
            )
    parameters = base_parameters(artifact, scenario)
    env = BatchedEnv(scenario, 1)
    seen = tuple(feature["name"] for feature in manifest["observation"])
    if seen != env.feature_names:
        only = sorted(set(seen) ^ set(env.feature_names)) or ["their order"]
        raise ConfigError(
            f"start={folder} sees {len(seen)} features, scenario '{scenario.name}' shows "
            f"{len(env.feature_names)}; they differ in {', '.join(only[:3])}; use the scenario's "
            "settings that it was trained with (memory, preference, base_policy)."
        )
    for group in env.groups:
        heads = manifest["actions"].get(group.name)
        got = None if heads is None else tuple(head["name"] for head in heads)
        if got != group.heads:
            raise ConfigError(
                f"start={folder} decides {_listed(got)} for nodes of kind '{group.name}'; expected "
                f"{_listed(group.heads)}; start from a policy trained with this kind and heads."
            )
    kinds = {group.name for group in env.groups}
    actors = {kind: actor for kind, actor in artifact.policy.actors.items() if kind in kinds}
    return StartingPolicy(actors, parameters)


def _listed(heads: tuple[str, ...] | None) -> str:
    return "nothing" if heads is None else ", ".join(heads)


@dataclass(frozen=True)
class Imitated:
    """How well a classical policy was imitated."""

    policy: str
    error: float  # root mean square, of actions between -1 and 1
    cost: float  # currency per period on the validation traces, as teachers_cost is
    teachers_cost: float

    @property
    def metrics(self) -> dict[str, float]:
        """As group/name."""
        return {
            "imitation/error": self.error,
            "imitation/cost_per_period": self.cost,
            "imitation/teachers_cost_per_period": self.teachers_cost,
        }

    def __str__(self) -> str:
        return (
            f"Imitated {self.policy}: {self.cost:.5g} on validation against its "
            f"{self.teachers_cost:.5g} ({self.cost / self.teachers_cost - 1:+.2%}), "
            f"error {self.error:.4f} of an action between -1 and 1."
        )


def imitate_policy(
    scenario: Scenario,
    actors: Mapping[str, Actor],
    settings: Settings,
    progress: Progress,
) -> Imitated:
    """Fit `actors`, in place, to `imitate.policy`: with the scenario's parameters, else tuned.

    Raises:
        ConfigError: the policy is unknown, or is not one of how much is ordered.
    """
    base_name, config = scenario.base_policy, settings.imitate
    name = config.teacher(scenario)
    assert name is not None
    parameters = scenario.policy_params.get(name)
    if not parameters:
        parameters = tune_policy(scenario, name, settings.tune, progress).parameters
    teacher = build_policy(name, scenario.compiled, parameters)
    base = build_policy(base_name, scenario.compiled, scenario.policy_params[base_name])
    error = imitate(
        scenario, base, teacher, actors, config, seed=settings.seed,
        batch_size=settings.resources.envs_per_runner, progress=progress,
    )  # fmt: skip
    traces, of = settings.validation.traces, settings.validation.seed
    learned = learned_correction(actors, scenario)
    own = play(scenario, base, learned, traces=traces, seed=of, split="tune")
    teachers = play(scenario, teacher, traces=traces, seed=of, split="tune")
    return Imitated(name, error, float(own.cost.mean()), float(teachers.cost.mean()))
