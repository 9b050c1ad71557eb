"""The tuner: linked levels, stock classes, budgets, and `echelon tune` with its cache."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conf.compose import compose
from conf.help import help_text
from echelon import main
from envs.errors import ConfigError
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.commands.tune import TuneCommand
from evaluation.comparison.rollout import Competitor, play
from evaluation.files.storage import open_storage
from evaluation.tuning.cache import digest, load_tuned, read_policy_params, store_tuned
from evaluation.tuning.choose import unfit
from evaluation.tuning.config import TuneConfig
from evaluation.tuning.search import stock_classes, tune_policy
from tests.conftest import Recorder


def build(*arguments: str) -> Scenario:
    """Build the scenario a command line describes."""
    return build_scenario(compose(TuneCommand, list(arguments)).command.scenario)


@pytest.fixture(scope="module")
def dual() -> Scenario:
    """Two linked levels: the smallest scenario where moves along the axes get stuck."""
    return build("scenario=dual_sourcing")


def test_linked_levels_reach_the_best_of_the_whole_grid(dual: Scenario) -> None:
    """Single index: no pair of levels on a grid around the found one costs less."""
    tuned = tune_policy(dual, "single_index", TuneConfig(16, 120, 1))
    level = tuned.parameters["level"]["store"]
    low = tuned.parameters["expedite_level"]["store"]
    costs = {}
    for a in range(-3, 4):
        for b in range(-3, 4):
            policy = build_policy(
                "single_index", dual.compiled, {"level": level + a, "expedite_level": low + b}
            )
            result = play(dual, policy, traces=16, seed=1, split="train")
            costs[a, b] = float(result.cost.mean())
    assert costs[0, 0] == pytest.approx(tuned.cost)
    assert tuned.cost <= min(costs.values()) + 1e-9


def test_whole_numbers_of_several_scales_can_part() -> None:
    """Review periods of two suppliers: no pair of days next to those found costs less."""
    scenario = build("scenario=joint_replenishment")
    tuned = tune_policy(scenario, "periodic_review", TuneConfig(16, 60, 1))
    stocks, joint_of = scenario.compiled.network.stocks, scenario.compiled.arrays.stocks.joint_of
    found, costs = tuned.parameters["review_period"], {}
    for a, b in itertools.product((-1, 0, 1), repeat=2):
        days = {s.label: found[s.label] + (a, b)[g] for s, g in zip(stocks, joint_of, strict=True)}
        policy = build_policy(
            "periodic_review", scenario.compiled, {**tuned.parameters, "review_period": days}
        )
        result = play(scenario, policy, traces=16, seed=1, split="train")
        costs[a, b] = float(result.cost.mean())
    assert costs[0, 0] == pytest.approx(tuned.cost, rel=1e-12)
    assert tuned.cost <= min(costs.values()) + 1e-9


def test_echelon_levels_are_found_where_demand_has_no_spread() -> None:
    """The beer game's board: no grid of echelon levels (13^4 around these) is below 132 in all."""
    command = compose(TuneCommand, ["scenario=beer_game"]).command
    scenario = build_scenario(command.scenario)
    tuned = tune_policy(scenario, "echelon_base_stock", TuneConfig(1, 150, 1))
    assert tuned.cost * scenario.horizon == pytest.approx(132.0)


def test_same_seed_same_result_within_the_budget(dual: Scenario) -> None:
    """Deterministic, never beyond the budget, and the history ends at the cost it reports."""
    recorder = Recorder()
    runs = [
        tune_policy(
            dual, "capped_dual_index", TuneConfig(4, 9, 3), recorder
        )
        for _ in range(2)
    ]  # fmt: skip
    assert runs[0].parameters == runs[1].parameters
    assert runs[0].history == runs[1].history
    assert recorder.phases == [("tune capped_dual_index", 9)] * 2
    assert [done for done, _ in recorder.updates] == [*range(1, 10)] * 2
    assert runs[0].evaluations == 9
    assert runs[0].periods == 9 * 4 * 200
    costs = [cost for _, cost in runs[0].history]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == runs[0].cost


@pytest.mark.parametrize(
    "classes", ["sku", *(pytest.param(c, marks=pytest.mark.nightly) for c in ("abc", "pair"))]
)
def test_finer_classes_go_on_from_the_node_kinds(classes: str) -> None:
    """They start where one value per kind ended, so they never cost more; every pair has one."""
    scenario = build("scenario=joint_replenishment", "smoke=true")
    coarse = tune_policy(scenario, "s_s", TuneConfig(2, 100, 1))
    fine = tune_policy(scenario, "s_s", TuneConfig(2, 100, 1), classes=classes)
    assert fine.cost <= coarse.cost
    build_policy("s_s", scenario.compiled, fine.parameters)
    groups = stock_classes(scenario, classes)
    assert groups.shape == (len(scenario.network.stocks),)
    assert len(set(groups)) > 1


def test_abc_classes_hold_the_shares_they_say() -> None:
    """A: from the most valuable on, until 80 % are reached; C: beyond 95 %."""
    scenario = build("scenario=joint_replenishment")
    net, groups = scenario.compiled, stock_classes(scenario, "abc")
    value = net.demand.mean * net.arrays.stocks.holding_cost
    letters = np.array([g[-1] for g in groups])
    share = value[letters == "A"].sum() / value.sum()
    assert share >= 0.8
    assert share - value[letters == "A"].min() / value.sum() < 0.8
    assert value[letters == "A"].min() >= value[letters != "A"].max()


def test_unknown_classes_are_refused(dual: Scenario) -> None:
    """One line that says what is allowed."""
    with pytest.raises(ConfigError, match=r"expected one of kind, abc, sku, pair"):
        tune_policy(dual, "base_stock", TuneConfig(2, 2, 1), classes="node")


def test_policies_that_cannot_apply_have_a_reason(dual: Scenario) -> None:
    """Dual indices need a lane that expedites."""
    assert unfit(dual, "dual_index") is None
    assert unfit(build("scenario=lost_sales"), "dual_index") == "no lane expedites"


def test_the_cache_gives_back_what_it_got(dual: Scenario, tmp_path: Path) -> None:
    """Whole; a damaged or absent file is none. The key ignores the order of keys only."""
    tuned = tune_policy(dual, "base_stock", TuneConfig(2, 3, 1))
    cache = open_storage(str(tmp_path / "new"))
    store_tuned(cache, "key", tuned)
    assert load_tuned(cache, "key") == tuned
    (tmp_path / "new" / "key.json").write_text("{", encoding="utf-8")
    assert load_tuned(cache, "key") is None
    assert load_tuned(cache, "other") is None
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})
    assert dataclasses.replace(tuned, cost=0.0) != tuned


def run(folder: Path, name: str, *more: str) -> tuple[int, dict[str, Any]]:
    """Run the command at its smoke size and return its exit code and tuned.json."""
    code = main([
        "tune", "scenario=lost_sales", "policies=[base_stock,capped_base_stock,dual_index]",
        "smoke=true", f"out={folder / name}", f"cache={folder / 'cache'}",
        "tracking.enabled=false", *more,
    ])  # fmt: skip
    return code, json.loads((folder / name / "tuned.json").read_text(encoding="utf-8"))


@pytest.mark.nightly
def test_workers_find_the_same(tmp_path: Path, ray_cluster: None) -> None:
    """Two policies tuned side by side, in the same order."""
    _, one = run(tmp_path, "one", "cache=null")
    _, two = run(tmp_path, "two", "cache=null", "workers=2")
    assert list(two["policy_params"].items()) == list(one["policy_params"].items())


def test_the_command_tunes_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second run takes the first one's searches; another seed does not; what it wrote is what
    `evaluate` takes."""
    code, first = run(tmp_path, "a")
    assert code == 0
    printed = capsys.readouterr().out
    assert "Left out dual_index: no lane expedites." in printed
    assert f"Best rule: {first['best_rule']}." in printed
    assert set(first["policy_params"]) == {"base_stock", "capped_base_stock"}
    _, second = run(tmp_path, "b")
    assert all(p["cached"] for p in second["policies"].values())
    assert second["policy_params"] == first["policy_params"]
    _, third = run(tmp_path, "c", "seed=5")
    assert not any(p["cached"] for p in third["policies"].values())
    path = str(tmp_path / "a" / "tuned.json")
    assert read_policy_params(path, "lost_sales") == first["policy_params"]
    with pytest.raises(ConfigError, match="is of scenario 'lost_sales'"):
        read_policy_params(path, "retail")
    code = main([
        "evaluate", "scenario=lost_sales", "policies=[base_stock]", "smoke=true",
        f"policy_params_from={path}", f"out={tmp_path / 'e'}", "tracking.enabled=false",
    ])  # fmt: skip
    evaluated = json.loads((tmp_path / "e" / "evaluation.json").read_text(encoding="utf-8"))
    assert code == 0
    assert "base_stock" in json.dumps(evaluated)
    assert json.dumps(first["policy_params"]["base_stock"]) in json.dumps(evaluated)


def test_help_lists_every_key() -> None:
    """What the YAML holds can be found by --help."""
    text = help_text(TuneCommand, "summary", [])
    for key in ("policies", "classes", "traces", "budget", "check", "cache", "out", "smoke"):
        assert f"{key}:" in text


def test_coarse_steps_leave_budget_for_the_fine_ones() -> None:
    """Many parameters far from their best, few sets: what the coarse steps find is kept."""
    scenario = build("scenario=assembly_plant", "scenario.horizon=60")
    policy = "capped_dual_index"
    start = play(scenario, Competitor(policy, policy).build(scenario), traces=16, seed=1,
                 split="train")  # fmt: skip
    tuned = tune_policy(scenario, policy, TuneConfig(16, 24, 1))
    assert tuned.cost < 0.8 * start.cost.mean()
    # It returns what it played: the scenario lists its pairs in another order than the rows.
    again = play(scenario, Competitor(policy, policy, tuned.parameters).build(scenario), traces=16,
                 seed=1, split="train")  # fmt: skip
    assert again.cost.mean() == pytest.approx(tuned.cost, rel=1e-12)
    assert tuned.periods <= 24 * 16 * (scenario.horizon + scenario.warm_up)
