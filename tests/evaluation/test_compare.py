"""Comparisons: intervals that mean something, files that say all."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from envs.network.demand import DemandConfig
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.single_node import SingleNodeConfig
from evaluation.comparison import rollout
from evaluation.comparison.compare import Estimate, compare, estimate, verdict
from evaluation.comparison.plots import draw_all
from evaluation.comparison.rollout import Competitor, play
from evaluation.comparison.tables import SCHEMA_VERSION, as_table, write_json
from evaluation.tuning.config import TuneConfig
from evaluation.tuning.search import tune_policy


@pytest.fixture(scope="module")
def lost_sales() -> Scenario:
    return build_scenario(
        SingleNodeConfig(
            kind="single_node", name="lost", horizon=100, warm_up=20, lead_time=2,
            lost_sale_cost=4, base_policy="base_stock", demand=DemandConfig("poisson", mean=5),
            holding_cost=1.0,
        )
    )  # fmt: skip


def stock(level: float, name: str = "") -> Competitor:
    return Competitor(name or f"S={level:g}", "base_stock", {"level": level})


def test_an_interval_covers_the_mean_95_times_of_100() -> None:
    """Student's interval on normal samples, counted over 2,000 draws."""
    samples = np.random.default_rng(1).normal(3.0, 2.0, (2000, 8))
    inside = [abs(e.mean - 3.0) <= e.half_width for e in map(estimate, samples)]
    assert 0.935 < np.mean(inside) < 0.965


def test_the_verdict_follows_the_interval() -> None:
    """Better and worse only when zero is outside."""
    cases = [(Estimate(-1, 0.5, 9), "better"), (Estimate(1, 0.5, 9), "worse")]
    cases += [(Estimate(-1, 1.5, 9), "tie"), (Estimate(0, 0.0, 9), "tie")]
    assert [verdict(e) for e, _ in cases] == [word for _, word in cases]


def test_pairing_narrows_the_interval(lost_sales: Scenario) -> None:
    """On common traces the difference of two policies is known better than their costs."""
    comparison = compare(lost_sales, [stock(16), stock(17)], traces=64, seed=1)
    difference = comparison.policies[1].difference
    assert difference is not None
    assert difference.half_width < 0.8 * comparison.policies[1].cost.half_width


def test_equal_policies_differ_by_nothing(lost_sales: Scenario) -> None:
    """Same traces, same orders: the paired difference is exactly zero."""
    comparison = compare(lost_sales, [stock(16, "a"), stock(16, "b")], traces=16, seed=1)
    difference = comparison.policies[1].difference
    assert difference is not None
    assert (difference.mean, difference.half_width) == (0.0, 0.0)


def test_traces_do_not_depend_on_the_batch(lost_sales: Scenario) -> None:
    """300 traces are played in two batches; the first 100 are those of a run of 100."""
    many = compare(lost_sales, [stock(16)], traces=300, seed=4).policies[0].kpis
    few = compare(lost_sales, [stock(16)], traces=100, seed=4).policies[0].kpis
    np.testing.assert_array_equal(many.cost[:, :100], few.cost)


def test_large_networks_are_played_in_smaller_batches(
    lost_sales: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same episodes."""
    whole = play(lost_sales, stock(16).build(lost_sales), traces=40, seed=4)
    monkeypatch.setattr(rollout, "_ROWS", 17)  # here of one pair
    assert rollout.batches(lost_sales, 40) == [(0, 17), (17, 17), (34, 6)]
    parts = play(lost_sales, stock(16).build(lost_sales), traces=40, seed=4)
    np.testing.assert_array_equal(whole.cost, parts.cost)
    assert parts.summary() == pytest.approx(whole.summary())


def test_the_tuner_finds_the_best_level(lost_sales: Scenario) -> None:
    """Zipkin (2008): S = 16 is best; no neighbour on the same training traces is cheaper."""
    tuned = tune_policy(lost_sales, "base_stock", TuneConfig(256, 60, 9))
    assert tuned.parameters["level"] == {"store": 16.0}
    assert tuned.evaluations <= 60


def test_the_files_say_all(lost_sales: Scenario, tmp_path: Path) -> None:
    """evaluation.json is complete and finite, columns sum to the cost; table and plots exist."""
    comparison = compare(lost_sales, [stock(16), stock(20)], traces=32, seed=2)
    write_json(comparison, tmp_path / "evaluation.json")
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert report["schema_version"] == SCHEMA_VERSION
    assert (report["seed"], report["traces"], report["horizon"]) == (2, 32, 100)
    for policy in report["policies"].values():
        assert sum(policy["cost_columns"].values()) == pytest.approx(
            policy["cost_per_period"]["mean"]
        )
        assert 0 < policy["fill_rate"] < 1
        assert policy["bullwhip_store"] > 0
        for parts in (policy["cost_by_node"], policy["cost_by_sku"]):
            (columns,) = parts.values()
            assert columns == pytest.approx(policy["cost_columns"])
        assert 0 < policy["lanes"]["outside > store"]["otif"] <= 1
        assert policy["resources"] == {}
    (difference,) = report["paired_differences"]
    assert difference["verdict"] == "worse"
    low, high = difference["cost_per_period"]["ci95"]
    assert low < difference["cost_per_period"]["mean"] < high
    pictures = draw_all(comparison, tmp_path / "plots")
    assert {p.name for p in pictures} == {"stock_and_orders.png", "cost_by_column.png", "kpis.png"}
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)
    console = Console(record=True, width=160, file=io.StringIO())
    console.print(as_table(comparison))
    assert "S=20" in console.export_text()


def test_better_is_said_at_equal_service_only(lost_sales: Scenario) -> None:
    """S=17 instead of 24: less cost, and fewer customers served."""
    less, as_well = (
        compare(lost_sales, pair, traces=32, seed=1).policies[1]
        for pair in ([stock(24), stock(17)], [stock(12), stock(17)])
    )
    assert less.service < -0.02
    assert (less.verdict, as_well.verdict) == ("cheaper, less service", "better")
