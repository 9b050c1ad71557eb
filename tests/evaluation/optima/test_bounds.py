"""`echelon bound` and the choice between the exact solver and hindsight."""

from __future__ import annotations

import pytest

from conf.compose import compose
from echelon import main
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.commands.bound import BoundCommand
from evaluation.optima.bound import Bound, BoundKind
from evaluation.optima.bounds import best_bound


def built(name: str, *arguments: str) -> Scenario:
    composed = compose(BoundCommand, [f"scenario={name}", "smoke=true", *arguments])
    return build_scenario(composed.command.scenario)


def test_exact_where_it_can_be_else_hindsight() -> None:
    """One pair is solved; a chain of four is known in hindsight only."""
    exact = best_bound(built("lost_sales"), traces=2, seed=1)
    assert exact.kind is BoundKind.exact
    assert exact.cost == pytest.approx(4.7285, abs=1e-4)
    chain = best_bound(built("beer_game"), traces=2, seed=1)
    assert (chain.kind, chain.method.split(",")[0]) == ("bound", "hindsight linear programme")


def test_no_time_is_a_lower_bound() -> None:
    """Of lost sales after one iteration: below the optimum, and said to be no more than that."""
    found = best_bound(built("lost_sales"), traces=2, seed=1, time_limit=0.0)
    assert found.kind is BoundKind.bound
    assert "time limit" in found.method
    assert found.cost < 4.7285


def test_the_command_tells(capsys: pytest.CaptureFixture[str]) -> None:
    """Cost, kind and method in a table; the reason where there is no exact optimum."""
    assert main(["bound", "scenario=lost_sales", "scenario.lead_time=2"]) == 0
    printed = capsys.readouterr().out
    for word in ("4.3953", "exact", "value iteration", "EUR per day"):
        assert word in printed
    assert main(["bound", "scenario=beer_game", "smoke=true"]) == 0
    printed = capsys.readouterr().out
    for word in ("No exact optimum: lane", "another place.", "bound", "hindsight"):
        assert word in printed


def test_a_bound_of_nothing_says_so() -> None:
    """0 is true of every network of charges; as an optimum, or below 0 by revenue, it tells."""
    assert Bound(1e-9, BoundKind.bound, "").says_nothing
    assert not Bound(0.0, BoundKind.exact, "").says_nothing
    assert not Bound(-3.0, BoundKind.bound, "").says_nothing
    assert not Bound(0.1, BoundKind.bound, "").says_nothing
