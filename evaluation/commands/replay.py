"""`echelon replay`: simulate given demand with given orders, and write what happened."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console
from rich.table import Table

from conf.compose import CommandConfig, Composed, compose_runs
from envs.dates import Dates
from envs.errors import ConfigError, shown
from envs.policies import build_policy, policy_class
from envs.scenario import Scenario
from envs.scenarios import ScenarioConfig, build_scenario
from evaluation.comparison.units import first_period
from evaluation.console import make_console
from evaluation.files.atomic_folder import file_hash
from evaluation.replay.input import common_periods, read_demand, read_orders
from evaluation.replay.replay import Replay, replay_orders, replay_policy, with_given_demand
from evaluation.replay.tables import must_be_free, summarise, tables, write_replay


@dataclass(frozen=True)
class ReplayCommand(CommandConfig):
    """`echelon replay`."""

    name: ClassVar = "replay"
    network: str | None  # a file, as demand and orders are
    demand: str | None
    orders: str | None
    policy: str | None
    policy_params: dict[str, Any]
    periods: int | None
    start: str | None  # ISO date of period 0
    discount: float
    seed: int
    out: str | None
    scenario: ScenarioConfig | None = None


def replay(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    for composed in compose_runs(ReplayCommand, argv):
        _run(composed)
    return 0


def _run(composed: Composed[ReplayCommand]) -> None:
    command: Any = composed.command
    console = make_console()
    _check(command)
    must_be_free(composed.folder)
    scenario = build_scenario(command.scenario)
    first, dates = _dates(command.start, scenario)
    demand = read_demand(Path(command.demand), scenario.network, dates)
    given = [demand]
    if command.orders is not None:
        given.append(read_orders(Path(command.orders), scenario.network, dates))
    periods = common_periods(given, command.periods)
    history = demand.dense(periods, len(scenario.network.stocks))
    network = with_given_demand(scenario.network, history, first)
    scenario = dataclasses.replace(scenario, network=network)
    if command.orders is not None:
        orders = given[1].dense(periods, len(scenario.network.lanes))
        done = replay_orders(scenario, orders, command.seed, first)
    else:
        done = _play(scenario, command, periods, first)
    frames = tables(done, command.discount, dates)
    summary = summarise(done, frames["periods"], _about(scenario, command, dates))
    write_replay(composed.folder, frames, summary)
    _tell(done, summary, composed.folder, console)
    if dates is None and scenario.by_date:
        console.print(f"No dates: {first_period(scenario)}.", soft_wrap=True, highlight=False)
    last = None if dates is None else dates.date_of(periods - 1)
    if last is not None and last > dt.datetime.now(dt.UTC).date():
        console.print(
            f"Warning: the tables go on to {last}, after today: a plan, or a typing error."
        )


def _check(command: Any) -> None:
    """Raise ConfigError unless every choice is made exactly once."""
    if command.demand is None:
        raise ConfigError("demand is missing; give demand=FILE.")
    if command.scenario is None:
        raise ConfigError(
            "network, scenario: neither is given; expected one of network=FILE and scenario=NAME."
        )
    if (command.orders is None) == (command.policy is None):
        state = "both are given" if command.orders is not None else "neither is given"
        raise ConfigError(
            f"orders, policy: {state}; expected exactly one of orders=FILE and policy=NAME."
        )
    if command.policy_params and command.policy is None:
        raise ConfigError("policy_params is given without a policy; expected policy=NAME.")
    if command.periods is not None and command.periods < 1:
        raise ConfigError(f"periods is {command.periods}; expected a whole number >= 1.")
    if not (math.isfinite(command.discount) and command.discount > 0.0):
        raise ConfigError(f"discount is {command.discount}; expected a number > 0, such as 0.97.")


def _dates(start: str | None, scenario: Scenario) -> tuple[int, Dates | None]:
    """Return the calendar period to begin in, and the dates from it on; those of the network,
    where it has them and `start` is not given."""
    if start is None:
        known = scenario.start_date is not None
        return 0, Dates(scenario.first_date, scenario.period_name) if known else None
    try:
        first = scenario.period_of(dt.date.fromisoformat(start))
    except ValueError:
        raise ConfigError(f"start is {shown(start)}; expected YYYY-MM-DD.") from None
    if first < 0:
        raise ConfigError(
            f"start is {start}; expected {scenario.first_date} or later: calendars count from that "
            "day. Give an earlier scenario.start_date."
        )
    return first, Dates(scenario.date_of(first), scenario.period_name)


def _play(scenario: Scenario, command: Any, periods: int, first: int) -> Replay:
    parameters = _policy_params(scenario, command)
    policy = build_policy(command.policy, scenario.compiled, parameters)
    return replay_policy(scenario, policy, periods, command.seed, first)


def _policy_params(scenario: Scenario, command: Any) -> dict[str, Any]:
    """What is given; else the scenario's own; parameters in neither keep their textbook values."""
    policy_class(command.policy)  # an unknown name fails with the known ones
    return dict(command.policy_params or scenario.policy_params.get(command.policy, {}))


def _about(scenario: Scenario, command: Any, dates: Dates | None) -> dict[str, Any]:
    """How to get the same numbers again: what the summary starts with."""
    files = {name: getattr(command, name) for name in ("network", "demand", "orders")}
    about = {
        "network": scenario.name,
        "files": {
            name: {"path": path, "sha256": file_hash(Path(path))}
            for name, path in files.items()
            if path is not None
        },
        "policy": command.policy,
        "start": None if dates is None else dates.first.isoformat(),
        "seed": command.seed,
        "discount": command.discount,
        "period": scenario.period_name,
        "currency": scenario.currency,
    }
    if command.policy is not None:
        about["policy_params"] = _policy_params(scenario, command)
    return about


def _tell(done: Replay, summary: dict[str, Any], folder: Path, console: Console) -> None:
    """Print the totals, a warning where orders were changed, and where the tables are."""
    title = f"{summary['network']}: {done.periods} {summary['period']}s"
    title += f" from {summary['start']}" if summary["start"] else ""
    shown = Table("total", title=title, title_justify="left")
    shown.add_column("units", justify="right")
    shown.add_column(summary["currency"], justify="right")
    for name, value in {**summary["totals"], **summary["at_the_end"]}.items():
        at_the_end = name in summary["at_the_end"]
        if value == 0.0 and name.startswith("cost_"):
            continue
        is_money = name.startswith("cost") or name.endswith("profit")
        cells = ("", f"{value:,.2f}") if is_money else (f"{value:,.1f}", "")
        shown.add_row(f"{name}, at the end" if at_the_end else name, *cells)
    console.print(shown)
    if done.changed:
        first, count = done.changed[0], len(done.changed)
        console.print(
            f"Warning: {count} order{'s' * (count > 1)} not feasible as given; the first: period "
            f"{first.period}, lane '{first.lane}', {first.asked:g} became {first.ordered:g} "
            f"({', '.join(first.rules)}). See changed_orders in summary.json.",
            soft_wrap=True, highlight=False,
        )  # fmt: skip
    for name, unused in summary["unused_limits"].items():
        console.print(
            f"Limit '{name}' was too small in {unused['periods']} periods and yet not used up: "
            f"{unused['left']:g} left in all, which fitted no order. See docs/how_to/orders.md.",
            soft_wrap=True, highlight=False,
        )  # fmt: skip
    console.print(f"Wrote the tables to {folder}.", soft_wrap=True, highlight=False)
