"""`echelon recommend`: the nightly batch, order lines for whole networks from tables."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from conf.compose import Composed, NetworkCommand, compose_runs
from envs.errors import ConfigError, EchelonError, shown
from envs.scenarios import build_scenario
from evaluation.artifact.network_io import physical_hash
from evaluation.batch.run import BatchConfig, BatchRun
from evaluation.commands.model_of import model_of
from evaluation.console import ConsoleProgress, make_console
from evaluation.recommendation.schemas import RecommendationRequest, Scope
from evaluation.tasks import Task
from evaluation.tracking.config import TrackingConfig
from evaluation.workers import open_workers

_MOST_SUPPLIERS = 12  # lines of the table


@dataclass(frozen=True)
class RecommendCommand(NetworkCommand):
    """`echelon recommend`."""

    name: ClassVar = "recommend"
    out_is_folder: ClassVar = False
    data: str | None
    out: str | None
    model: str | None
    artifact: str
    as_of: str | None
    policy: str
    include_zero: bool
    run_id: str | None
    stale_after: int
    refuse_after: int
    workers: int
    tracking: TrackingConfig


def recommend(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    for composed in compose_runs(RecommendCommand, argv):
        _run(composed)
    return 0


def _run(composed: Composed[RecommendCommand]) -> None:
    command, console = composed.command, make_console()
    batch = BatchRun(_config(command))
    record = batch.finished()
    if record is not None:
        _tell(record, console)
        _say(console, f"Run {batch.run_id} had written {batch.out} already; nothing was done.")
        return
    jobs = batch.begin()
    if done := len(batch.jobs) - len(jobs):
        _say(console, f"{done} of {_count(len(batch.jobs))} done before.")
    failed: list[tuple[str, Exception]] = []
    with ConsoleProgress(console) as progress, open_workers(command.workers) as workers:
        tasks = [Task(job.network, job.run) for job in jobs]
        for ended in workers.run(f"recommend, {_count(len(tasks))}", tasks, progress):
            job = jobs[ended.index]
            if ended.error is None:
                batch.keep(job, ended.result())
            else:
                failed.append((job.network, ended.error))
    if failed:
        _raise(failed, len(batch.jobs), console)
    record = batch.finish()
    _tell(record, console)
    lines = sum(network["rows"] for network in record["networks"])
    _say(console, f"Wrote {lines:,} lines to {batch.out} (run {batch.run_id}).")


def _config(command: RecommendCommand) -> BatchConfig:
    """Check the choices. Raises ConfigError."""
    if command.data is None or command.out is None:
        missing = "data" if command.data is None else "out"
        raise ConfigError(
            f"{missing} is missing; expected data=FOLDER of tables and out=FILE.parquet or .csv."
        )
    if not 0 <= command.stale_after <= command.refuse_after:
        raise ConfigError(
            f"stale_after is {command.stale_after} and refuse_after {command.refuse_after}; "
            "expected 0 <= stale_after <= refuse_after, in periods."
        )
    if command.run_id is not None and not command.run_id.strip():
        raise ConfigError("run_id is empty; expected a name, such as 2026-11-22, or null.")
    try:
        base = RecommendationRequest(
            as_of=_date(command.as_of),
            policy=command.policy,  # type: ignore[arg-type] # checked here
            include_zero=command.include_zero,
            scope=Scope(),
            stock=[],
        )
    except ValidationError as problem:
        raise ConfigError(
            f"policy is {shown(command.policy)}; expected champion or classical."
        ) from problem
    return BatchConfig(
        data=command.data,
        out=command.out,
        model=command.model or model_of(command, command.tracking.uri),
        artifact=command.artifact,
        tracking_uri=command.tracking.uri,
        base=base,
        stale_after=command.stale_after,
        refuse_after=command.refuse_after,
        run_id=command.run_id,
        physical=None if command.network is None else _physical(command),
    )


def _physical(command: RecommendCommand) -> str:
    return physical_hash(build_scenario(command.scenario))


def _date(as_of: str | None) -> dt.date | None:
    if as_of == "today":
        return dt.datetime.now().astimezone().date()
    try:
        return None if as_of is None else dt.date.fromisoformat(as_of)
    except ValueError:
        raise ConfigError(f"as_of is {shown(as_of)}; expected YYYY-MM-DD, or today.") from None


def _raise(failed: list[tuple[str, Exception]], networks: int, console: Console) -> None:
    """Tell of all networks that failed; raise the first error."""
    if networks > 1:
        for network, error in failed[1:]:
            text = str(error) if isinstance(error, EchelonError) else repr(error)
            _say(console, f"{network}: {text}")
        _say(
            console,
            f"{len(failed)} of {networks} networks failed, so nothing was written; the lines of "
            "the others are kept. Run the command again when that is mended.",
        )
    raise failed[0][1]


def _tell(record: Mapping[str, Any], console: Console) -> None:
    """Print sums by network and by supplier, and what had to be assumed."""
    networks = record["networks"]
    shown_sums = Table("network", "version", title="Orders", title_justify="left")
    for name in ("lines", "changed", "units", "classical", "value", "", "by the rule"):
        shown_sums.add_column(name, justify="left" if name == "" else "right")
    suppliers: dict[tuple[str, str], Counter[str]] = {}
    for one in networks:
        total = one["summary"]
        shown_sums.add_row(
            one["network"], one["model"]["version"] or one["model"]["artifact"][:12],
            f"{total['lines']:,}", f"{total['changed_lines']:,}", f"{total['units']:,.0f}",
            f"{total['classical_units']:,.0f}", f"{total['order_cost']:,.2f}", total["currency"],
            f"{one['fallback_lines']:,}",
        )  # fmt: skip
        for name, sums in one["by_supplier"].items():
            suppliers.setdefault((name, total["currency"]), Counter()).update(sums)
    console.print(shown_sums)
    console.print(_by_supplier(suppliers))
    for one in networks:
        for reason in one["fallback"]["reasons"]:
            _say(console, f"{one['network']}: the base policy answers lines ({reason}).")
        for notice in one["warnings"]:
            _say(console, f"{one['network']}: {notice['code']}, {notice['rows']:,} rows: "
                 f"{notice['message']} ({_some(notice['where'], notice['rows'])})")  # fmt: skip


def _by_supplier(suppliers: Mapping[tuple[str, str], Mapping[str, float]]) -> Table:
    shown_sums = Table("supplier", title="By supplier", title_justify="left")
    for name in ("lines", "units", "value", ""):
        shown_sums.add_column(name, justify="left" if name == "" else "right")
    ranked = sorted(suppliers.items(), key=lambda entry: -entry[1]["value"])
    for (name, currency), sums in ranked[:_MOST_SUPPLIERS]:
        shown_sums.add_row(
            name, f"{sums['lines']:,.0f}", f"{sums['units']:,.0f}", f"{sums['value']:,.2f}",
            currency,
        )  # fmt: skip
    if (more := len(ranked) - _MOST_SUPPLIERS) > 0:
        shown_sums.add_row(f"and {more} more")
    return shown_sums


def _count(networks: int) -> str:
    return f"{networks} network{'s' * (networks != 1)}"


def _some(where: Iterable[str], rows: int) -> str:
    names = [*where][:3]
    return ", ".join(names) + (", ..." if rows > len(names) else "")


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False)
