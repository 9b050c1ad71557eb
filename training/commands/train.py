"""`echelon train`: the main job."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console

from conf.compose import Composed
from envs.errors import (
    ArtifactError,
    CheckpointError,
    EchelonError,
    Interrupted,
    StorageError,
    Terminated,
)
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.artifact.network_io import physical_hash
from evaluation.artifact.registry import find_model, model_name
from evaluation.commands.multirun import TrackedCommand, run_each
from evaluation.comparison.compare import costs_of, difference_of, verdicts_of
from evaluation.comparison.plots import draw_all, draw_gain, draw_learning_curve
from evaluation.comparison.tables import as_table, write_json
from evaluation.console import ConsoleProgress, make_console
from evaluation.files.json_lines import read_lines
from evaluation.files.storage import open_storage
from evaluation.gate.config import GateConfig
from evaluation.gate.page import Decision, undecided, write_page
from evaluation.gate.page import as_table as gate_table
from evaluation.gate.promotion import promote
from evaluation.tracking.origin import describe, log_data
from evaluation.tracking.tracker import Tracker
from evaluation.tuning.choose import choose_base_policy
from evaluation.workers import prepare_ray
from training.commands.arguments import keep_record, record_of, say_where, with_resumed
from training.config import Settings
from training.job.run_record import RECORD, checkpoints_of
from training.job.stopping import how_to_go_on
from training.job.stored_run import stored_run
from training.rllib.algorithms import ALGORITHMS

_RESUMED = "a run, such as outputs/train/retail/20260101_120000_000"
# What a resumed run may have other values of: when it ends, and where and how it runs.
MAY_DIFFER = (
    "algorithm.iterations", "algorithm.learning_rate", "time_limit", "checkpoint_every", "test",
    "resources", "gate", "tracking", "register", "network", "scenario.file", "resume", "out",
    "storage",
)  # fmt: skip

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainCommand(Settings, TrackedCommand):
    """`echelon train`."""

    name: ClassVar = "train"
    groups: ClassVar = {"algorithm": ALGORITHMS}
    gate: GateConfig
    register: bool
    resume: str | None
    out: str | None
    storage: str | None


def train(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    prepare_ray()
    argv = with_resumed(argv, "train", _RESUMED, CheckpointError)
    return run_each(TrainCommand, argv, _run_or_say)


def _run_or_say(composed: Composed[TrainCommand]) -> dict[str, float]:
    """Run one; where a signal ends it, say how to go on."""
    try:
        return _run(composed)
    except (Interrupted, KeyboardInterrupt) as stopped:
        raise _interrupted(stopped, composed.folder) from None


def _interrupted(stopped: Interrupted | KeyboardInterrupt, folder: Path) -> BaseException:
    """With what to do then, once there is a run."""
    if not (folder / RECORD).exists():
        return stopped
    if not isinstance(stopped, Interrupted):
        terminated = isinstance(stopped, Terminated)
        stopped = Interrupted(signal.SIGTERM if terminated else signal.SIGINT)
    return Interrupted(stopped.number, f"{stopped}; {how_to_go_on(folder)}")


def _run(composed: Composed[TrainCommand]) -> dict[str, float]:
    command, console = composed.command, make_console()
    scenario = build_scenario(command.scenario)
    if command.scenario.base_policy is not None:
        command.imitate.teacher(scenario)  # mistakes fail before there is a folder
    if command.storage is not None:
        open_storage(command.storage)
    resumed = command.resume is not None
    with Tracker(
        command.tracking, composed.folder, parent=composed.parent, resumed=resumed
    ) as tracker:
        record = record_of(
            composed.folder, "train", composed.arguments, composed.resolved, MAY_DIFFER
        )
        if resumed and checkpoints_of(composed.folder).latest_good() is None:
            console.print("No checkpoint was saved yet: training begins at iteration 0.")
        if command.scenario.base_policy is None:
            with ConsoleProgress(console) as progress:
                chosen = choose_base_policy(scenario, composed.folder, progress)
            # Its parameters are tuned as those of any other base policy: with the whole budget.
            scenario = dataclasses.replace(scenario, base_policy=chosen.name)
            command.imitate.teacher(scenario)
        with _writing(composed.folder):
            keep_record(composed.folder, record)
            composed.write()
        say_where(record, console)
        from evaluation.ray_workers import (  # Ray takes seconds to import
            joined_cluster,
            ray_session,
        )
        from training.job.train import train as run_training
        from training.job.watch import Watch

        tracker.start(
            f"{scenario.name} seed {command.seed}",
            params=composed.parameters,
            tags={"command": "train", "scenario": scenario.name},
            description=f"A learned correction of {scenario.base_policy} on {describe(scenario)}",
        )
        tracker.log_artifacts(composed.folder / "config.yaml")
        log_data(tracker, scenario, "training", command.network)
        watch = Watch(composed.folder.name, len(scenario.network.stocks), tracker.log_metrics)
        with stored_run(composed.folder, record.storage, resumed=resumed) as saved:
            with joined_cluster() as cpus:
                command = _with_runners(command, scenario, cpus)
                with (
                    ConsoleProgress(console, watch) as progress,
                    ray_session(command.resources.cpus),
                ):
                    outcome = run_training(scenario, command, composed.folder, progress, saved)
            with _writing(composed.folder):
                publish(outcome, composed, tracker, console, watch.summary)
    return costs_of(outcome.comparison)


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Raises StorageError, naming the run folder, where its disk refuses."""
    try:
        yield
    except OSError as problem:
        raise StorageError(
            f"Run folder '{folder}' could not be written: {problem}. Its checkpoints are good; "
            f"make room there, or permit it, then go on with: echelon train resume={folder}"
        ) from problem


def _with_runners(command: TrainCommand, scenario: Scenario, cpus: int) -> TrainCommand:
    """With as many runners as are worth it, where their number was left open."""
    resources = command.resources
    if resources.env_runners is not None:
        return command
    rows = len(scenario.network.stocks)
    runners = command.algorithm.runners_worth(rows, resources, cpus)
    _log.info("Sampling on %s.", f"{runners} runners" if runners else "this process")
    return dataclasses.replace(
        command, resources=dataclasses.replace(resources, env_runners=runners)
    )


def publish(
    outcome: Any, composed: Composed[TrainCommand], tracker: Tracker, console: Console,
    taken: str = "",
) -> None:  # fmt: skip
    """Write, print, log and register what a training ended with. taken: what it took, one line."""
    from training.job.export import export

    folder, comparison = composed.folder, outcome.comparison
    write_json(comparison, folder / "evaluation.json")
    pictures = draw_all(comparison, folder / "plots")
    pictures.append(draw_learning_curve(outcome, folder / "plots"))
    if gains := gains_of(folder):
        pictures.append(draw_gain(gains, folder / "plots"))
    export(outcome, composed.resolved, folder / "policy")
    learned, base = comparison.policies[1], comparison.policies[0]
    tracker.log_metrics(
        outcome.iterations,
        {
            "test/learned_cost_per_period": learned.cost.mean,
            "test/base_policy_cost_per_period": base.cost.mean,
            "test/relative_difference": learned.relative or 0.0,
            "test/fill_rate": learned.kpis.summary()["fill_rate"],
            **{f"test/{name}": value for name, value in difference_of(learned).items()},
        },
    )
    tracker.set_tags(verdicts_of(comparison))
    tracker.log_artifacts(folder / "evaluation.json")
    for picture in pictures:
        tracker.log_artifacts(picture, "figures")
    console.print(as_table(comparison))
    if outcome.imitated is not None:
        console.print(str(outcome.imitated))
    console.print(_account(outcome))
    if taken:
        console.print(taken, highlight=False, soft_wrap=True)
    if composed.command.register and not tracker.config.enabled:
        console.print("Not registered: tracking.enabled=false.")
    elif composed.command.register:
        register(outcome.scenario, composed, tracker, console)
    console.print(f"Files: {folder}")


def gains_of(folder: Path) -> list[tuple[int, float, float, float]]:
    """Return what `draw_gain` takes of the metrics that a run has recorded in its folder."""
    names = [f"validation/paired_gain{end}" for end in ("", "_low", "_high")]
    recorded = read_lines(folder / "metrics.jsonl")[0]
    return [
        (record["step"], *(float(record["metrics"][name]) for name in names))
        for record in recorded
        if set(names) <= set(record["metrics"])
    ]


def _account(outcome: Any) -> str:
    if outcome.is_base_policy:
        chosen = "no iteration beat the base policy on validation: the correction is zero"
    elif outcome.best_iteration == 0:
        chosen = "what learning began with was best on validation"
    else:
        chosen = f"iteration {outcome.best_iteration} was best on validation"
    return f"{outcome.iterations} iterations in {outcome.seconds:.0f} s; {chosen}."


def register(
    scenario: Scenario, composed: Composed[TrainCommand], tracker: Tracker, console: Console
) -> None:
    """As @challenger; the gate says whether it becomes @champion."""
    folder, uri = composed.folder, tracker.config.uri
    network, model = physical_hash(scenario), model_name(scenario.name)
    version = tracker.register_model(model, folder / "policy", network=network)
    try:
        if version is None:
            raise ArtifactError("the tracking server did not answer, so that it isn't registered")
        model = find_model(scenario.name, network, uri)
        with ConsoleProgress(console) as progress:
            decided = promote(
                model, version, uri, composed.command.gate, scenario=scenario, progress=progress
            )
        decision, moved = decided.decision, decided.moved
    except EchelonError as error:
        decision, moved = undecided(model, version or "", str(error)), False
    assert decision is not None  # without one is by a person's word alone
    for path in write_page(decision, folder):
        if decision.traces is None:  # else the gate has put it there
            tracker.log_artifacts(path, "gate")
    console.print(gate_table(decision))
    console.print(_registered(decision, moved, scenario.name, folder), soft_wrap=True)


def _registered(decision: Decision, moved: bool, scenario: str, folder: Path) -> str:
    name, version = decision.model, decision.version
    later = f"echelon promote model={name} version={version or 'challenger'}"
    if not version:
        return f"Not registered yet: see above. Once it is: {later}"
    line = f"Registered {name} version {version} as {'@champion' if moved else '@challenger'}"
    if name != model_name(scenario):
        line += f" ({model_name(scenario)} is of another network)"
    if moved:
        return f"{line}: {decision.verdict}."
    return (
        f"{line}: {decision.verdict}. Why: {folder}/gate.md. By your own word: {later} force=true"
    )
