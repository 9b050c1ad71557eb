"""Two suppliers of one item: published gaps of dual-sourcing rules, and a supplier that fails."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.demand import DemandConfig
from envs.network import Speed
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.explicit import (
    ExplicitConfig,
    LaneEntry,
    RegimeEntry,
    RegimeStateEntry,
    StockEntry,
)
from evaluation.rollout import play
from evaluation.tune import tune_policy

DATA = Path(__file__).parent / "data"


def load(name: str) -> Any:
    """Read a case from the data folder."""
    return json.loads((DATA / name).read_text())


def two_lanes(
    lanes: dict[str, LaneEntry], stock: StockEntry, regimes: dict[str, RegimeEntry], horizon: int
) -> Scenario:
    """One item at one store, bought on any of the lanes."""
    return build_scenario(
        ExplicitConfig(
            kind="explicit",
            name="suppliers",
            horizon=horizon,
            warm_up=100,
            nodes={"store": "store"},
            skus={"item": 0.0},
            stocks={"store": stock},
            lanes=lanes,
            regimes=regimes,
        )
    )


def dual_sourcing(lead_time: int, expedite_cost: float) -> Scenario:
    """Demand uniform on 0..4, holding 5, backlog 495, regular cost 100 (Gijsbrechts et al.)."""
    common: Any = {"node": "store", "sku": "item", "order_multiple": 1.0}
    return two_lanes(
        {
            "regular": LaneEntry(**common, lead_time=lead_time, unit_cost=100.0),
            "expedite": LaneEntry(
                **common, lead_time=0, unit_cost=expedite_cost, speed=Speed.expedite
            ),
        },
        StockEntry(
            "store",
            "item",
            holding_cost=5.0,
            backlog_cost=495.0,
            initial_stock=4.0,
            demand=DemandConfig("uniform", low=0, high=4),
        ),
        {},
        horizon=2000,
    )


@pytest.mark.parametrize("case", load("dual_sourcing.json"), ids=lambda c: c["id"])
def test_gaps_of_dual_sourcing_rules(case: dict[str, Any]) -> None:
    """The gap to the optimum within 0.02 percentage points; mean demand is a control variate."""
    scenario = dual_sourcing(case["lead_time"], case["expedite_cost"])
    policy = build_policy(case["policy"], scenario.compiled, case["parameters"])
    result = play(scenario, policy, traces=2048, seed=7)
    cost = result.cost.mean() - 100.0 * (result.demand.mean() - 2.0)
    gap = 100.0 * (cost / case["optimum"] - 1.0)
    assert gap == pytest.approx(case["gap_percent"], abs=0.02)


def supplier_outage(fail: float, repair: float, reliable_cost: float) -> Scenario:
    """A cheap supplier that takes no orders while it is down, and a reliable one."""
    common: Any = {"node": "store", "sku": "item", "lead_time": 1, "order_multiple": 1.0}
    return two_lanes(
        {
            "cheap": LaneEntry(**common, unit_cost=10.0, regimes=["supplier"]),
            "reliable": LaneEntry(**common, unit_cost=reliable_cost, base_share=0.0),
        },
        StockEntry(
            "store",
            "item",
            holding_cost=1.0,
            backlog_cost=19.0,
            initial_stock=10.0,
            demand=DemandConfig("poisson", mean=5.0),
        ),
        {
            "supplier": RegimeEntry(
                states={"up": RegimeStateEntry(), "down": RegimeStateEntry(ordering=0.0)},
                transition=[[1.0 - fail, fail], [repair, 1.0 - repair]],
                seen_after=0,
            )
        },
        horizon=500,
    )


@pytest.mark.parametrize("case", load("supplier_outage.json"), ids=lambda c: str(c))
def test_status_aware_base_stock_under_outages(case: dict[str, float]) -> None:
    """Two levels, tuned, cost what the optimum does: within 1 %."""
    scenario = supplier_outage(case["fail"], case["repair"], case["reliable_cost"])
    name = "status_aware_base_stock"
    tuned = tune_policy(scenario, name, seed=1, traces=64, budget=80)
    policy = build_policy(name, scenario.compiled, tuned.parameters)
    result = play(scenario, policy, traces=1024, seed=2)
    cost = result.cost.mean() - 10.0 * (result.demand.mean() - 5.0)
    assert cost == pytest.approx(case["optimum"], rel=0.01)


def test_outages_cost_those_who_do_not_look() -> None:
    """One supplier and one level: more than half again as dear (EVALUATION: +53 %)."""
    scenario = supplier_outage(0.05, 0.25, 11.0)
    tuned = tune_policy(scenario, "base_stock", seed=1, traces=64, budget=40)
    policy = build_policy("base_stock", scenario.compiled, tuned.parameters)
    cost = play(scenario, policy, traces=1024, seed=2).cost.mean()
    assert cost == pytest.approx(57.88 * 1.53, rel=0.02)


def test_a_pause_is_not_forgotten() -> None:
    """The same supplier, hidden: the rule that can't see it does no better than one level."""
    seen = supplier_outage(0.05, 0.25, 11.0)
    network = replace(
        seen.network, regimes=tuple(replace(r, seen_after=None) for r in seen.network.regimes)
    )
    hidden = replace(seen, network=network)
    levels = {"level": 16.0, "level_down": 10.0}
    costs = [
        play(
            scenario,
            build_policy("status_aware_base_stock", scenario.compiled, levels),
            traces=256,
            seed=3,
        ).cost.mean()
        for scenario in (seen, hidden)
    ]
    assert np.diff(costs)[0] > 1.0
