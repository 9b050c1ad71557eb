"""Joint replenishment: trucks, packs, minimum orders and a budget, and the rules for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conf.compose import compose
from envs.compiled.arrays import CostColumn
from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.commands.evaluate import EvaluateCommand
from evaluation.comparison.compare import Estimate, compare
from evaluation.comparison.rollout import Competitor
from evaluation.tuning.config import TuneConfig
from evaluation.tuning.search import tune_policy

TRUCK, COST = 66.0, 800.0


def build(*arguments: str) -> Scenario:
    """Build the scenario with overrides."""
    composed = compose(EvaluateCommand, ["scenario=joint_replenishment", *arguments])
    return build_scenario(composed.command.scenario)


def started(scenario: Scenario, policy: str, batch: int = 8, **parameters: Any) -> BatchedEnv:
    """An environment past its warm-up, under a policy."""
    env = BatchedEnv(
        scenario, batch, base_policy=build_policy(policy, scenario.compiled, parameters)
    )
    env.reset(2)
    return env


def volumes(scenario: Scenario) -> np.ndarray:
    """[2, Q] cubic metres per unit on a lane, by supplier."""
    result = np.zeros((2, len(scenario.network.lanes)))
    for q, lane in enumerate(scenario.network.lanes):
        for use in lane.resources:
            if use.resource != "budget":
                result[["north", "south"].index(use.resource), q] = use.per_unit
    return result


def test_a_truck_is_days_of_demand() -> None:
    """Volumes are scaled so that mean demand fills a truck in as many days as asked."""
    scenario = build("scenario.skus=20", "scenario.seed=3")
    per_day = volumes(scenario) @ scenario.compiled.demand.mean[scenario.compiled.arrays.lanes.to]
    assert TRUCK / per_day == pytest.approx([6.0, 8.0])
    assert len(scenario.network.stocks) == 20


@pytest.mark.nightly  # 20 s
def test_rules_that_share_trucks_win() -> None:
    """Tuned, (Q, S) beats can-order and (R, S) by more than noise; each item on its own pays half
    as much again; base-stock orders a truck a day."""
    scenario = build()
    competitors = []
    for name in ("q_s", "can_order", "periodic_review", "s_s", "base_stock"):
        tuned = tune_policy(scenario, name, TuneConfig(16, 60, 1))
        competitors.append(Competitor(name, name, tuned.parameters))
    best, *others = compare(scenario, competitors, traces=64, seed=2).policies
    assert 0.95 < best.kpis.summary()["fill_rate"] < 0.99
    lows = []
    for other in others:
        assert isinstance(other.difference, Estimate)
        lows.append(other.difference.interval[0] / best.cost.mean)
    assert min(lows) > 0.05
    assert lows[2] > 0.5
    assert lows[3] > 2.0


def test_trucks_are_paid_whole_and_filled() -> None:
    """A truck begun costs all of it; (Q, S) fills nearly all of them."""
    scenario = build("scenario.budget=null")
    env, volume = started(scenario, "q_s"), volumes(scenario)
    used = trucks = 0.0
    for _ in range(60):
        env.close_period(env.no_action)
        cubic_metres = volume @ env.flows.shipped
        begun = np.ceil(cubic_metres / TRUCK - 1e-9)
        load_cost = env.flows.cost[CostColumn.LOAD].sum(axis=0)
        assert load_cost == pytest.approx(COST * begun.sum(axis=0))
        used, trucks = used + cubic_metres.sum(), trucks + begun.sum()
        env.open_period()
    assert used / (TRUCK * trucks) > 0.9


def test_orders_are_packs_within_the_budget() -> None:
    """Whole packs, nothing below the minimum, and never more than the budget: which binds."""
    scenario = build("scenario.budget=25000")
    env = started(scenario, "can_order")
    lanes = scenario.compiled.network.lanes
    value = np.array([u.per_unit for q in lanes for u in q.resources if u.resource == "budget"])
    pack = np.array([[q.order_multiple] for q in lanes])
    least = np.array([[q.minimum_order] for q in lanes])
    assert (pack > 1).any()
    assert (least > pack).any()
    spent = 0.0
    for _ in range(60):
        env.close_period(env.no_action)
        ordered = env.flows.ordered
        assert np.allclose(ordered % pack, 0.0)
        assert ((ordered == 0.0) | (ordered >= least)).all()
        assert (value @ ordered <= 25000 + 1e-6).all()
        spent = max(spent, float((value @ ordered).max()))
        env.open_period()
    assert spent > 0.9 * 25000


def test_periodic_review_takes_turns() -> None:
    """Suppliers are reviewed every R periods, the second a period after the first."""
    scenario = build("scenario.budget=null", "scenario.warm_up=0")
    env, volume = started(scenario, "periodic_review", review_period=5.0), volumes(scenario)
    for t in range(40):
        env.close_period(env.no_action)
        ordered = (volume @ env.flows.ordered).max(axis=1) > 0
        assert ordered.tolist() == [t % 5 == 0, t % 5 == 1] or t < 2
        env.open_period()


def test_joint_quantity_formula() -> None:
    """Nothing until a supplier's SKUs lack Q cubic metres in all; then each its part of whole
    trucks, in whole packs."""
    cycle, factor = 6.0, 1.0
    scenario = build("scenario.budget=null", "scenario.minimum_days=0")
    env = started(scenario, "q_s", cycle=cycle, safety_factor=factor)
    net, volume = scenario.compiled, volumes(scenario)
    to = net.arrays.lanes.to
    span = cycle + net.leads.pair
    deviation = np.sqrt(span * net.demand.sd**2 + (net.demand.mean * net.leads.pair_sd) ** 2)
    level = (net.demand.mean * span + factor * deviation)[to, None]
    pack = net.arrays.rules.pack[:, None]
    quantity = cycle * volume @ net.demand.mean[to][:, None]
    orders = 0
    for _ in range(60):
        lacking = np.maximum(level - env.state.inventory_position[to], 0.0)
        total = volume @ lacking
        whole = np.minimum(np.maximum(total // TRUCK, 1.0) * TRUCK, total)
        part = (volume > 0.0).T.astype(float) @ (whole / np.maximum(total, 1e-9))
        opened = (volume > 0.0).T @ (total >= quantity)
        cut = np.where(part < 1.0, np.floor(part * lacking / pack + 1e-9) * pack, lacking)
        env.close_period(env.no_action)
        assert env.flows.raw_order == pytest.approx(np.where(opened, cut, 0.0))
        orders += int((env.flows.raw_order > 0).sum())
        env.open_period()
    assert orders > 100


def test_more_suppliers_than_skus_is_told() -> None:
    """Each supplier needs a SKU."""
    with pytest.raises(ConfigError, match="a SKU for each"):
        build("scenario.skus=1")
