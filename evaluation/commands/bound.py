"""`echelon bound`: what the best policy of a scenario costs, or what none can cost less than."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.table import Table

from conf.compose import Composed, ScenarioCommand, compose_runs
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.comparison.units import cost_unit
from evaluation.console import ConsoleProgress, make_console
from evaluation.optima.bound import Bound
from evaluation.optima.exact import NotCovered, solve_scenario
from evaluation.optima.hindsight import hindsight_bound
from evaluation.workers import open_workers


@dataclass(frozen=True)
class BoundCommand(ScenarioCommand):
    """`echelon bound`. time_limit: seconds, of value iteration."""

    name: ClassVar = "bound"
    time_limit: float | None
    traces: int
    seed: int
    split: str
    workers: int


def bound(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    for composed in compose_runs(BoundCommand, argv):
        _run(composed)
    return 0


def _run(composed: Composed[BoundCommand]) -> None:
    command, console = composed.command, make_console()
    scenario = build_scenario(command.scenario)
    with ConsoleProgress(console) as progress:
        progress.phase("value iteration")
        try:
            found = solve_scenario(scenario, time_limit=command.time_limit)
        except NotCovered as reason:
            console.print(f"No exact optimum: {reason}.", highlight=False, soft_wrap=True)
            with open_workers(min(command.workers, command.traces)) as workers:
                found = hindsight_bound(
                    scenario, traces=command.traces, seed=command.seed, split=command.split,
                    workers=workers, progress=progress,
                )  # fmt: skip
    console.print(bound_table(scenario, found))
    if found.says_nothing:
        of = f"network={command.network}" if command.network else f"scenario={scenario.name}"
        console.print(
            "This bound is true and worthless: costs are charges, so none is below 0, and whoever "
            "knows demand ahead pays nothing here. Compare policies with each other instead: "
            f"echelon tune {of}.",
            highlight=False, soft_wrap=True,
        )  # fmt: skip


def bound_table(scenario: Scenario, found: Bound) -> Table:
    """Return one line: cost, how far to trust it, how it was found."""
    unit = cost_unit(scenario)
    table = Table(title=f"{scenario.name}: what no policy can beat", title_justify="left")
    for heading in (unit, "kind", "method", "seconds"):
        table.add_column(heading, justify="left" if heading in ("kind", "method") else "right")
    interval = f" ± {found.half_width:.4g}" if found.half_width > 0.0 else ""
    table.add_row(
        f"{found.cost:,.4f}{interval}", found.kind.value, found.method, f"{found.seconds:.1f}"
    )
    return table
