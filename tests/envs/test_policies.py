"""Classical policies order by their formula, and the zero action is the base policy."""

from __future__ import annotations

import itertools
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, Speed
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.policies import POLICIES, build_policy
from envs.policies.base import Parameter
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.serial import SerialConfig, StageConfig
from envs.simulation.explain import explain_orders
from tests.envs.networks import random_network
from tests.envs.runs import Run, play_actions, same

PERIODS = 12


def chain(policy: str, params: dict[str, Any], smoothing: float = 0.0) -> Scenario:
    """Shop, depot and plant in a row; orders reach the depot a period late."""
    return build_scenario(
        SerialConfig(
            kind="serial",
            name="chain",
            horizon=100,
            demand=DemandConfig("poisson", mean=5.0),
            base_policy=policy,
            smoothing=smoothing,
            stages={
                "shop": StageConfig(
                    backlog_cost=9.0,
                    lead_time=2,
                    information_delay=1,
                    initial_stock=8.0,
                    initial_in_transit=[5.0, 4.0],
                    initial_orders=[6.0],
                    holding_cost=1.0,
                ),
                "depot": StageConfig(holding_cost=0.5, lead_time=1, initial_stock=3.0),
                "plant": StageConfig(holding_cost=0.25, lead_time=3, initial_stock=10.0),
            },
            policy_params={policy: params},
            order_multiple=0.0,
        )
    )


def play(scenario: Scenario, batch: int = 2) -> tuple[BatchedEnv, Run]:
    """Run the base policy."""
    env = BatchedEnv(scenario, batch)
    shape = (PERIODS, env.num_rows, env.action_size, batch)
    run, _ = play_actions(scenario, np.zeros(shape, np.float32), seed=5)
    return env, run


def position(run: Run) -> NDArray[np.float64]:
    """[T, P, B] on hand + on order - what customers and lanes wait for, from first principles."""
    state = run.opened
    coming = state.owed + state.in_transit.sum(axis=2) + state.orders_on_way.sum(axis=2)
    waiting = state.backorders + run.consumes @ state.owed
    return state.on_hand - waiting + run.delivers @ coming


def raw_per_pair(run: Run) -> NDArray[np.float64]:
    """[T, P, B] units asked for, over all lanes to the pair."""
    return run.delivers @ run.raw


def wanted_on_lanes(env: BatchedEnv) -> NDArray[np.float64]:
    """[Q, B] what the base policy wants on each lane: its decision, from the definitions."""
    net, decision = env.net, env.simulator.decision
    network, batch = net.network, env.batch_size
    raw = np.zeros((len(network.lanes), batch))
    gates = decision.gate if decision.gate.size else np.asarray(env.target)
    takers = {
        r.id: {(q.node, q.sku) for q in network.lanes for u in q.resources if u.resource == r.id}
        for r in network.resources
    }
    resources = [
        r.id
        for r in network.resources
        if r.fixed_cost > 0 or (r.load_cost > 0 and len(takers[r.id]) > 1)
    ]
    joint = [
        next(
            (
                u.resource
                for q in network.lanes
                if (q.node, q.sku) == (s.node, s.sku)
                for u in q.resources
                if u.resource in resources
            ),
            None,
        )
        for s in network.stocks
    ]
    must = (gates >= 0.0) & (np.asarray(env.target) > 0.0)
    for p, stock in enumerate(network.stocks):
        lanes = [
            q for q, x in enumerate(network.lanes) if (x.node, x.sku) == (stock.node, stock.sku)
        ]
        fast = [q for q in lanes if network.lanes[q].speed is Speed.expedite]
        quick = np.zeros(batch)
        if fast and decision.expedite.size:
            quick = np.maximum(decision.expedite[p], 0.0)
        slow = np.maximum(np.asarray(env.target)[p] - quick, 0.0)
        if decision.smoothing.size:
            slow = slow * decision.smoothing[p]
        if decision.cap.size:
            slow = np.minimum(slow, decision.cap[p])
        opened = gates[p] >= 0.0
        if decision.can_gate.size and joint[p] is not None:
            together = [k for k, r in enumerate(joint) if r == joint[p]]
            opened = opened | (must[together].any(axis=0) & (decision.can_gate[p] >= 0.0))
        slow = np.where(opened, slow, 0.0)
        for speed, quantity in ((fast, quick), ([q for q in lanes if q not in fast], slow)):
            share = np.array([[network.lanes[q].base_share] * batch for q in speed])
            if decision.lane_share.size and speed:
                share = decision.lane_share[speed]
            if speed:
                share = share / np.maximum(share.sum(axis=0), 1e-300)
                share = np.where(share < 0.05, 0.0, share)
                share = share / np.maximum(share.sum(axis=0), 1e-300)
                raw[speed] = share * quantity / net.arrays.lanes.expected_yield[speed][:, None]
    return raw


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(6))
def test_zero_action_is_the_base_policy(policy: str, seed: int) -> None:
    """With the zero action each lane is asked for its share of exactly what the policy decides, and
    what is ordered is that made feasible: as the explanation says."""
    network = random_network(Random(seed))
    scenario = Scenario("random", network, horizon=50, base_policy=policy, smoothing=0.2)
    env = BatchedEnv(scenario, 1)
    env.reset(5)
    for _ in range(PERIODS):
        wanted = wanted_on_lanes(env)
        changes = explain_orders(env.simulator, wanted)
        env.close_period(env.no_action)
        same("raw order", env.flows.raw_order, wanted, 1e-12)
        for q, rules in enumerate(changes):
            executed = rules[-1].after if rules else wanted[q, 0]
            assert env.flows.ordered[q, 0] == pytest.approx(executed, abs=1e-9)
            for earlier, later in itertools.pairwise(rules):
                assert earlier.after == later.before
        env.open_period()


def test_base_stock_formula() -> None:
    """Order = level - inventory position, never negative."""
    _, run = play(chain("base_stock", {"level": {"shop": 25.0, "depot": 15.0, "plant": 30.0}}))
    level = np.array([[25.0], [15.0], [30.0]])
    same("order", raw_per_pair(run), np.maximum(level - position(run), 0.0))
    assert raw_per_pair(run).any()


def test_echelon_base_stock_formula() -> None:
    """Order = level - all stock here and below, on the way between, less customers' backlog."""
    levels = {"shop": 25.0, "depot": 35.0, "plant": 60.0}
    _, run = play(chain("echelon_base_stock", {"level": levels}))
    state = run.opened
    moving = state.in_transit.sum(axis=2)
    coming = moving + state.owed + state.orders_on_way.sum(axis=2)
    below = np.cumsum(state.on_hand, axis=1) - state.backorders[:, :1]
    below[:, 1:] += np.cumsum(moving, axis=1)[:, :-1]
    level = np.array([[25.0], [35.0], [60.0]])
    same("order", raw_per_pair(run), np.maximum(level - below - coming, 0.0))


def test_forecast_base_stock_formula() -> None:
    """Level = mean and k standard deviations of demand over the way down plus review."""
    factors = {"shop": 1.0, "depot": 0.5, "plant": 2.0}
    _, run = play(chain("forecast_base_stock", {"safety_factor": factors}))
    days = np.array([[2.0 + 1], [1 + 2 + 1], [3 + 1 + 2 + 1]]) + 1  # + the information delay
    level = 5.0 * days + np.array([[1.0], [0.5], [2.0]]) * np.sqrt(5.0 * days)
    wanted = np.maximum(level - run.opened.echelon_inventory_position, 0.0)
    same("order", raw_per_pair(run), wanted)


def test_forecast_follows_demand() -> None:
    """The level is smoothed towards the demand seen; the order-up-to level moves with it."""
    _, run = play(chain("forecast_base_stock", {"safety_factor": 0.0}, smoothing=0.2))
    level = np.full(run.demand[0].shape, 5.0)
    for t in range(PERIODS):
        same("demand level", run.opened.demand_level[t], level)
        same("forecast", run.opened.forecast_mean[t, :1], 4.0 * level)
        level = level + 0.2 * (run.demand[t] - level)
    variance = np.full(run.demand[0].shape, 5.0)
    level = np.full(run.demand[0].shape, 5.0)
    for t in range(PERIODS):
        same("demand variance", run.opened.demand_variance[t], variance)
        error = run.demand[t] - level
        variance = variance + 0.2 * (error**2 - variance)
        level = level + 0.2 * error


def test_forecast_knows_the_calendar() -> None:
    """The forecast sums the multipliers of the periods that an order must cover."""
    multiplier = np.array([1.0, 2.0, 0.5, 0.0, 1.5, 1.0, 1.0])
    scenario = chain("forecast_base_stock", {"safety_factor": 0.0})
    stocks = list(scenario.network.stocks)
    assert stocks[0].demand is not None
    stocks[0] = replace(stocks[0], demand=replace(stocks[0].demand, multiplier=multiplier))
    seasonal = replace(scenario, network=replace(scenario.network, stocks=tuple(stocks)))
    env = BatchedEnv(seasonal, 20)
    env.reset(0)
    start = env.simulator.trace.offset.copy()
    for t in range(160):  # crosses a block of the trace
        day = start + t
        ahead = [sum(multiplier[(d + i) % 7] for i in range(4)) for d in day]
        same("forecast", env.state.forecast_mean[0], 5.0 * np.array(ahead))
        env.close_period(env.no_action)
        env.open_period()


def test_sterman_formula() -> None:
    """Order = smoothed demand + weight x (desired - level - supply-line weight x on order)."""
    rule = {
        "desired_stock": 20.0,
        "stock_weight": 0.4,
        "supply_line_weight": 0.7,
        "smoothing": 0.3,
        "initial_forecast": 4.0,
        "fixed_periods": 2,
        "fixed_order": 6.0,
    }
    _, run = play(chain("sterman", rule))
    state = run.opened
    level = state.on_hand - state.backorders - run.consumes @ state.owed
    coming = position(run) - level
    expected = np.full(level[0].shape, 4.0)
    for t in range(PERIODS):
        if t > 0:
            # The depot hears of the shop's orders a period later: now, of those before last.
            heard = run.flows.ordered[t - 1, 0]
            asked = np.stack([run.flows.demand[t - 1, 0], heard, run.flows.ordered[t - 1, 1]])
            expected = expected + 0.3 * (asked - expected)
        order = expected + 0.4 * (20.0 - level[t] - 0.7 * coming[t])
        wanted = np.maximum(order, 0.0) if t >= 2 else np.full(order.shape, 6.0)
        same(f"order in period {t}", raw_per_pair(run)[t], wanted)


def test_constant_order_formula() -> None:
    """The same quantity every period."""
    _, run = play(chain("constant_order", {"quantity": {"shop": 5.0, "depot": 4.0, "plant": 4.5}}))
    same("order", raw_per_pair(run), np.ones((PERIODS, 3, 2)) * np.array([[5.0], [4.0], [4.5]]))


def test_level_action_moves_the_level(warehouse: Scenario) -> None:
    """Head 0 adds twice its value in forecast standard deviations, before the clip at zero."""
    env = BatchedEnv(warehouse, 4)
    env.reset(1)
    rng = np.random.default_rng(0)
    for _ in range(8):
        view_target = env.target.copy()
        spread = env.state.echelon_forecast_sd.copy()
        action = rng.uniform(-1, 1, (env.num_rows, env.action_size, 4)).astype(np.float32)
        env.close_period(action)
        wanted = np.maximum(view_target + 2.0 * action[:, 0] * spread, 0.0)
        lanes = env.net.arrays.lanes.to
        same("raw order", env.flows.raw_order, wanted[lanes], 1e-6)
        env.open_period()


def test_share_actions_split_the_order() -> None:
    """Lane heads: softmax of log base share + 3 a; shares under 5 % are dropped."""
    demand = Demand.from_config(DemandConfig("poisson", mean=5.0), 0)
    shares = {"ship": 3.0, "truck": 1.0, "plane": 1.0}
    network = SupplyNetwork(
        (Node("shop", "store"),),
        (Sku("tea"),),
        (Stock("shop", "tea", demand=demand),),
        tuple(Lane(q, "shop", "tea", LeadTime(1), base_share=x) for q, x in shares.items()),
    )
    scenario = Scenario("split", network, 20, base_policy="constant_order")
    env = BatchedEnv(scenario, 3)
    env.reset(0)
    action = np.zeros((1, 4, 3), np.float32)
    action[0, 1:, 1] = [-1.0, 0.5, 0.0]
    action[0, 1:, 2] = [1.0, -0.5, -1.0]
    quantity = np.maximum(env.target[0], 0.0)
    env.close_period(action)
    odds = np.array([[3.0], [1.0], [1.0]]) * np.exp(3.0 * action[0, 1:].astype(float))
    share = odds / odds.sum(axis=0)
    share[share < 0.05] = 0.0
    assert (share == 0).any()
    same("raw order", env.flows.raw_order, quantity * share / share.sum(axis=0), 1e-6)


def test_newsvendor_start(shop: Scenario) -> None:
    """The textbook level is the normal newsvendor's, over lead time and review."""
    level = POLICIES["base_stock"].tunable(shop.compiled)["level"]
    wanted = 15.0 + stats.norm.ppf(4 / 5) * np.sqrt(15.0)
    assert level.start == pytest.approx([wanted])
    assert level.whole


def test_parameter_moves_in_steps() -> None:
    """Tuning moves by steps, within bounds, to whole numbers if asked."""
    start, step = np.array([3.0, 10.0]), np.array([1.0, 2.0])
    assert Parameter(start, step).moved(np.array([0.3, -9.0])).tolist() == [3.3, 0.0]
    assert Parameter(start, step, high=4.0).moved(np.array([5.0, 0.0])).tolist() == [4.0, 4.0]
    assert Parameter(start, step, whole=True).moved(np.array([0.7, 0.1])).tolist() == [4.0, 10.0]
    assert Parameter(start, None).moved(np.array([5.0, 5.0])).tolist() == [3.0, 10.0]


def test_closest_name_wins(warehouse: Scenario) -> None:
    """A value by pair beats one by node beats one by kind."""
    level = {"warehouse": 1.0, "store": 2.0, "store_001": 3.0, "item_01@store_001": 4.0}
    policy = build_policy("base_stock", warehouse.compiled, {"level": level})
    env = BatchedEnv(warehouse, 1, base_policy=policy)
    env.reset(0)
    got = env.target[:, 0] + env.state.inventory_position[:, 0]
    labels = [s.label for s in env.net.network.stocks]
    wanted = {
        "item_00@warehouse": 1.0,
        "item_00@store_000": 2.0,
        "item_00@store_001": 3.0,
        "item_01@store_001": 4.0,
    }
    for label, value in wanted.items():
        assert got[labels.index(label)] == pytest.approx(value), label


NONSENSE: list[tuple[str, dict[str, Any], str]] = [
    # policy, parameters, what the message says
    ("base_stok", {}, "policy 'base_stok' is unknown. Did you mean 'base_stock'?"),
    ("base_stock", {"levle": 3.0}, "'levle' is unknown. Did you mean 'level'?"),
    ("base_stock", {"level": {"stroe": 3.0}}, "'stroe' is no node, node kind or sku@node"),
    ("base_stock", {"level": {"warehouse": 3.0}}, "got none for item_00@store_000"),
    ("base_stock", {"level": "many"}, "expected a finite number"),
    ("base_stock", {"level": float("nan")}, "expected a finite number"),
    ("base_stock", {"level": None}, "expected a finite number"),
]


@pytest.mark.parametrize(("policy", "params", "reason"), NONSENSE, ids=[n[2] for n in NONSENSE])
def test_nonsense_is_refused(
    warehouse: Scenario, policy: str, params: dict[str, Any], reason: str
) -> None:
    """Unknown names and numbers that aren't are refused, with a hint."""
    with pytest.raises(ConfigError) as error:
        build_policy(policy, warehouse.compiled, params)
    assert reason in str(error.value)
