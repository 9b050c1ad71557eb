"""gym-invmgmt's scenarios: who comes first where a plant is short, what cancels, what ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conf.compose import compose
from envs.environment.batched_env import BatchedEnv
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.simulation.simulator import Simulator
from evaluation.commands.evaluate import EvaluateCommand
from evaluation.comparison.rollout import play
from evaluation.replay.replay import Replay, replay_orders
from tests.hindsight import hindsight_costs

NAMES = ["invmgmt_serial", "invmgmt_network"]


def build(name: str, *arguments: str) -> Scenario:
    """Build a scenario with overrides."""
    composed = compose(EvaluateCommand, [f"scenario={name}", *arguments])
    return build_scenario(composed.command.scenario)


def order(scenario: Scenario, units: dict[str, float], periods: int = 1) -> Replay:
    """Order the same every period; lanes that aren't named get nothing."""
    row = [units.get(lane.id, 0.0) for lane in scenario.network.lanes]
    return replay_orders(scenario, np.tile(row, (periods, 1)))


def shipped(scenario: Scenario, run: Replay) -> dict[str, float]:
    """Units shipped in period 0, by lane, where there are any."""
    units = zip(scenario.network.lanes, run.lanes["shipped"][0], strict=True)
    return {lane.id: float(sent) for lane, sent in units if sent > 0}


def test_a_plant_serves_n2_first() -> None:
    """Capacity is the plant's, not the lane's, and what is left of it goes to n3."""
    scenario = build("invmgmt_network")
    run = order(scenario, {"n4_to_n2": 70, "n4_to_n3": 70, "n6_to_n3": 70})
    assert shipped(scenario, run) == {"n4_to_n2": 70, "n4_to_n3": 20, "n6_to_n3": 70}
    assert run.lanes["cancelled"].sum() == 50
    assert run.lanes["owed"].sum() == 0
    scarce = build("invmgmt_network", "scenario.stocks.n4.initial_stock=60")
    run = order(scarce, {"n4_to_n2": 50, "n4_to_n3": 50})
    assert shipped(scarce, run) == {"n4_to_n2": 50, "n4_to_n3": 10}


def test_todays_raw_material_cant_be_shipped_today() -> None:
    """It arrives in its own period, after shipping."""
    scenario = build("invmgmt_serial", "scenario.stocks.n3.initial_stock=10")
    run = order(scenario, {"n4_to_n3": 30, "n3_to_n2": 25}, periods=2)
    column = [lane.id for lane in scenario.network.lanes].index("n3_to_n2")
    assert run.lanes["shipped"][:, column].tolist() == [10, 25]


@pytest.mark.parametrize("name", NAMES)
def test_transfer_prices_cancel(name: str) -> None:
    """Profit of the network doesn't know them; the plants' operating cost is what is left."""
    scenario = build(name)
    free = {
        lane.id: replace(lane, unit_cost=lane.unit_cost - lane.price, price=0.0)
        for lane in scenario.network.lanes
    }
    network = replace(scenario.network, lanes=tuple(free.values()))
    orders = {lane: 15.0 for lane in free}
    costs = [
        order(s, orders, periods=20).stocks["cost"]
        for s in (scenario, replace(scenario, network=network))
    ]
    np.testing.assert_allclose(costs[0].sum(axis=1), costs[1].sum(axis=1), atol=1e-9)
    assert not np.allclose(costs[0], costs[1])
    spent = {lane.id: lane.unit_cost for lane in free.values() if lane.id.startswith("n5")}
    assert spent == pytest.approx({"n5_to_n2": 0.015} if name == "invmgmt_network" else {})


def test_a_period_in_which_nothing_is_ordered() -> None:
    """2 per unit sold, less holding of all stock, and nothing else."""
    run = order(build("invmgmt_serial"), {})
    sold = run.stocks["sold"][0, 0]
    assert 0 < sold < 100
    expected = 2 * sold - 0.03 * (100 - sold) - 0.02 * 100 - 0.01 * 200
    assert -run.stocks["cost"].sum() == pytest.approx(expected)


def test_customers_who_wait_and_who_leave() -> None:
    """Waiting costs 0.1 a period until served; leaving costs 0.1 once."""
    leaving = ("scenario.stocks.n1.p_wait=0", "scenario.stocks.n1.lost_sale_cost=0.1")
    empty = "scenario.stocks.n1.initial_stock=0"
    waiting_run = order(build("invmgmt_serial", empty), {}, periods=3)
    leaving_run = order(build("invmgmt_serial", empty, *leaving), {}, periods=3)
    demand = waiting_run.stocks["demand"][:, 0]
    np.testing.assert_allclose(
        waiting_run.stocks["cost_backlog"][:, 0], 0.1 * demand.cumsum(), atol=1e-9
    )
    np.testing.assert_allclose(leaving_run.stocks["cost_lost_sale"][:, 0], 0.1 * demand, atol=1e-9)
    assert leaving_run.stocks["cost_backlog"].sum() == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_start_is_theirs_and_nothing_is_worth_anything_at_the_end(name: str) -> None:
    """No goods on the way, no warm-up, 30 periods, no salvage value."""
    scenario = build(name)
    assert (scenario.horizon, scenario.warm_up) == (30, 0)
    assert not scenario.compiled.arrays.stocks.salvage.any()
    simulator = Simulator(scenario.compiled, 1)
    simulator.reset(0)
    assert simulator.state.in_transit.sum() == 0
    initial = [s.initial_stock for s in scenario.network.stocks]
    assert simulator.state.on_hand[:, 0].tolist() == initial
    assert sum(initial) == (400 if name == "invmgmt_serial" else 1420)


def test_a_plan_that_knows_the_end_stops_in_time() -> None:
    """What can't reach a customer by period 29 isn't ordered: n3_to_n2 takes 4 periods, a period
    until n2 ships it, and 4 more. A plan that doesn't know it goes on."""
    scenario = build("invmgmt_serial")
    numbers = dict(scenario.policy_params["rolling_lp"])
    late = {}
    for end in (30, 0):
        policy = build_policy("rolling_lp", scenario.compiled, {**numbers, "end": end})
        env = BatchedEnv(scenario, 2, base_policy=policy)
        env.reset(3)
        ordered = np.zeros((30, len(scenario.network.lanes)))
        for t in range(30):
            env.close_period(env.no_action)
            ordered[t] = env.flows.ordered.sum(axis=1)
            env.open_period()
        late[end] = [ordered[26:, 0].sum(), ordered[21:, 1].sum(), ordered[20:, 2].sum()]
    assert late[30] == pytest.approx([0, 0, 0], abs=1e-6)
    assert min(late[0]) > 0


@pytest.mark.parametrize("name", NAMES)
def test_no_policy_beats_the_bound(name: str) -> None:
    """Trace by trace; and base-stock is within a fifth of it, so that it says something."""
    scenario = build(name)
    policy = build_policy("base_stock", scenario.compiled, scenario.policy_params["base_stock"])
    paid = play(scenario, policy, traces=8, seed=7).cost.mean(axis=0)
    bound = hindsight_costs(scenario, traces=8, seed=7)
    assert (bound < paid).all()
    assert (paid < 0.8 * bound).all()
