"""`echelon report`: on which scenarios learning pays, and on which the rule is as good."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.console import Console
from rich.table import Table

from conf.compose import CommandConfig, Composed, compose_runs
from envs.errors import ConfigError, EchelonError, did_you_mean
from envs.policies import policy_class
from envs.redact import redact_tree
from envs.scenarios import build_scenario
from evaluation.console import ConsoleProgress, make_console
from evaluation.files.atomic_folder import write_file
from evaluation.files.storage import open_storage
from evaluation.tasks import Task
from evaluation.tracking.config import TrackingConfig
from evaluation.tracking.origin import log_data
from evaluation.tracking.tracker import Tracker
from evaluation.tuning.config import ChooseConfig, TimedTuneConfig
from evaluation.value.features import features_of
from evaluation.value.page import as_html
from evaluation.value.pages import write_pages
from evaluation.value.plots import curves_picture
from evaluation.value.record import (
    BOUND,
    Entry,
    folder_name,
    load_entry,
    plain_bound,
    write_part,
)
from evaluation.value.tables import HEADINGS, as_json, as_markdown, costs_text, row_of, tree_text
from evaluation.value.tree import Advice, VerdictTree, fit_tree
from evaluation.value.verdict import Prices
from evaluation.workers import Workers, open_workers, prepare_ray
from training.commands.arguments import keep_record, record_of, say_where, with_resumed
from training.commands.train import TrainCommand
from training.job.stored_run import stored_run

if TYPE_CHECKING:  # Ray takes seconds to import
    from training.studies.study import Step, Study

_log = logging.getLogger(__name__)
_RESUMED = "a report, such as outputs/report/20260101_120000_000"
_NARROW = ("scenario", "best rule", "saving", "captured share", "verdict")


@dataclass(frozen=True)
class ReportCommand(CommandConfig):
    """`echelon report`."""

    name: ClassVar = "report"
    network: str | None
    scenarios: list[str]
    advise: list[str]
    resume: str | None
    classical: dict[str, Any]
    start_from: str
    seeds: int
    train_seconds: float | None
    train: list[str]
    artifacts: dict[str, Any]
    traces: int
    seed: int
    bound_traces: int
    bound_seconds: float
    currency_per_cpu_hour: float
    service_tolerance: float
    workers: int
    tracking: TrackingConfig
    tune: TimedTuneConfig
    choose: ChooseConfig
    pages: str | None
    out: str | None
    storage: str | None
    smoke: bool
    smoke_overrides: dict[str, Any]


def report(argv: list[str]) -> int:
    """Run the command; returns the exit code: 1 where a scenario failed."""
    # Scenarios share the cores: more threads in each would only stall the others.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    prepare_ray()
    argv = with_resumed(argv, "report", _RESUMED, ConfigError)
    failed = [_run(composed) for composed in compose_runs(ReportCommand, argv)]
    return int(any(failed))


class _Report:
    """A report in the making: its studies, their errors, and the pages that show what there is."""

    def __init__(self, composed: Composed[ReportCommand]) -> None:
        command = composed.command
        self.folder, self.command = composed.folder.absolute(), command
        self.studies: list[Study] = [_study(label, composed) for label in command.scenarios]
        self.prices = Prices(command.currency_per_cpu_hour, command.service_tolerance)
        self.advised = {
            label: features_of(build_scenario(_train_command(label, command).scenario).compiled)
            for label in command.advise
        }
        self.errors: dict[str, str] = {}

    def store_in(self, storage: str | None) -> None:
        """Keep copies of the trainings in the copy of the report."""
        if storage is not None:
            self.studies = [
                replace(one, storage=f"{storage}/{one.folder.name}") for one in self.studies
            ]

    def folders(self) -> set[str]:
        """The names of the scenarios' folders, those of an earlier command, too."""
        there = {path.name for path in self.folder.iterdir() if path.is_dir()}
        return there | {one.folder.name for one in self.studies}

    def publish(self) -> tuple[list[Entry], VerdictTree | None, dict[str, Advice]]:
        """Write report.html, report.md and report.json from the records on disk."""
        entries = [
            load_entry(s.folder, s.label, s.seeds, self.prices, self.errors.get(s.label, ""))
            for s in self.studies
        ]
        features, verdicts = [], []
        for entry in entries:
            if entry.judgement is not None and entry.classical is not None:
                features.append(entry.classical.features)
                verdicts.append(entry.judgement.verdict.value)
        tree = fit_tree(features, verdicts)
        advice = {} if tree is None else {n: tree.advise(f) for n, f in self.advised.items()}
        plain = as_json(entries, tree, advice, self.prices, self.command.seeds)
        write_part(self.folder / "report.json", plain)
        for name, text in (
            ("report.md", as_markdown(entries, tree, advice)),
            ("report.html", as_html(entries, tree, advice, _facts(self.command))),
        ):
            write_file(self.folder / name, text.encode())
        for one, entry in zip(self.studies, entries, strict=True):
            if picture := curves_picture(entry):
                (one.folder / "curves.png").write_bytes(picture)
        return entries, tree, advice


def _run(composed: Composed[ReportCommand]) -> bool:
    """Make one report; returns whether a scenario failed."""
    composed, console = _with_network(composed), make_console()
    command, resumed = composed.command, composed.command.resume is not None
    _check(command)
    if command.storage is not None:
        open_storage(command.storage)  # mistakes fail before there is a folder
    report = _Report(composed)
    with contextlib.ExitStack() as stack:
        tracker = stack.enter_context(Tracker(command.tracking, composed.folder, resumed=resumed))
        # Its parts say themselves what they were made with.
        record = record_of(composed.folder, "report", composed.arguments, composed.resolved, None)
        keep_record(composed.folder, record)
        composed.write()
        say_where(record, console)
        report.store_in(record.storage)
        saved = stack.enter_context(
            stored_run(report.folder, record.storage, resumed=resumed, parts=report.folders())
        )
        tracker.start(
            f"report {len(report.studies)} scenarios",
            params=composed.parameters,
            tags={"command": "report"},
            description=f"Whether learning pays on {', '.join(command.scenarios)}.",
        )
        for one in report.studies:
            with contextlib.suppress(EchelonError):  # its row says what is wrong
                log_data(tracker, build_scenario(one.scenario), "training", command.network)
        _work(report, console, saved)
        entries, tree, advice = report.publish()
        _write_pages(composed, entries, console)
        tracker.log_metrics(0, _metrics(entries))
        for name in ("report.html", "report.md", "report.json"):
            tracker.log_artifacts(composed.folder / name)
        for one in report.studies:
            if (one.folder / "curves.png").exists():
                tracker.log_artifacts(one.folder / "curves.png", f"curves/{one.folder.name}")
    _show(entries, tree, advice, console)
    console.print(f"Wrote {composed.folder / 'report.html'}", highlight=False, soft_wrap=True)
    return any(entry.error for entry in entries)


def _with_network(composed: Composed[ReportCommand]) -> Composed[ReportCommand]:
    """Let a network file be the one scenario."""
    command = composed.command
    if command.network is None:
        return composed
    if any(argument.startswith("scenarios=") for argument in composed.arguments):
        raise ConfigError(
            f"network={command.network} and scenarios=... are both given; expected one of them. "
            'Files can be scenarios: "scenarios=[serial,network=FILE]".'
        )
    alone = [f"network={shlex.quote(command.network)}"]
    return replace(composed, command=replace(command, scenarios=alone))


def _words(label: str) -> list[str]:
    """The words of a scenario, as a shell reads them. Raises ConfigError."""
    try:
        words = shlex.split(label)
    except ValueError as error:
        raise ConfigError(f"scenarios: '{label}' can't be read ({error}).") from error
    if not words:
        raise ConfigError("scenarios: one is empty; expected a name, or network=FILE.")
    return words


def _scenario_name(label: str) -> str:
    """The first word of a label, as `classical.NAME` has it; of a file its name alone."""
    [name, *_] = _words(label)
    return Path(name.partition("=")[2]).stem if name.startswith("network=") else name


def _work(report: _Report, console: Console, saved: Callable[[], None]) -> None:
    """Do what isn't done: first the rules, from which learning starts. saved: called after each."""
    from evaluation.ray_workers import ray_session  # Ray takes seconds to import
    from training.studies.study import rules, trainings

    resources = [one.train.resources for one in report.studies]
    bundles = max((one.bundles for one in resources), key=len)
    with (
        ConsoleProgress(console) as progress,
        open_workers(report.command.workers, bundles) as workers,
    ):
        _do("rules", rules(report.studies), report, workers, progress, saved)
        steps = trainings(report.studies)
        # One Ray for all trainings that run in this process.
        cpus = max(one.cpus for one in resources)
        with ray_session(cpus) if steps else contextlib.nullcontext():
            _do("trainings", steps, report, workers, progress, saved)


def _do(
    title: str, steps: Sequence[Step], report: _Report, workers: Workers,
    progress: ConsoleProgress, saved: Callable[[], None],
) -> None:  # fmt: skip
    tasks = [Task(step.name, step.run) for step in steps]
    for ended in workers.run(title, tasks, progress):
        step = steps[ended.index]
        part, error = ended.value, "" if ended.error is None else _one_line(ended.error)
        if error and step.file == BOUND:  # a report does without
            part = plain_bound(None, error)
        if part is None:
            report.errors.setdefault(step.study.label, error)
        else:
            write_part(step.study.folder / step.file, part)
        progress.console.print(f"{step.name}: {error or 'done'}", highlight=False, soft_wrap=True)
        report.publish()  # an interrupted report is a report of what was finished
        saved()


def _one_line(error: Exception) -> str:
    if isinstance(error, EchelonError):
        return str(error)
    _log.error("This is a bug in Echelon:", exc_info=error)
    return " ".join(f"{type(error).__name__}: {error}".split())


def _write_pages(
    composed: Composed[ReportCommand], entries: Sequence[Entry], console: Console
) -> None:
    command = composed.command
    if command.pages is None:
        return
    typed = f"echelon report {shlex.join(redact_tree(composed.arguments))}"
    today = dt.date.today().isoformat()
    for page in write_pages(Path(command.pages), entries, typed, today, _facts(command)):
        console.print(f"Wrote {page}", highlight=False, soft_wrap=True)


def _check(command: ReportCommand) -> None:
    for name, least in (("seeds", 1), ("traces", 2), ("workers", 1), ("bound_traces", 2)):
        value = getattr(command, name)
        if value < least:
            raise ConfigError(f"{name} is {value}; expected at least {least}.")
    if not command.scenarios:
        raise ConfigError("scenarios is empty; expected at least one, as in scenarios=[serial].")
    if command.start_from not in ("best_rule", "base_policy"):
        raise ConfigError(
            f"start_from is '{command.start_from}'."
            f"{did_you_mean(command.start_from, ('best_rule', 'base_policy'))}"
        )
    for key in ("classical", "artifacts"):
        for label in getattr(command, key):
            if all(label != _scenario_name(one) for one in command.scenarios):
                raise ConfigError(f"{key}.{label}: '{label}' is none of the scenarios.")
    for names in command.classical.values():
        for name in names:
            policy_class(name)
    folders = [folder_name(label) for label in command.scenarios]
    for i, name in enumerate(folders):
        if name in folders[:i]:
            raise ConfigError(f"scenarios: '{command.scenarios[i]}' is there twice.")


def _train_command(label: str, command: ReportCommand) -> TrainCommand:
    """Return the resolved `echelon train` command of a scenario, as written in `scenarios`: words
    as in a shell, the first one the scenario's name, or network=FILE."""
    name, *overrides = _words(label)
    which = name if name.startswith("network=") else f"scenario={name}"
    arguments = [which, *overrides, *command.train]
    if command.smoke:
        arguments.append("smoke=true")
    return next(compose_runs(TrainCommand, arguments)).command


def _study(label: str, composed: Composed[ReportCommand]) -> Study:
    from training.studies.study import Study  # Ray takes seconds to import

    command, name = composed.command, _scenario_name(label)
    artifacts = tuple(Path(folder) for folder in command.artifacts.get(name, ()))
    seeds, train = len(artifacts) or command.seeds, _train_command(label, command)
    return Study(
        label=label,
        folder=composed.folder.absolute() / folder_name(label),
        scenario=train.scenario,
        train=train,
        classical=tuple(command.classical.get(name, ())),
        artifacts=artifacts,
        start_from=command.start_from,
        seeds=seeds,
        train_seconds=command.train_seconds,
        traces=command.traces,
        seed=command.seed,
        tune=command.tune,
        choose=command.choose,
        bound_traces=min(command.bound_traces, command.traces),
        bound_seconds=command.bound_seconds,
        storage=None,
    )


def _facts(command: ReportCommand) -> dict[str, str]:
    limit = command.train_seconds
    return {
        "test traces": f"{command.traces}, seed {command.seed}",
        "trainings per scenario": str(command.seeds),
        "each training": "by iterations" if limit is None else f"{limit:g} s",
        "tuning": f"at most {command.tune.budget} parameter sets and {command.tune.seconds:g} s per"
        f" policy, {command.tune.traces} training traces each",
        "best rule chosen on": f"{command.choose.traces} validation traces",
        "learning starts from": command.start_from,
        "price of compute": f"{command.currency_per_cpu_hour:g} currency per CPU hour",
        "equal service": f"fill rate not more than {command.service_tolerance:.2%} lower",
    }


def _metrics(entries: Sequence[Entry]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for entry in entries:
        if entry.judgement is not None:
            name = folder_name(entry.label)
            metrics[f"{name}/relative_saving"] = entry.judgement.relative
            metrics[f"{name}/classical_cost_per_period"] = entry.judgement.classical
            metrics[f"{name}/learned_cost_per_period"] = entry.judgement.learned
            if entry.judgement.captured is not None:
                metrics[f"{name}/captured_share"] = entry.judgement.captured[0]
    return metrics


def _show(
    entries: Sequence[Entry],
    tree: VerdictTree | None,
    advice: Mapping[str, Advice],
    console: Console,
) -> None:
    table = Table(title="Value of learning, 95 % intervals over traces and seeds")
    kept = [HEADINGS.index(name) for name in _NARROW]
    for name in _NARROW:
        table.add_column(name)
    for entry in entries:
        row = row_of(entry)
        table.add_row(*(row[i] for i in kept))
    console.print(table)
    console.print(costs_text(entries), highlight=False, soft_wrap=True)
    judged = sum(entry.judgement is not None for entry in entries)
    console.print(tree_text(tree, judged), highlight=False, soft_wrap=True)
    for label, one in advice.items():
        console.print(f"{label}: {one.text()}", highlight=False, soft_wrap=True)
