"""omni_fulfilment: customers' orders find a node that has the goods."""

from __future__ import annotations

import numpy as np
import pytest

from conf.compose import compose_runs
from envs.batched_env import BatchedEnv
from envs.policies import build_policy
from envs.policies.nearest_with_stock import fulfilling_pairs
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.rollout import play


def scenario(*overrides: str) -> Scenario:
    """The shipped scenario, shortened."""
    arguments = ["scenario=omni_fulfilment", "scenario.horizon=60", *overrides]
    [composed] = compose_runs("evaluate", arguments)
    return build_scenario(composed.command.scenario)


def test_zones_hold_nothing() -> None:
    """What reaches a zone is handed over at once, but for units that rounding ordered too many."""
    env = BatchedEnv(scenario(), 8)
    env.reset(0)
    through = fulfilling_pairs(env.net)
    kinds = np.array([env.net.agent_nodes[n].kind for n in env.net.node_of_pair])
    assert (through == (kinds == "zone")).all()
    sold = demand = 0.0
    for _ in range(30):
        env.close_period(env.no_action)
        sold += env.flows.sold[through].sum()
        demand += env.flows.demand[through].sum()
        env.open_period()
        assert env.state.on_hand[through].mean() < 0.1
    assert sold < 0.02 * demand


def test_orders_go_where_the_goods_are() -> None:
    """A zone asks the cheapest sender that has stock, and the next one for the rest."""
    env = BatchedEnv(scenario("scenario.zones=1", "scenario.skus=1"), 1)
    env.reset(0)
    network, arrays = env.net.network, env.net.arrays
    zone = int(np.flatnonzero(fulfilling_pairs(env.net))[0])
    lanes = np.flatnonzero(arrays.lane_to == zone)
    lanes = lanes[np.argsort(arrays.unit_cost[lanes])]
    senders = arrays.inputs.index[arrays.inputs.pointer[lanes]]
    env.state.backorders[zone] = 10.0
    env.state.on_hand[senders] = np.array([[0.0], [4.0], [0.0], [50.0], [50.0]])
    env.state.in_transit[lanes] = env.state.in_transit_total[lanes] = env.state.owed[lanes] = 0.0
    env.refresh()
    env.close_period(env.no_action)
    assert env.flows.ordered[lanes, 0].tolist() == [0.0, 4.0, 0.0, 6.0, 0.0]
    assert len(network.nodes) == 14


def test_with_stock_beats_always_nearest() -> None:
    """Asking whoever has the goods costs less where stock is short, and customers wait less."""
    whole = scenario()
    levels = {"level": {"centre": 230.0, "store": 14.0, "zone": 0.0}}
    results = {
        name: play(whole, build_policy(name, whole.compiled, levels), traces=64, seed=1)
        for name in ("nearest_with_stock", "nearest_always")
    }
    gain = results["nearest_always"].cost - results["nearest_with_stock"].cost
    per_trace = gain.mean(axis=0)
    assert per_trace.mean() > 5.0 * per_trace.std() / np.sqrt(per_trace.size)
    backlog = {name: result.cost_columns()["backlog"] for name, result in results.items()}
    assert backlog["nearest_with_stock"] < backlog["nearest_always"]


@pytest.mark.parametrize("name", ["nearest_with_stock", "nearest_always"])
def test_unsent_orders_are_asked_again(name: str) -> None:
    """Nothing stays owed: what a sender lacks is cancelled, and no customer is forgotten."""
    whole = scenario()
    env = BatchedEnv(whole, 4, base_policy=build_policy(name, whole.compiled, {}))
    env.reset(0)
    for _ in range(40):
        env.close_period(env.no_action)
        assert not env.state.owed.any()
        env.open_period()
    through = fulfilling_pairs(env.net)
    assert env.state.backorders[through].mean() < 4.0 * 3.0  # a few days' demand at most
