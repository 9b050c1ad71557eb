"""`echelon evaluate`: compare policies on common traces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from rich.console import Console

from conf.compose import Composed
from envs.errors import ConfigError
from envs.policies import policy_class
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.artifact.artifact import Artifact, load_artifact
from evaluation.artifact.network_io import physical_hash
from evaluation.artifact.registry import find_model, resolve_artifact
from evaluation.artifact.transfer import learned_competitor, seen_in_training
from evaluation.commands.multirun import TrackedCommand, run_each
from evaluation.comparison.compare import Comparison, compare, costs_of, difference_of, verdicts_of
from evaluation.comparison.plots import draw_all
from evaluation.comparison.rollout import Competitor
from evaluation.comparison.tables import as_table, write_json
from evaluation.comparison.units import name_of
from evaluation.console import ConsoleProgress, make_console
from evaluation.progress import Progress
from evaluation.tasks import Task
from evaluation.tracking.origin import describe, log_data
from evaluation.tracking.tracker import Tracker, must_be_unused
from evaluation.tuning.cache import read_policy_params
from evaluation.tuning.config import TuneConfig
from evaluation.tuning.search import tune_policy
from evaluation.workers import Workers, open_workers, results


@dataclass(frozen=True)
class EvaluateCommand(TrackedCommand):
    """`echelon evaluate`."""

    name: ClassVar = "evaluate"
    tune: TuneConfig
    policies: list[str]
    policy_params: dict[str, Any]
    policy_params_from: str | None
    artifact: str
    traces: int
    seed: int
    split: str
    out: str | None
    workers: int


def evaluate(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    return run_each(EvaluateCommand, argv, _run)


def _run(composed: Composed[EvaluateCommand]) -> dict[str, float]:
    command, console = composed.command, make_console()
    if command.traces < 1 or not command.policies:
        raise ConfigError(
            f"traces is {command.traces} and policies {command.policies}; expected at least one of "
            "each."
        )
    must_be_unused(composed.folder)
    scenario = build_scenario(command.scenario)
    unused = [name for name in command.policy_params if name not in command.policies]
    if unused:
        raise ConfigError(
            f"policy_params.{unused[0]} is given, but '{unused[0]}' is not in policies "
            f"[{', '.join(command.policies)}]."
        )
    artifact = _artifact(scenario, command) if "learned" in command.policies else None
    with ConsoleProgress(console) as progress, open_workers(command.workers) as workers:
        competitors = _classical(scenario, command, workers, progress)
        if artifact is not None:
            scenario = seen_in_training(artifact, scenario)
            own = command.policy_params.get("learned")
            competitors["learned"] = learned_competitor(artifact, scenario, own)
        comparison = compare(
            scenario,
            [competitors[name] for name in command.policies],
            traces=command.traces,
            seed=command.seed,
            split=command.split,
            workers=workers,
            progress=progress,
        )
    _publish(comparison, composed, console)
    return costs_of(comparison)


def _classical(
    scenario: Scenario, command: EvaluateCommand, workers: Workers, progress: Progress
) -> dict[str, Competitor]:
    """Return the classical policies by name, with parameters that are given, else tuned."""
    from_file = read_policy_params(command.policy_params_from, scenario.name)
    competitors, missing = {}, []
    for name in command.policies:
        if name == "learned":
            continue
        policy_class(name, ["learned"])  # unknown names fail before anything long starts
        sources = (command.policy_params, from_file, scenario.policy_params)
        given = next((source[name] for source in sources if source.get(name)), None)
        if given is None:
            missing.append(name)
        else:
            competitors[name] = Competitor(name, name, given, origin="given")
    tasks = [Task(name, partial(tune_policy, scenario, name, command.tune)) for name in missing]
    found = results(workers, f"tune {len(tasks)} policies", tasks, progress) if tasks else []
    for name, tuned in zip(missing, found, strict=True):
        origin = f"tuned, {tuned.evaluations} simulations"
        competitors[name] = Competitor(name, name, tuned.parameters, origin=origin)
    return competitors


def _artifact(scenario: Scenario, command: EvaluateCommand) -> Artifact:
    home = scenario.stress_of or scenario.name
    uri = command.tracking.uri
    model = find_model(home, physical_hash(scenario), uri)
    resolved = resolve_artifact(command.artifact, model, uri)
    artifact = load_artifact(resolved.folder)
    trained_on = artifact.manifest["scenario"]
    if trained_on != home:
        raise ConfigError(
            f"artifact '{command.artifact}' was trained on scenario '{trained_on}', not on "
            f"'{home}'; give artifact=FOLDER of a policy for it, or scenario={trained_on}."
        )
    return artifact


def _publish(comparison: Comparison, composed: Composed[EvaluateCommand], console: Console) -> None:
    folder, command = composed.folder, composed.command
    with Tracker(command.tracking, folder, parent=composed.parent) as tracker:
        composed.write()
        write_json(comparison, folder / "evaluation.json")
        console.print(as_table(comparison))
        pictures = draw_all(comparison, folder / "plots")
        tracker.start(
            f"evaluate {comparison.scenario.name}",
            params=composed.parameters,
            tags={"command": "evaluate", **verdicts_of(comparison)},
            description=f"{', '.join(command.policies)} on {describe(comparison.scenario)}",
        )
        log_data(tracker, comparison.scenario, comparison.split, command.network)
        tracker.log_artifacts(folder / "config.yaml")
        tracker.log_metrics(0, metrics_of(comparison))
        tracker.log_artifacts(folder / "evaluation.json")
        for picture in pictures:
            tracker.log_artifacts(picture, "figures")
    console.print(f"Wrote {folder}/evaluation.json and {len(pictures)} plots.")


def metrics_of(comparison: Comparison) -> dict[str, float]:
    """Return what tracking gets, under names that say the right period."""
    return {
        f"{e.competitor.name}/{name_of(key, comparison.scenario)}": float(value)
        for e in comparison.policies
        for key, value in {
            "cost_per_period": e.cost.mean,
            **e.kpis.summary(),
            **difference_of(e),
        }.items()
    }
