"""weather_routing: whoever looks at the weather travels cheaper."""

from __future__ import annotations

import numpy as np
import pytest

from conf.compose import compose_runs
from envs.batched_env import BatchedEnv
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.rollout import play

LEVELS = {"plant": 60.0, "city": 30.0}


def scenario(*overrides: str) -> Scenario:
    """The shipped scenario, shortened."""
    arguments = ["scenario=weather_routing", "scenario.horizon=60", *overrides]
    [composed] = compose_runs("evaluate", arguments)
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


def test_looking_pays_at_equal_stock() -> None:
    """The same levels: static roads cost more, far outside the noise, and serve worse."""
    whole = scenario()
    results = {}
    for name in ("expected_path", "base_stock"):
        policy = build_policy(name, whole.compiled, {"level": LEVELS})
        results[name] = play(whole, policy, traces=64, seed=1)
    gain = results["base_stock"].cost.mean(axis=0) - results["expected_path"].cost.mean(axis=0)
    assert gain.mean() > 5.0 * gain.std() / np.sqrt(gain.size)
    fill = {name: result.summary()["fill_rate"] for name, result in results.items()}
    assert fill["expected_path"] > fill["base_stock"]
    columns = results["expected_path"].cost_columns()
    assert {"holding", "backlog", "purchase", "load"} <= set(columns)


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
    parameters = {"level": LEVELS, "value_of_time": 0.01}
    policy = build_policy("expected_path", whole.compiled, parameters)
    env = BatchedEnv(whole, 64, base_policy=policy)
    env.reset(0)
    gates = env.simulator.decision.gate
    held = []
    for _ in range(30):
        env.close_period(env.no_action)
        to = env.net.arrays.lane_to
        for q in range(len(to)):
            assert (env.flows.ordered[q][gates[to[q]] < 0.0] == 0.0).all()
        held.append((gates < 0.0).mean())
        env.open_period()
    assert np.mean(held) > 0.02


@pytest.mark.parametrize("name", ["expected_path", "base_stock"])
def test_service_is_sensible(name: str) -> None:
    """Textbook levels serve most customers from the shelf."""
    whole = scenario()
    result = play(whole, build_policy(name, whole.compiled, {}), traces=32, seed=2)
    assert 0.8 < result.summary()["fill_rate"] < 1.0
