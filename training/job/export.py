"""Write the trained policy as an artifact: what serving reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envs.environment.batched_env import feature_names, row_groups
from evaluation.artifact.artifact import Description, Quantity, save_artifact
from evaluation.artifact.network_io import network_hash, scenario_to_plain
from evaluation.comparison.tables import as_json
from evaluation.revision import git_revision
from training.job.train import Outcome


def export(outcome: Outcome, resolved: Mapping[str, Any], folder: Path) -> None:
    """Save the outcome's models, network and evidence in `folder`, whole or not at all."""
    scenario = outcome.scenario
    evaluation = as_json(outcome.comparison)
    description = Description(
        scenario=scenario.name,
        scenario_config=dict(scenario.config),
        network_sha256=network_hash(scenario),
        observation=tuple(Quantity(name, "1") for name in feature_names(scenario)),
        actions={
            group.name: _heads(group.heads, scenario.action_scale) for group in row_groups(scenario)
        },
        base_policy={
            "name": scenario.base_policy,
            "parameters": dict(scenario.policy_params[scenario.base_policy]),
        },
        config=dict(resolved),
        evaluation={key: evaluation[key] for key in ("policies", "paired_differences", "interval")},
        git_revision=git_revision(),
        data_sha256=scenario.data_hash,
    )
    save_artifact(
        folder, outcome.actors, description, network=scenario_to_plain(scenario), replace=True
    )


_UNITS = {  # of an action of 1
    "level": "2 forecast standard deviations over lead time and review",
    "expedite": "2 forecast standard deviations over the expedite lead time",
    "cap": "1.5 in the logarithm of the cap",
    "smoothing": "from 0.2 (-1) to 1.2 (1) of the gap ordered at once",
    "gate": "a forecast standard deviation over lead time and review",
    "can_gate": "a forecast standard deviation over lead time and review",
    "share": "3 in the log odds of the lane",
    "weight": "3 in the logarithm of the weight",
}


_SCALED = ("level", "expedite", "gate", "can_gate")  # by the scenario's action_scale


def _heads(names: tuple[str, ...], scale: float) -> tuple[Quantity, ...]:
    heads = []
    for name in names:
        kind = name.rstrip("0123456789").rstrip("_")
        times = f"{scale:g} x " if scale != 1.0 and kind in _SCALED else ""
        heads.append(Quantity(name, times + _UNITS[kind]))
    return tuple(heads)
