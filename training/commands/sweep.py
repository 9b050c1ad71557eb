"""`echelon sweep`: many trainings over a space of options, the poor ones stopped early.

Ray Tune draws nothing itself: a trial's options follow from (space, seed, number), and a log keeps
what has ended, so that a sweep that was stopped goes on where it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from matplotlib.figure import Figure
from rich.console import Console

from conf.arguments import leaves
from conf.compose import CommandConfig, Composed, compose_runs
from envs.errors import ConfigError, EchelonError, StorageError
from envs.scenarios import build_scenario
from evaluation.comparison.plots import save_figure
from evaluation.comparison.units import cost_unit
from evaluation.console import ConsoleProgress, make_console
from evaluation.files.sealed_json import read_sealed, write_sealed
from evaluation.progress import SilentProgress
from evaluation.tracking.config import TrackingConfig
from evaluation.tracking.origin import describe, log_data
from evaluation.tracking.summary import as_markdown, log_summary
from evaluation.tracking.tracker import Tracker
from evaluation.tuning.choose import choose_base_policy
from evaluation.workers import prepare_ray
from training.commands.arguments import keep_record, record_of, say_where, with_resumed
from training.commands.train import MAY_DIFFER, TrainCommand, publish
from training.job.checkpoint import Checkpoint
from training.job.run_record import checkpoints_of
from training.job.stored_run import stored_part, stored_run

_MOST_LOSSES = 10  # of a trial's process: spot machines go often, what takes too much memory too
_RESUMED = "a sweep, such as outputs/sweep/20260101_120000_000"
_MAY_DIFFER = (
    "trials", "workers", "grace", "register", "tracking", "resume", "out", "storage",
    *(f"training.{key}" for key in MAY_DIFFER if not key.startswith(("algorithm.", "time_"))),
)  # fmt: skip

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepCommand(CommandConfig):
    """`echelon sweep`."""

    name: ClassVar = "sweep"
    space: dict[str, Any]  # key -> {choices} or {low, high, scale}
    trials: int
    workers: int
    grace: float  # share of a training
    register: bool
    resume: str | None
    tracking: TrackingConfig
    out: str | None


def sweep(argv: list[str]) -> int:
    """Run the command; returns the exit code: 1 where no trial came to an end."""
    for name, value in (
        ("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1"),
        ("RAY_AIR_NEW_OUTPUT", "0"),
        ("TUNE_PRINT_ALL_TRIAL_ERRORS", "0"),  # a traceback each time a trial loses its node
        ("OMP_NUM_THREADS", "1"),
    ):
        os.environ.setdefault(name, value)
    prepare_ray()
    argv = with_resumed(argv, "sweep", _RESUMED, ConfigError)
    own, options = [a for a in argv if _is_own(a)], [a for a in argv if not _is_own(a)]
    composed = next(compose_runs(SweepCommand, own))
    return int(not _run(composed, options))


def _is_own(argument: str) -> bool:
    """Whether it is of the sweep; all others are of every training."""
    key = argument.split("=", 1)[0].split(".")[0].lstrip("+")
    return key in {field.name for field in dataclasses.fields(SweepCommand)}


def _run(composed: Composed[SweepCommand], options: list[str]) -> bool:
    from evaluation.ray_workers import ray_session  # Ray takes seconds to import
    from training.studies.sweep import TrialLog, as_table, read_space

    command, console, folder = composed.command, make_console(), composed.folder.absolute()
    for name, least in (("trials", 1), ("workers", 1)):
        if getattr(command, name) < least:
            raise ConfigError(f"{name} is {getattr(command, name)}; expected at least {least}.")
    space = read_space(
        command.space, lambda extra: dict(leaves(_composed([*options, *extra]).resolved))
    )
    fixed, resumed = _composed(options), command.resume is not None
    plain = build_scenario(fixed.command.scenario)
    about = f"{command.trials} trainings on {describe(plain)}"
    storage = fixed.command.storage
    with contextlib.ExitStack() as stack:
        tracker = stack.enter_context(Tracker(command.tracking, folder, resumed=resumed))
        resolved = {**composed.resolved, "training": fixed.resolved, "storage": storage}
        arguments = [*composed.arguments, *options]
        record = record_of(folder, "sweep", arguments, resolved, _MAY_DIFFER)
        keep_record(folder, record)
        composed.write()
        say_where(record, console)
        saved = stack.enter_context(stored_run(folder, record.storage, resumed=resumed))
        tracker.start(
            f"sweep {fixed.command.scenario.name}",
            params={
                **composed.parameters,
                **{f"training.{key}": value for key, value in fixed.parameters.items()},
            },
            tags={"command": "sweep", "scenario": fixed.command.scenario.name},
            description=about,
        )
        log_data(tracker, plain, "training", fixed.command.network)
        tracker.log_artifacts(folder / "config.yaml")
        log = TrialLog(folder / "trials.jsonl")
        with ConsoleProgress(console) as progress:
            if fixed.command.scenario.base_policy is None:
                scenario = build_scenario(fixed.command.scenario)
                chosen = choose_base_policy(scenario, folder, progress)
                options = [*options, f"scenario.base_policy={chosen.name}"]
                fixed = _composed(options)
            parameters = _base_parameters(fixed, folder, progress)
            known = {trial.number for trial in log.read()}
            missing = [n for n in range(command.trials) if n not in known]
            progress.phase("trials", command.trials)
            if missing:
                cpus = command.workers * fixed.command.resources.cpus
                with ray_session(cpus):
                    _search(
                        composed, options, space, parameters, missing, tracker, progress,
                        record.storage, saved,
                    )  # fmt: skip
        trials = log.read()
        _write(folder, trials, cost_unit(plain))
        for name in ("sweep.json", "sweep.md", "sweep.png"):
            tracker.log_artifacts(folder / name)
        log_summary(tracker, about, *as_table(trials, cost_unit(plain)))
        console.print((folder / "sweep.md").read_text(encoding="utf-8"), soft_wrap=True)
        if not trials or not math.isfinite(trials[0].best_cost):
            return False
        _test_best(trials[0], composed, options, parameters, tracker, console, record.storage)
    return True


def _composed(arguments: Sequence[str]) -> Composed[TrainCommand]:
    return next(compose_runs(TrainCommand, arguments))


def _base_parameters(
    fixed: Composed[TrainCommand], folder: Path, progress: ConsoleProgress
) -> dict[str, Any]:
    """Tune the base policy once for all trials."""
    from training.job.train import prepare_scenario

    path = folder / "policy_params.json"
    if not path.exists():
        scenario = build_scenario(fixed.command.scenario)
        prepared, _ = prepare_scenario(scenario, fixed.command.tune, progress)
        write_sealed(path, prepared.policy_params)
    try:
        return read_sealed(path, error=ConfigError)
    except ConfigError as error:
        raise ConfigError(f"{error} Remove it to have the base policy tuned again.") from error


def _trial(
    config: Mapping[str, Any], *, options: list[str], drawn: Callable[[int], list[str]],
    folder: Path, parameters: Mapping[str, Any], home: str, storage: str | None,
) -> None:  # fmt: skip
    """Runs in a Ray actor: one training, which reports every validation to Tune.

    Where its node or process is lost, Tune starts it anew, on any node; it goes on from the last
    checkpoint in the folder, if nodes share it, else in the storage.

    home: the working directory of the command, which paths in options count from.
    storage: where the copy of the sweep is kept.
    """
    from training.job.train import train

    with contextlib.suppress(OSError):  # another node may not have it
        os.chdir(home)
    number, reports = int(config["trial"]), Reports()
    trial = folder / _name(number)
    try:
        own = [f"out={trial}", "tracking.enabled=false", "test.traces=2"]
        composed = _composed([*options, *drawn(number), *own])
        scenario = build_scenario(composed.command.scenario)
        scenario = dataclasses.replace(scenario, policy_params=parameters)
        with stored_part(trial, _place(storage, number)) as saved:
            composed.write()
            reports.go_on(checkpoints_of(trial).latest_good())
            train(scenario, composed.command, trial, reports, saved)
    except Exception as error:
        if _is_of_cluster(error):
            raise
        _log.error("Trial %d failed:", number, exc_info=error)
        why = str(error) if isinstance(error, EchelonError) else f"{type(error).__name__}: {error}"
        reports.tell("failed", " ".join(why.split())[:300])
    else:
        reports.tell("finished")


def _is_of_cluster(error: Exception) -> bool:
    """Whether the same training may succeed if it is tried again."""
    from ray.exceptions import RayError, RayTaskError

    return isinstance(error, RayError | StorageError) and not isinstance(error, RayTaskError)


def _name(number: int) -> str:
    return f"trial_{number:03d}"


def _place(storage: str | None, number: int) -> str | None:
    """Where the copy of a trial is kept."""
    return None if storage is None else f"{storage}/{_name(number)}"


class Reports(SilentProgress):
    """Passes validations on to Tune, each time with those before it: some may be of another
    process, or told to another one."""

    def __init__(self) -> None:
        self._curve: list[tuple[int, float, float]] = []  # (iteration, seconds, cost)

    def go_on(self, checkpoint: Checkpoint | None) -> None:
        """Take what the training has validated so far; the base policy isn't of the training."""
        if checkpoint is not None:
            base = checkpoint.value("base_cost", float)
            points = checkpoint.value("curve", list)
            self._curve = [(i, s, cost) for i, s, _, cost in points if i > 0 or cost != base]

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Tell of a validation; other iterations are ignored."""
        if "validation/cost_per_period" in values:
            seconds = values.get("time/train_seconds", 0.0)  # none at the beginning
            self._curve.append((step, seconds, values["validation/cost_per_period"]))
            self.tell()

    def tell(self, ended: str = "", why: str = "") -> None:
        """Report to Tune."""
        from ray import tune

        tune.report(self.result(ended, why))

    def result(self, ended: str = "", why: str = "") -> dict[str, Any]:
        """Return what Tune is told. ended: the state of a trial that has; why: of a failure."""
        iteration, seconds, cost = self._curve[-1] if self._curve else (0, 0.0, math.inf)
        return {
            "iteration": iteration, "seconds": seconds, "cost": cost, "curve": [*self._curve],
            "ended": ended, "why": why,
        }  # fmt: skip


def _search(
    composed: Composed[SweepCommand], options: list[str], space: Any, parameters: Mapping[str, Any],
    missing: list[int], tracker: Tracker, progress: ConsoleProgress, storage: str | None,
    saved: Callable[[], None],
) -> None:  # fmt: skip
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    from training.studies.sweep import keep_credentials_out, trial_arguments
    from training.studies.trial_recorder import TrialRecorder

    keep_credentials_out()
    command, folder = composed.command, composed.folder.absolute()
    train_command = _composed(options).command
    resources = train_command.resources
    bundles, placement = resources.bundles, resources.placement.upper()
    limit = train_command.time_limit
    unit, most = (
        ("iteration", train_command.algorithm.iterations) if limit is None else ("seconds", limit)
    )
    drawn = functools.partial(trial_arguments, space, train_command.seed)
    recorder = TrialRecorder(folder, tracker, progress, drawn, end=(unit, most), saved=saved)
    trainable = functools.partial(
        _trial, options=options, drawn=drawn, folder=folder, parameters=parameters,
        home=os.getcwd(), storage=storage,
    )  # fmt: skip
    tuner = tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory(bundles, placement)),
        param_space={"trial": tune.grid_search(missing)},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=command.workers,
            scheduler=ASHAScheduler(
                # Beyond the end of a training: who gets there has not been stopped early.
                time_attr=unit, metric="cost", mode="min", max_t=math.ceil(2 * most),
                grace_period=max(1, math.ceil(command.grace * most)),
            ),
        ),
        run_config=tune.RunConfig(
            # The folder is written by this process alone: trials keep their own checkpoints.
            name="tune", storage_path=str(folder), verbose=0, callbacks=[recorder],
            failure_config=tune.FailureConfig(max_failures=_MOST_LOSSES),
        ),
    )  # fmt: skip
    tuner.fit()


def _write(folder: Path, trials: Sequence[Any], unit: str) -> None:
    """sweep.json, sweep.md, sweep.png: best first."""
    from training.studies.sweep import as_table

    plain = [dataclasses.asdict(trial) for trial in trials]
    (folder / "sweep.json").write_text(json.dumps(plain, indent=1), encoding="utf-8")
    (folder / "sweep.md").write_text(as_markdown(*as_table(trials, unit)), encoding="utf-8")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for place, trial in enumerate(trials):
        if trial.curve:
            seconds, costs = zip(*trial.curve, strict=True)
            alpha = 1.0 if place == 0 else 0.4
            axis.plot(seconds, costs, label=f"trial {trial.number}", alpha=alpha)
    axis.set_xlabel("seconds of training")
    axis.set_ylabel(f"validation cost [{unit}]")
    if any(trial.curve for trial in trials):
        axis.legend(fontsize="x-small", ncols=2)
    save_figure(figure, folder / "sweep.png")


def _test_best(
    best: Any, composed: Composed[SweepCommand], options: list[str], parameters: Mapping[str, Any],
    tracker: Tracker, console: Console, storage: str | None,
) -> None:  # fmt: skip
    """Go on with the best trial's last checkpoint, play it on the test traces, publish it."""
    from evaluation.ray_workers import ray_session
    from training.job.train import train

    folder = composed.folder.absolute() / _name(best.number)
    register = json.dumps(composed.command.register)
    chosen = _composed([*options, *best.arguments, f"out={folder}", f"register={register}"])
    scenario = dataclasses.replace(
        build_scenario(chosen.command.scenario), policy_params=parameters
    )
    console.print(f"Best: trial {best.number}, {' '.join(best.arguments)}", highlight=False)
    cpus = chosen.command.resources.cpus
    with stored_part(folder, _place(storage, best.number)) as saved:
        if checkpoints_of(folder).latest_good() is None:
            _log.warning(
                "No checkpoint of trial %d is in '%s': it is trained anew. Nodes that share no "
                "folder need storage=.", best.number, folder,
            )  # fmt: skip
        with ConsoleProgress(console) as progress, ray_session(cpus):
            outcome = train(scenario, chosen.command, folder, progress, saved)
        publish(outcome, chosen, tracker, console)
