"""gym-invmgmt's stationary chain and network: recorded runs, its oracle, its newsvendor rule, and
what is left of its best figures. Published figures are means over ten episodes; these are the same
ten."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from conf.compose import compose
from echelon import main
from envs.policies import build_policy
from envs.scenario import Scenario, Split
from envs.scenarios import build_scenario
from evaluation.commands.evaluate import EvaluateCommand
from evaluation.replay.replay import replay_policy, with_given_demand
from tests.hindsight import hindsight_costs

REPLAY = Path(__file__).parent / "replay"
PERIODS = 30
PUBLISHED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "data" / "invmgmt.json").read_text()
)
CASES = sorted(PUBLISHED["mean"])


def episodes(case: str) -> list[Scenario]:
    """The ten episodes of a case, such as "serial leaving": their demand is what it was."""
    network, customers = case.split()
    overrides = [f"scenario=invmgmt_{network}"]
    if customers == "leaving":
        overrides += ["scenario.stocks.n1.p_wait=0", "scenario.stocks.n1.lost_sale_cost=0.1"]
    scenario = build_scenario(compose(EvaluateCommand, overrides).command.scenario)
    demand = np.zeros((PERIODS, len(scenario.network.stocks)))
    found = []
    for units in PUBLISHED["demand"]:
        demand[:, 0] = units
        given = with_given_demand(scenario.network, demand.copy())
        splits = {"test": Split(0, PERIODS)}
        found.append(dataclasses.replace(scenario, network=given, splits=splits))
    return found


def profits(case: str, policy: str, parameters: Mapping[str, Any] | None = None) -> np.ndarray:
    """[10] per episode; parameters None: the scenario's."""
    found = []
    for scenario in episodes(case):
        chosen = scenario.policy_params[policy] if parameters is None else parameters
        built = build_policy(policy, scenario.compiled, chosen)
        found.append(-replay_policy(scenario, built, PERIODS).stocks["cost"].sum())
    return np.array(found)


@pytest.mark.parametrize("name", ["invmgmt_serial", "invmgmt_network"])
def test_every_period_of_a_recorded_run(name: str, tmp_path: Path) -> None:
    """Stock, pipelines, shipments, customers waiting and profit per node, to 1e-6. The orders were
    drawn at random, some larger than what the plants have and can ship."""
    folder, out = REPLAY / name, tmp_path / "out"
    given = [f"demand={folder / 'demand.csv'}", f"orders={folder / 'orders.csv'}"]
    assert main(["replay", f"scenario={name}", *given, f"out={out}"]) == 0
    theirs: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    nodes = [f"n{i}" for i in theirs["nodes"]]
    lanes = [f"n{a}_to_n{b}" for a, b in theirs["links"]]
    stocks, flows = (pd.read_csv(out / f"{table}.csv") for table in ("stocks", "lanes"))
    ours = {
        "X": stocks.pivot(index="period", columns="node", values="on_hand")[nodes],
        "P": -stocks.pivot(index="period", columns="node", values="cost")[nodes],
        "U": stocks.pivot(index="period", columns="node", values="backorders")[["n1"]],
        "Y": flows.pivot(index="period", columns="lane", values="in_transit")[lanes],
        "R": flows.pivot(index="period", columns="lane", values="shipped")[lanes],
    }
    for key, table in ours.items():
        expected = np.array(theirs[key])[-PERIODS:]  # X and Y begin with the start
        np.testing.assert_allclose(table.to_numpy(), expected, rtol=0, atol=1e-6, err_msg=key)
    periods = pd.read_csv(out / "periods.csv")
    np.testing.assert_allclose(periods["profit"], theirs["reward"], rtol=0, atol=1e-6)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["totals"]["profit"] == pytest.approx(theirs["total"], abs=1e-6)
    assert summary["changed_orders"]["count"] == 0
    assert flows["cancelled"].sum() > 0


@pytest.mark.parametrize("case", CASES)
def test_the_hindsight_bound_is_their_oracle(case: str) -> None:
    """Perfect information, episode by episode, to the printed digit: two programmes, one value."""
    costs = [hindsight_costs(s, traces=1, seed=0)[0] for s in episodes(case)]
    best = -PERIODS * np.array(costs)
    np.testing.assert_allclose(best, PUBLISHED["oracle"][case], rtol=0, atol=0.0501)
    assert best.mean() == pytest.approx(PUBLISHED["mean"][case]["oracle"], abs=0.0501)


@pytest.mark.parametrize("case", ["serial waiting", "serial leaving"])
def test_their_newsvendor_rule_is_base_stock(case: str) -> None:
    """With demand known: level = 20 (L + 1) + z sqrt(20 (L + 1)), z at b / (b + h), where b is 0.1
    at the retailer and at least 0.5, the margin, above it."""
    numbers = {"retailer": (4, 0.1, 0.03), "distributor": (4, 0.5, 0.02), "plant": (0, 0.5, 0.01)}
    level = {
        kind: 20 * (lead + 1) + stats.norm.ppf(b / (b + h)) * np.sqrt(20 * (lead + 1))
        for kind, (lead, b, h) in numbers.items()
    }
    theirs = PUBLISHED["newsvendor_informed"][case]
    np.testing.assert_allclose(profits(case, "base_stock", {"level": level}), theirs, atol=1e-5)


@pytest.mark.parametrize("case", ["serial waiting", "network waiting"])
def test_tuned_base_stock_beats_their_rules(case: str) -> None:
    """Better than their newsvendor and (s, S), which aren't tuned, on the same ten episodes."""
    ours, theirs = profits(case, "base_stock").mean(), PUBLISHED["mean"][case]
    assert theirs["oracle"] > ours > max(theirs["newsvendor"], theirs["s_s"])


@pytest.mark.parametrize("case", ["serial waiting", "network waiting"])
def test_the_rolling_plan_is_as_good_as_theirs(case: str) -> None:
    """Expected demand and a safety stock do what their stochastic programme does with ten drawn
    futures, on the same ten episodes."""
    ours, theirs = profits(case, "rolling_lp"), PUBLISHED["mean"][case]
    assert theirs["oracle"] > ours.mean() > theirs["MSSP_I"]
    assert (ours <= np.array(PUBLISHED["oracle"][case]) + 0.05).all()
