"""`key=a,b -m`: every run of a command, whatever becomes of the others, below one in MLflow."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from conf.compose import Composed, ScenarioCommand, compose_each, compose_runs
from envs.errors import EchelonError, Interrupted
from envs.redact import redact
from evaluation.console import make_console
from evaluation.tracking.config import TrackingConfig
from evaluation.tracking.summary import log_summary
from evaluation.tracking.tracker import Tracker

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackedCommand(ScenarioCommand):
    """A command that MLflow lists."""

    tracking: TrackingConfig


T = TypeVar("T", bound=TrackedCommand)
Run = Callable[[Composed[T]], Mapping[str, float]]


def run_each(schema: type[T], argv: Sequence[str], run: Run[T]) -> int:
    """Run the command, or all its runs with -m; returns the exit code: 1 where one of them failed.

    run: one of them; returns what to compare them by, by name. Of several, one that can't be
    composed, or fails, is a row of the summary; a signal ends them all. Raises EchelonError where
    there is one alone, or none can be composed.
    """
    if not any(argument in ("-m", "--multirun") for argument in argv):
        run(next(compose_runs(schema, argv)))
        return 0
    each = list(compose_each(schema, argv))
    good = [one for _, one in each if isinstance(one, Composed)]
    if not good:
        for _, problem in each:
            if isinstance(problem, EchelonError):
                raise problem
    first, console = good[0], make_console()
    tracking = dataclasses.replace(first.command.tracking, system_metrics=False)
    stem = first.folder.name.rpartition("_")[0]
    about = f"{len(each)} runs of `echelon {schema.name}`."
    rows: list[_Row] = []
    with Tracker(tracking, first.folder.with_name(f"{stem}_all")) as tracker:
        shared = set.intersection(*(set(overrides) for overrides, _ in each))
        params = dict(one.removeprefix("+").split("=", 1) for one in sorted(shared) if "=" in one)
        tracker.start(f"{schema.name}, {len(each)} runs", params, {"command": schema.name}, about)
        for number, (overrides, one) in enumerate(each):
            what = " ".join(o for o in overrides if o not in shared)
            rows.append(_row(number, redact(what), one, tracker.folder, run))
            if rows[-1].why:
                console.print(f"Run {number} ({what}) failed: {rows[-1].why}", highlight=False)
        names = list(dict.fromkeys(name for row in rows for name in row.values))
        log_summary(
            tracker, about, ["run", "arguments", "state", *names],
            [[f"{r.number}", r.what, r.state, *(r.values.get(n) for n in names)] for r in rows],
        )  # fmt: skip
    console.print(f"Runs: {tracker.folder}", highlight=False, soft_wrap=True)
    return int(any(row.why for row in rows))


@dataclass(frozen=True)
class _Row:
    number: int
    what: str  # the arguments that the others don't have
    values: Mapping[str, float]
    why: str = ""  # of a failure

    @property
    def state(self) -> str:
        return f"failed: {self.why}" if self.why else "finished"


def _row(
    number: int, what: str, composed: Composed[T] | EchelonError, parent: Path, run: Run[T]
) -> _Row:
    try:
        if isinstance(composed, EchelonError):
            raise composed
        return _Row(number, what, run(dataclasses.replace(composed, parent=parent)))
    except Interrupted:
        raise
    except EchelonError as error:
        why: Any = error
    except Exception as error:
        _log.error("Run %d failed:", number, exc_info=error)
        why = f"{type(error).__name__}: {error}"
    return _Row(number, what, {}, " ".join(redact(str(why)).split())[:300])
