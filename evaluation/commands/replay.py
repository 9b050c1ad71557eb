"""`echelon replay`: simulate given demand with given orders, and write what happened."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console
from rich.table import Table

from conf.compose import CommandConfig, Composed, compose_runs
from envs.errors import ConfigError
from envs.policies import build_policy, policy_class
from envs.scenario import Scenario
from envs.scenarios import ScenarioConfig, build_scenario
from evaluation.console import make_console
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
    start = _date(command.start)
    scenario = build_scenario(command.scenario)
    demand = read_demand(Path(command.demand), scenario.network, start)
    given = [demand]
    if command.orders is not None:
        given.append(read_orders(Path(command.orders), scenario.network, start))
    periods = common_periods(given, command.periods)
    history = demand.dense(periods, len(scenario.network.stocks))
    scenario = dataclasses.replace(scenario, network=with_given_demand(scenario.network, history))
    if command.orders is not None:
        orders = given[1].dense(periods, len(scenario.network.lanes))
        done = replay_orders(scenario, orders, command.seed)
    else:
        done = _play(scenario, command, periods)
    frames = tables(done, command.discount, start)
    summary = summarise(done, frames["periods"], _about(scenario, command))
    write_replay(composed.folder, frames, summary)
    _tell(done, summary, composed.folder, console)
    last = None if start is None else start + dt.timedelta(days=periods - 1)
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


def _date(text: str | None) -> dt.date | None:
    try:
        return None if text is None else dt.date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"start is '{text}'; expected YYYY-MM-DD.") from None


def _play(scenario: Scenario, command: Any, periods: int) -> Replay:
    parameters = _policy_params(scenario, command)
    policy = build_policy(command.policy, scenario.compiled, parameters)
    return replay_policy(scenario, policy, periods, command.seed)


def _policy_params(scenario: Scenario, command: Any) -> dict[str, Any]:
    """What is given; else the scenario's own; parameters in neither keep their textbook values."""
    policy_class(command.policy)  # an unknown name fails with the known ones
    return dict(command.policy_params or scenario.policy_params.get(command.policy, {}))


def _about(scenario: Scenario, command: Any) -> dict[str, Any]:
    """How to get the same numbers again: what the summary starts with."""
    files = {name: getattr(command, name) for name in ("network", "demand", "orders")}
    about = {
        "network": scenario.name,
        "files": {
            name: {"path": path, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
            for name, path in files.items()
            if path is not None
        },
        "policy": command.policy,
        "start": command.start,
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
            soft_wrap=True, highlight=False, markup=False,
        )  # fmt: skip
    console.print(f"Wrote the tables to {folder}.", soft_wrap=True, highlight=False, markup=False)
