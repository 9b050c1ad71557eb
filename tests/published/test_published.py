"""Published results, to the printed digit where the model is deterministic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from envs.compiled.arrays import CostColumn
from envs.environment.batched_env import BatchedEnv
from envs.network.demand import DemandConfig
from envs.network.network import InTransitPayer, ServeOrder, Timing
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.serial import SerialConfig, StageConfig
from envs.scenarios.single_node import SingleNodeConfig

DATA = Path(__file__).parent / "data"


def load(name: str) -> Any:
    """Read a case from the data folder."""
    return json.loads((DATA / name).read_text())


def play(scenario: Scenario, batch: int, periods: int) -> tuple[np.ndarray, np.ndarray]:
    """Run the base policy; return mean (cost by column [C], cost by pair [P]) per period."""
    env = BatchedEnv(scenario, batch)
    env.reset(0)
    columns, pairs = np.zeros(len(CostColumn)), np.zeros(env.num_rows)
    for _ in range(periods):
        env.close_period(env.no_action)
        columns += env.flows.cost.sum(axis=1).mean(axis=1)
        pairs += env.flows.total_cost.mean(axis=1)
        env.open_period()
    return columns / periods, pairs / periods


def single_node(level: float, lead_time: int, **costs: Any) -> Scenario:
    """One store under base-stock, Poisson demand of 5, whole units."""
    return build_scenario(
        SingleNodeConfig(
            kind="single_node",
            name="single",
            horizon=10_000,
            warm_up=100,
            demand=DemandConfig("poisson", mean=5.0),
            lead_time=lead_time,
            base_policy="base_stock",
            policy_params={"base_stock": {"level": level}},
            **costs,
            holding_cost=1.0,
        )
    )


def newsvendor_cost(level: int, mean: float, holding: float, backlog: float) -> float:
    """h E[S - D]+ + b E[D - S]+ for Poisson lead-time demand, exactly."""
    units = np.arange(1000)
    probability = stats.poisson.pmf(units, mean)
    over = probability @ np.maximum(level - units, 0)
    under = probability @ np.maximum(units - level, 0)
    return float(holding * over + backlog * under)


def test_newsvendor_level_is_optimal() -> None:
    """With backlog, base-stock at the newsvendor fractile of L+1 periods' demand is optimal."""
    mean, best = 5.0 * 3, int(stats.poisson.ppf(19 / 20, 5.0 * 3))
    exact = {level: newsvendor_cost(level, mean, 1.0, 19.0) for level in range(best - 1, best + 2)}
    cost = {}
    for level, wanted in exact.items():
        columns, _ = play(single_node(level, 2, backlog_cost=19.0), 512, 3000)
        cost[level] = columns.sum()
        assert cost[level] == pytest.approx(wanted, rel=0.005), level
    assert min(cost, key=lambda level: cost[level]) == best
    assert min(exact, key=lambda level: exact[level]) == best


def test_beer_game_costs_204() -> None:
    """Sterman (1989): anchoring and adjustment at its best costs 204; 46, 50, 54 and 54."""
    case = load("beer_game.json")
    demand = case["demand"]
    stages = {
        name: StageConfig(
            holding_cost=case["holding_cost"],
            backlog_cost=case["backlog_cost"],
            lead_time=2,
            information_delay=delay,
            initial_stock=12.0,
            initial_in_transit=[4.0] * 2,
            initial_orders=[4.0] * delay,
        )
        for name, delay in {"retailer": 2, "wholesaler": 2, "distributor": 2, "factory": 1}.items()
    }
    rule = {
        "desired_stock": dict(zip(stages, case["desired_stock"], strict=True)),
        "initial_forecast": 4.0,
        "stock_weight": case["stock_weight"],
        "supply_line_weight": case["supply_line_weight"],
        "smoothing": case["smoothing"],
        "fixed_periods": 4,
        "fixed_order": 4.0,
    }
    scenario = build_scenario(
        SerialConfig(
            kind="serial",
            name="beer game",
            horizon=len(demand),
            demand=DemandConfig("step", low=4.0, high=8.0, change_period=demand.index(8)),
            timing=Timing(demand=ServeOrder.first),
            base_policy="sterman",
            stages=stages,
            policy_params={"sterman": rule},
            order_multiple=0.0,
        )
    )
    _, stage_cost = play(scenario, 1, len(demand))
    total = stage_cost * len(demand)
    assert total.tolist() == pytest.approx(case["per_stage"], abs=1e-9)
    assert total.sum() == pytest.approx(case["total"], abs=1e-9)


def test_serial_example_6_1() -> None:
    """Snyder and Shen, example 6.1: 47.65 with goods in transit, and each part of it."""
    case = load("serial_6_1.json")
    levels = dict(zip("abc", case["echelon_levels"], strict=True))
    stages = {
        name: StageConfig(
            holding_cost=case["holding_cost"][i],
            backlog_cost=case["backlog_cost"] if i == 0 else 0.0,
            lead_time=case["lead_time"][i],
            initial_stock=10.0,
        )
        for i, name in enumerate(levels)
    }
    demand = DemandConfig(
        "normal",
        mean=case["demand_mean"],
        standard_deviation=case["demand_standard_deviation"],
        whole_units=False,
    )
    scenario = build_scenario(
        SerialConfig(
            kind="serial",
            name="example 6.1",
            horizon=10_000,
            warm_up=50,
            demand=demand,
            timing=Timing(demand=ServeOrder.first, in_transit_payer=InTransitPayer.sender),
            base_policy="echelon_base_stock",
            stages=stages,
            policy_params={"echelon_base_stock": {"level": levels}},
            order_multiple=0.0,
        )
    )
    columns, _ = play(scenario, 256, 3000)
    assert columns.sum() == pytest.approx(case["cost"], rel=0.005)
    assert columns[CostColumn.HOLDING] == pytest.approx(case["on_hand_cost"], rel=0.005)
    assert columns[CostColumn.IN_TRANSIT] == pytest.approx(case["in_transit_cost"], rel=0.005)
    assert columns[CostColumn.BACKLOG] == pytest.approx(case["backlog_part"], rel=0.01)
