"""The rolling linear programme: a formula's equal where that is right, and better elsewhere."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from envs.compiled.network import compile_network
from envs.environment.batched_env import BatchedEnv
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, LaneInput, Resource, ResourceUse, Speed
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.network.regime import MarkovChain, Regime, RegimeState
from envs.policies import build_policy
from envs.policies.base import View
from envs.policies.expectation import Expectation
from envs.scenario import Scenario
from envs.simulation.simulator import Simulator
from tests.envs.networks import random_network
from tests.envs.runs import Floats

HORIZON = 30
EVEN = DemandConfig("uniform", low=5.0, high=5.0)


def scenario_of(
    lanes: tuple[Lane, ...], demand: Demand, resources: tuple[Resource, ...] = (), **stock: Any
) -> Scenario:
    """A shop, behind a depot where one of the lanes goes there."""
    settings = {"holding_cost": 1.0, "backlog_cost": 9.0, "demand": demand, **stock}
    shop = Stock("shop", "item", **settings)
    stocks: tuple[Stock, ...] = (shop,)
    nodes: tuple[Node, ...] = (Node("shop", "store"),)
    if any(lane.node == "depot" for lane in lanes):
        stocks = (Stock("depot", "item", holding_cost=0.5, initial_stock=10.0), *stocks)
        nodes = (Node("depot", "warehouse"), *nodes)
    network = SupplyNetwork(nodes, (Sku("item"),), stocks, lanes, resources)
    return Scenario("shop", network, horizon=HORIZON)


def orders(scenario: Scenario, policy: str, parameters: dict[str, Any], batch: int = 2) -> Floats:
    """[T, Q, B] units asked for."""
    built = build_policy(policy, scenario.compiled, parameters)
    env = BatchedEnv(scenario, batch, base_policy=built)
    env.reset(7)
    asked = []
    for _ in range(HORIZON):
        env.close_period(env.no_action)
        asked.append(env.flows.raw_order.copy())
        env.open_period()
    return np.array(asked)


def cost(scenario: Scenario, policy: str, parameters: dict[str, Any]) -> float:
    """Currency per period, 2 replications."""
    built = build_policy(policy, scenario.compiled, parameters)
    env = BatchedEnv(scenario, 2, base_policy=built)
    env.reset(7)
    total = 0.0
    for _ in range(HORIZON):
        env.close_period(env.no_action)
        total += float(env.flows.total_cost.sum()) / 2.0
        env.open_period()
    return total / HORIZON


def test_one_stock_point_is_base_stock() -> None:
    """Its plan brings stock to mean + safety at the end of the lead time: a base-stock policy."""
    demand = Demand.from_config(DemandConfig("poisson", mean=5.0), 0)
    scenario = scenario_of((Lane("buy", "shop", "item", LeadTime(2), unit_cost=30.0),), demand)
    rolling = orders(scenario, "rolling_lp", {"safety_factor": 1.25})
    formula = orders(scenario, "forecast_base_stock", {"safety_factor": 1.25})
    assert rolling == pytest.approx(formula, abs=1e-6)


def test_chain_keeps_its_safety_stocks() -> None:
    """Each stage is brought to its own safety stock, and goods aren't kept back above."""
    demand = Demand.from_config(EVEN, 0)
    lanes = (
        Lane("buy", "depot", "item", LeadTime(3)),
        Lane("truck", "shop", "item", LeadTime(2), (LaneInput("depot", "item"),)),
    )
    scenario = scenario_of(lanes, demand)
    net = scenario.compiled
    env = BatchedEnv(scenario, 1, base_policy=build_policy("rolling_lp", net, {}))
    env.reset(0)
    state = env.state
    state.forecast_sd[...] = [[4.0], [6.0]]
    seen, forecast, today = np.zeros((0, 1), int), np.zeros((0, 0, 1), int), np.zeros(1, int)
    view = View(net, state, 0, seen, forecast, today, today, False)
    policy = build_policy("rolling_lp", net, {"safety_factor": 0.5})
    policy.reset(1)
    # The shop gets all there is. What the depot orders can be sold in period 5: by then 30 are
    # asked for, 3 are to be kept at the shop and 2 at the depot, and 10 are there.
    target = policy.target(view)
    assert target.order[:, 0] == pytest.approx([30.0 + 3.0 + 2.0 - 10.0, 10.0])


def test_lanes_get_what_the_plan_gives_them() -> None:
    """The cheap lane up to its maximum, the dear one the rest, the fast one what can't wait."""
    demand = Demand.from_config(EVEN, 0)
    lanes = (
        Lane("cheap", "shop", "item", LeadTime(2), unit_cost=1.0, maximum_order=3.0),
        Lane("dear", "shop", "item", LeadTime(2), unit_cost=2.0),
        Lane("fast", "shop", "item", LeadTime(1), unit_cost=4.0, speed=Speed.expedite),
    )
    scenario = scenario_of(lanes, demand, initial_stock=5.0)
    asked = orders(scenario, "rolling_lp", {"safety_factor": 0.0}, batch=1)[:, :, 0]
    assert asked[0] == pytest.approx([3.0, 2.0, 5.0])
    assert asked[1:] == pytest.approx(np.tile([3.0, 2.0, 0.0], (HORIZON - 1, 1)))


def test_yield_is_allowed_for() -> None:
    """Of an order 80 % arrive good: more is ordered, on each lane what it takes."""
    demand = Demand.from_config(EVEN, 0)
    lanes = (
        Lane("poor", "shop", "item", LeadTime(1), yield_share=0.8, maximum_order=2.5),
        Lane("good", "shop", "item", LeadTime(1), unit_cost=1.0),
    )
    scenario = scenario_of(lanes, demand, initial_stock=5.0)
    asked = orders(scenario, "rolling_lp", {"safety_factor": 0.0}, batch=1)[:, :, 0]
    assert asked == pytest.approx(np.tile([2.5, 3.0], (HORIZON, 1)))


def test_builds_up_stock_before_a_peak() -> None:
    """Of a capacity of 6 a period, a plan makes what a peak of 15 known ahead takes; a base-stock
    policy starts when the peak is within its lead time."""
    multiplier = np.ones(10)
    multiplier[8] = 2.0
    demand = Demand.from_config(EVEN, 0, multiplier=multiplier)
    lane = Lane("make", "shop", "item", LeadTime(1), resources=(ResourceUse("machine"),))
    scenario = scenario_of((lane,), demand, (Resource("machine", 6.0),), initial_stock=5.0)
    planned = cost(scenario, "rolling_lp", {"safety_factor": 0.0, "horizon": 12.0})
    by_level = cost(scenario, "forecast_base_stock", {"safety_factor": 0.0})
    assert planned < 0.7 * by_level


def test_plan_is_followed_until_the_next() -> None:
    """Where nothing unforeseen happens, planning every third period orders the same."""
    demand = Demand.from_config(EVEN, 0, multiplier=np.array([1.0, 2.0, 0.0, 1.0, 3.0]))
    scenario = scenario_of((Lane("buy", "shop", "item", LeadTime(2)),), demand, initial_stock=15.0)
    parameters = {"safety_factor": 0.0, "horizon": 10.0}
    often = orders(scenario, "rolling_lp", parameters, batch=1)
    seldom = orders(scenario, "rolling_lp", {**parameters, "every": 3.0}, batch=1)
    assert seldom == pytest.approx(often, abs=1e-6)
    assert often.max() > often.min()


def test_plans_on_random_networks() -> None:
    """There is a plan whatever a network has, and it can be ordered."""
    for seed in range(12):
        network = random_network(Random(seed))
        lanes = tuple(replace(lane, price=0.0) for lane in network.lanes)  # no free money
        network = replace(network, lanes=lanes)
        scenario = Scenario("random", network, horizon=8, smoothing=0.2)
        policy = build_policy("rolling_lp", scenario.compiled, {})
        env = BatchedEnv(scenario, 2, base_policy=policy)
        env.reset(seed)
        for _ in range(8):
            env.close_period(env.no_action)
            assert np.isfinite(env.flows.raw_order).all()
            env.open_period()


def market(seen_after: int | None, accuracy: tuple[float, ...] = ()) -> Regime:
    """Demand doubles and the supplier pauses while times are hard; hard times stay with 0.8."""
    states = (RegimeState("easy"), RegimeState("hard", demand=2.0, availability=0.0, lead_time=2.0))
    return Regime("market", states, MarkovChain(((0.9, 0.1), (0.2, 0.8))), seen_after, accuracy)


@pytest.mark.parametrize(
    ("regime", "told", "hard"),
    [
        (market(None), (-1, -1), [1 / 3, 1 / 3, 1 / 3]),  # hidden: the long run
        (market(0), (-1, -1), [1.0, 0.8, 0.66]),
        (market(1), (-1, -1), [0.8, 0.66, 0.562]),  # seen a period late
        # Bayes: of 0.2 easy and 0.8 hard, told easy with 0.6 + 0.4 x 2/3 and 0.4 x 2/3.
        (market(0, (0.6,)), (0, -1), [1.0, 0.8 * 0.8 / 3 / (0.2 * 2.6 / 3 + 0.8 * 0.8 / 3), 0.66]),
    ],
)
def test_expected_regimes(regime: Regime, told: tuple[int, int], hard: list[float]) -> None:
    """What is seen and told of regimes moves demand, lead times and openings."""
    demand = Demand.from_config(
        DemandConfig("poisson", mean=4.0), 0, multiplier=np.array([1.0, 3.0])
    )
    stock = Stock("shop", "item", demand=demand, demand_regimes=("market",))
    lane = Lane("buy", "shop", "item", LeadTime(2), regimes=("market",))
    nodes, skus = (Node("shop", "store"),), (Sku("item"),)
    net = compile_network(SupplyNetwork(nodes, skus, (stock,), (lane,), (), (regime,)))
    simulator = Simulator(net, 1)
    simulator.reset(0)
    seen = np.array([[-1 if regime.seen_after is None else 1]])
    forecast = np.array(told[: len(regime.forecast_accuracy)]).reshape(-1, 1, 1)
    view = View(net, simulator.state, 5, seen, forecast, np.array([1]), np.array([0]), True)
    outlook = Expectation(net, 3).outlook(view, 0)
    chance = np.array(hard)
    assert outlook.demand[:, 0] == pytest.approx(4.0 * (1.0 + chance) * [3.0, 1.0, 3.0])
    assert outlook.lead_time[:, 0].tolist() == np.round(2.0 * (1.0 + chance)).astype(int).tolist()
    assert outlook.factor[:, 0].tolist() == (chance <= 0.5).astype(float).tolist()
    assert (outlook.period, outlook.offset) == (5, 0)
