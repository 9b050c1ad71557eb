"""weather_routing: whoever looks at the weather travels cheaper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conf.compose import compose
from envs.environment.batched_env import BatchedEnv
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.commands.evaluate import EvaluateCommand
from evaluation.comparison.rollout import play


def scenario(*overrides: str) -> Scenario:
    """The shipped scenario, shortened."""
    arguments = ["scenario=weather_routing", "scenario.horizon=60", *overrides]
    composed = compose(EvaluateCommand, arguments)
    return build_scenario(composed.command.scenario)


def test_every_city_has_two_or_three_ways() -> None:
    """Roads, detours, rails and flights, each through one or two quarters' weather."""
    network = scenario().network
    ways = {n.id: [q for q in network.lanes if q.node == n.id] for n in network.nodes}
    cities = [n.id for n in network.nodes if n.kind == "city"]
    assert {len(ways[city]) for city in cities} == {2, 3}
    assert {q.mode for q in network.lanes} == {"make", "truck", "rail", "air"}
    assert all(1 <= len(q.regimes) <= 2 for q in network.lanes if q.mode != "make")
    assert len(network.regimes) == 4


def test_base_ways_are_the_best_fixed_ones() -> None:
    """What the builder's formula says, simulation confirms: no city does better on another way."""
    whole = scenario()
    network = whole.network
    cities = [n.id for n in network.nodes if n.kind == "city"]
    ways = {city: [q.id for q in network.lanes if q.node == city] for city in cities}
    base = {q.node: q.id for q in network.lanes if q.base_share > 0.0}
    cost: dict[str, dict[str, float]] = {city: {} for city in cities}
    for i in range(3):
        chosen = [ways[city][min(i, len(ways[city]) - 1)] for city in cities]
        lanes = tuple(
            replace(q, base_share=float(q.id in chosen)) if q.node in cities else q
            for q in network.lanes
        )
        fixed = replace(whole, network=replace(network, lanes=lanes))
        for node, value in cost_by_node(fixed, "fixed_path").items():
            for way in set(chosen) & set(ways.get(node, ())):
                cost[node][way] = value
    assert {city: min(cost[city], key=cost[city].__getitem__) for city in cities} == {
        city: base[city] for city in cities
    }


def cost_by_node(whole: Scenario, name: str) -> dict[str, float]:
    """Mean cost of every node at the policy's textbook level."""
    policy = build_policy(name, whole.compiled, {})
    env = BatchedEnv(whole, 64, base_policy=policy)
    env.reset(1)
    total = np.zeros(len(env.net.network.stocks))
    for _ in range(env.horizon):
        env.close_period(env.no_action)
        total += env.flows.total_cost.mean(axis=1)
        env.open_period()
    return {s.node: float(c) for s, c in zip(env.net.network.stocks, total, strict=True)}


def test_looking_pays_against_the_best_fixed_way() -> None:
    """Whoever looks at the weather pays far less than noise could explain, and serves no worse."""
    whole = scenario()
    results = {
        name: play(whole, build_policy(name, whole.compiled, {}), traces=64, seed=1)
        for name in ("expected_path", "fixed_path", "base_stock")
    }
    cost = {name: result.cost.mean(axis=0) for name, result in results.items()}
    for better, worse in (("expected_path", "fixed_path"), ("fixed_path", "base_stock")):
        gain = cost[worse] - cost[better]
        assert gain.mean() > 5.0 * gain.std() / np.sqrt(gain.size)
        assert gain.mean() > 0.03 * cost[worse].mean()
    fill = {name: result.summary()["fill_rate"] for name, result in results.items()}
    assert fill["expected_path"] > fill["fixed_path"] - 0.01
    columns = results["expected_path"].cost_columns()
    assert {"holding", "in_transit", "backlog", "purchase", "load"} <= set(columns)


@pytest.mark.parametrize("name", ["expected_path", "fixed_path"])
def test_loads_leave_full(name: str) -> None:
    """Every order to a city is whole loads on one way."""
    whole = scenario()
    env = BatchedEnv(whole, 16, base_policy=build_policy(name, whole.compiled, {}))
    env.reset(0)
    lanes = env.net.network.lanes
    used = set()
    for _ in range(40):
        env.close_period(env.no_action)
        for q, lane in enumerate(lanes):
            ordered = env.flows.ordered[q]
            if lane.load_size is not None:
                assert (ordered % lane.load_size == 0.0).all()
                used |= {lane.mode, lane.id.split(" ")[0]} if ordered.any() else set()
        to = env.net.arrays.lanes.to
        ways = np.zeros((to.max() + 1, 16), np.int64)
        np.add.at(ways, to, env.flows.ordered > 0.0)
        assert ways.max() <= 1
        env.open_period()
    assert {"truck", "road"} < used
    assert ({"detour", "flight"} <= used) == (name == "expected_path")


def test_only_a_firm_action_moves_the_gate() -> None:
    """Learning starts where orders go on: half of the gate's range opens or closes it."""
    ordered = {}
    for push in (-0.6, -0.4, 0.0, 0.4):
        env = BatchedEnv(scenario(), 64)
        env.reset(0)
        action = env.no_action.copy()
        for group in env.groups:
            action[group.start : group.stop, group.heads.index("gate")] = push
        env.close_period(action)
        ordered[push] = env.flows.ordered.sum(axis=0)
    assert ordered[0.0].all()
    assert np.array_equal(ordered[-0.4], ordered[0.0])
    assert np.array_equal(ordered[0.4], ordered[0.0])
    assert not ordered[-0.6].any()


def test_planes_are_grounded_and_trains_go_on() -> None:
    """In severe weather flights ship nothing while the railway still does."""
    env = BatchedEnv(scenario(), 64, base_policy=None)
    env.reset(3)
    net = env.net
    modes = np.array([q.mode for q in net.network.lanes])
    ids = [r.id for r in net.network.regimes]
    grounded = 0
    for _ in range(40):
        env.simulator.close_period_with_orders(np.full((len(modes), 64), 1.0))
        state = env.simulator.trace.true_regime
        for q in np.flatnonzero(modes == "air"):
            severe = np.zeros(64, bool)
            for regime in net.network.lanes[q].regimes:
                severe |= state[ids.index(regime)] == 2
            assert (env.flows.shipped[q][severe] == 0.0).all()
            grounded += int(severe.sum())
        env.open_period()
    assert grounded > 100


def test_nothing_leaves_when_waiting_is_cheaper() -> None:
    """With a perfect forecast and cheap waiting the rule sits out bad weather."""
    whole = scenario("scenario.forecast_accuracy=[1.0,1.0,1.0]")
    parameters = {"value_of_time": 0.05}
    policy = build_policy("expected_path", whole.compiled, parameters)
    env = BatchedEnv(whole, 64, base_policy=policy)
    env.reset(0)
    gates = env.simulator.decision.gate
    held = []
    for _ in range(30):
        env.close_period(env.no_action)
        to = env.net.arrays.lanes.to
        for q in range(len(to)):
            assert (env.flows.ordered[q][gates[to[q]] < 0.0] == 0.0).all()
        held.append((gates < 0.0).mean())
        env.open_period()
    assert np.mean(held) > 0.02


@pytest.mark.parametrize("name", ["expected_path", "fixed_path", "base_stock"])
def test_service_is_sensible(name: str) -> None:
    """Textbook levels serve most customers from the shelf."""
    whole = scenario()
    result = play(whole, build_policy(name, whole.compiled, {}), traces=32, seed=2)
    assert 0.8 < result.summary()["fill_rate"] < 1.0
