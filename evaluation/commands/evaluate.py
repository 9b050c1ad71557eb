"""`echelon evaluate`: compare policies on common traces."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from conf.compose import Composed, compose_runs, help_text
from envs.errors import ConfigError
from envs.policies import policy_class
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.artifact.artifact import Artifact, load_artifact
from evaluation.artifact.correction import learned_correction
from evaluation.artifact.registry import model_name, resolve_artifact
from evaluation.artifact.transfer import base_parameters, seen_in_training
from evaluation.comparison.compare import Comparison, compare
from evaluation.comparison.plots import draw_all
from evaluation.comparison.rollout import Competitor
from evaluation.comparison.tables import as_table, write_json
from evaluation.console import ConsoleProgress, make_console
from evaluation.tracking.tracker import Tracker
from evaluation.tuning.cache import read_policy_params
from evaluation.tuning.search import tune_reported

__all__ = ["evaluate"]

_SUMMARY = "Compare policies, classical or learned, on the same traces."


def evaluate(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    if any(a in ("-h", "--help") for a in argv):
        print(help_text("evaluate", _SUMMARY, argv))
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    for composed in compose_runs("evaluate", argv):
        _run(composed)
    return 0


def _run(composed: Composed) -> None:
    command, console = composed.command, make_console()
    if command.traces < 1 or not command.policies:
        raise ConfigError(
            f"traces is {command.traces} and policies {command.policies}; expected at least one of "
            "each."
        )
    scenario = build_scenario(command.scenario)
    unused = [name for name in command.policy_params if name not in command.policies]
    if unused:
        raise ConfigError(
            f"policy_params.{unused[0]} is given, but '{unused[0]}' is not in policies "
            f"[{', '.join(command.policies)}]."
        )
    from_file = read_policy_params(command.policy_params_from, scenario.name)
    artifact = _artifact(scenario, command) if "learned" in command.policies else None
    with ConsoleProgress(console) as progress:
        competitors = [
            _learned(artifact, seen_in_training(artifact, scenario), command)
            if name == "learned" and artifact is not None
            else _competitor(name, scenario, command, from_file, progress)
            for name in command.policies
        ]
        progress.phase("compare", command.traces * len(competitors))
        done: dict[str, int] = {}

        def report(name: str, traces: int) -> None:
            done[name] = traces
            progress.update(sum(done.values()), name)

        comparison = compare(
            scenario if artifact is None else seen_in_training(artifact, scenario),
            competitors,
            traces=command.traces,
            seed=command.seed,
            split=command.split,
            on_batch=report,
        )
    composed.write()
    _publish(comparison, composed, console)


def _competitor(
    name: str,
    scenario: Scenario,
    command: Any,
    from_file: Mapping[str, Any],
    progress: ConsoleProgress,
) -> Competitor:
    policy_class(name)  # unknown names fail before anything long starts
    given = (
        command.policy_params.get(name) or from_file.get(name) or scenario.policy_params.get(name)
    )
    if given is not None:
        return Competitor(name, name, given, origin="given")
    tune = command.tune
    tuned = tune_reported(
        scenario, name, progress, seed=tune.seed, traces=tune.traces, budget=tune.budget
    )
    return Competitor(
        name, name, tuned.parameters, origin=f"tuned, {tuned.evaluations} simulations"
    )


def _artifact(scenario: Scenario, command: Any) -> Artifact:
    home = scenario.stress_of or scenario.name
    model, uri = model_name(home), command.tracking.uri
    resolved = resolve_artifact(command.artifact, model, uri)
    artifact = load_artifact(resolved.folder)
    trained_on = artifact.manifest["scenario"]
    if trained_on != home:
        raise ConfigError(
            f"artifact '{command.artifact}' was trained on scenario '{trained_on}', not on "
            f"'{home}'; give artifact=FOLDER of a policy for it, or scenario={trained_on}."
        )
    return artifact


def _learned(artifact: Artifact, scenario: Scenario, command: Any) -> Competitor:
    base = artifact.manifest["base_policy"]
    parameters = command.policy_params.get("learned") or base_parameters(artifact, scenario)
    correction = learned_correction(artifact.policy.actors, scenario)
    return Competitor("learned", base["name"], parameters, correction, origin="artifact")


def _publish(comparison: Comparison, composed: Composed, console: Console) -> None:
    folder, command = composed.folder, composed.command
    write_json(comparison, folder / "evaluation.json")
    console.print(as_table(comparison))
    pictures = draw_all(comparison, folder / "plots")
    with Tracker(command.tracking, folder) as tracker:
        tracker.start(
            f"evaluate {comparison.scenario.name}",
            params={"scenario": comparison.scenario.name, "policies": ",".join(command.policies),
                    "traces": command.traces, "seed": command.seed},
            tags={"command": "evaluate"},
        )  # fmt: skip
        tracker.log_metrics(0, _metrics(comparison))
        tracker.log_artifacts(folder / "evaluation.json")
        for picture in pictures:
            tracker.log_figure_file(picture)
    console.print(f"Wrote {_relative(folder)}/evaluation.json and {len(pictures)} plots.")


def _metrics(comparison: Comparison) -> dict[str, float]:
    return {
        f"{e.competitor.name}/{key}": float(value)
        for e in comparison.policies
        for key, value in {"cost_per_period": e.cost.mean, **e.kpis.summary()}.items()
    }


def _relative(folder: Path) -> Path:
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
