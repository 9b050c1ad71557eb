"""A network says what its money and periods are, and so does all that is printed of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from conf.compose import compose
from echelon import main
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.commands.evaluate import metrics_of
from evaluation.commands.show import ShowCommand
from evaluation.comparison.compare import compare
from evaluation.comparison.rollout import Competitor
from evaluation.comparison.time_axis import label_periods
from evaluation.comparison.units import in_words
from tests.test_network_file import TEA

WEEKLY = "period_name: week\ncurrency: USD\nstart_date: 2024-01-03\n" + TEA.replace(
    "lead_time: 2}", "lead_time: 2, calendar: {cycle: 2, open: [0]}}"
)
ASSUMED = "week 0 is taken as Monday 2000-01-03, as no start_date says when it is"
COMMANDS = {
    "show": ["smoke=true", "policy=base_stock"],
    "tune": ["smoke=true", "policies=[base_stock]"],
    "evaluate": [
        "policies=[constant_order]",
        "policy_params.constant_order.quantity=5",
        "traces=2",
    ],
    "bound": ["smoke=true"],
    "replay": ["demand=demand.csv", "policy=base_stock"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands run; it has their files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dated.yaml").write_text(WEEKLY)
    (tmp_path / "undated.yaml").write_text(WEEKLY.replace("start_date: 2024-01-03\n", ""))
    (tmp_path / "demand.csv").write_text("period,node,sku,quantity\n3,shop,tea,5\n")
    return tmp_path


def scenario_of(file: str) -> Scenario:
    return build_scenario(compose(ShowCommand, [f"network={file}"]).command.scenario)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_counts_in_dollars_and_weeks(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In no other currency or period, and in one spelling."""
    tracked = ["tracking.enabled=false"] if name in ("tune", "evaluate") else []
    out = [] if name == "bound" else ["out=out"]
    assert main([name, "network=dated.yaml", *COMMANDS[name], *tracked, *out]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert ("USD" if name == "replay" else "USD per week") in printed
    written = [printed, *(p.read_text() for p in folder.rglob("out/*.json"))]
    for text in written:
        assert not re.search(r"EUR|USD/|per day|\bdays\b", text)


def test_figures_are_tracked_by_their_own_names(folder: Path) -> None:
    """A stock of so many weeks isn't called days."""
    scenario = scenario_of("dated.yaml")
    comparison = compare(scenario, [Competitor("it", "base_stock")], traces=2, seed=0)
    names = set(metrics_of(comparison))
    assert {"it/weeks_of_supply", "it/forward_weeks_of_supply", "it/cost_per_period"} <= names
    assert not any("days" in name for name in names)


@pytest.mark.parametrize("name", ["show", "replay"])
def test_who_has_calendars_but_no_dates_is_told(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables and pictures count periods; a line says what the calendars count from."""
    assert main([name, "network=undated.yaml", *COMMANDS[name], "out=out"]) == 0
    assert ASSUMED in " ".join(capsys.readouterr().out.split())


def test_periods_are_numbered_where_there_are_no_dates(folder: Path) -> None:
    """By the calendar, from where the run began; without calendars nothing is assumed."""
    undated = scenario_of("undated.yaml")
    axis = Figure().subplots()
    label_periods(axis, undated, 6, 20, " of trace 0")
    assert axis.get_xlabel() == "week of trace 0, from week 6 (no start_date gives dates)"
    assert in_words(undated) == f"Costs in USD per week; {ASSUMED}"
    (folder / "plain.yaml").write_text(
        (folder / "undated.yaml").read_text().replace(", calendar: {cycle: 2, open: [0]}", "")
    )
    plain = scenario_of("plain.yaml")
    label_periods(axis, plain, 6, 20, " of trace 0")
    assert axis.get_xlabel() == "week of trace 0"
    assert in_words(plain) == "Costs in USD per week"


def test_a_holiday_needs_a_start_date(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else nobody knows which period it is in."""
    holiday = WEEKLY.replace("week", "day").replace("start_date: 2024-01-03\n", "")
    (folder / "holiday.yaml").write_text(holiday.replace("[0]", "[0], closed_on: [2024-12-25]"))
    assert main(["show", "network=holiday.yaml", "policy=base_stock"]) == 1
    assert "has no start_date to count from" in " ".join("".join(capsys.readouterr()).split())
