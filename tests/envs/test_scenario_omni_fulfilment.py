"""omni_fulfilment: customers' orders find a node that has the goods."""

from __future__ import annotations

import numpy as np
import pytest

from conf.compose import compose
from envs.environment.batched_env import BatchedEnv
from envs.policies import build_policy
from envs.policies.nearest_with_stock import fulfilling_pairs
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.commands.evaluate import EvaluateCommand
from evaluation.comparison.rollout import play


def scenario(*overrides: str) -> Scenario:
    """The shipped scenario, shortened."""
    arguments = ["scenario=omni_fulfilment", "scenario.horizon=60", *overrides]
    composed = compose(EvaluateCommand, arguments)
    return build_scenario(composed.command.scenario)


def test_zones_hold_nothing() -> None:
    """What reaches a zone is handed over at once, but for units that rounding ordered too many."""
    env = BatchedEnv(scenario(), 8)
    env.reset(0)
    through = fulfilling_pairs(env.net)
    kinds = np.array([env.net.agent_nodes[n].kind for n in env.net.arrays.stocks.node_of])
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
    lanes = np.flatnonzero(arrays.lanes.to == zone)
    lanes = lanes[np.argsort(arrays.lanes.unit_cost[lanes])]
    senders = arrays.lanes.inputs.index[arrays.lanes.inputs.pointer[lanes]]
    env.state.backorders[zone] = 10.0
    env.state.on_hand[senders] = np.array([[0.0], [4.0], [0.0], [50.0], [50.0]])
    env.state.in_transit[lanes] = env.state.in_transit_total[lanes] = env.state.owed[lanes] = 0.0
    env.refresh()
    env.close_period(env.no_action)
    assert env.flows.ordered[lanes, 0].tolist() == [0.0, 4.0, 0.0, 6.0, 0.0]
    assert len(network.nodes) == 14


def test_zones_share_what_there_is() -> None:
    """Zones that want the same stock get equal shares of it, and turn to the next sender for the
    rest; what nobody has isn't asked for."""
    env = BatchedEnv(scenario("scenario.skus=1"), 1)
    env.reset(0)
    arrays, state = env.net.arrays, env.state
    zones = np.flatnonzero(fulfilling_pairs(env.net))
    to_zones = np.isin(arrays.lanes.to, zones)
    sender = arrays.lanes.inputs.index[arrays.lanes.inputs.pointer[:-1] * to_zones]
    state.in_transit[to_zones] = state.in_transit_total[to_zones] = state.owed[to_zones] = 0.0
    state.backorders[zones] = 500.0
    state.on_hand[:] = 0.0
    state.on_hand[np.unique(sender[to_zones])] = 30.0
    env.refresh()
    env.simulator.trace.demand[:] = 0.0  # as if nobody else came today
    env.close_period(env.no_action)
    raw = np.where(to_zones, env.flows.raw_order[:, 0], 0.0)
    asked = np.bincount(sender, raw, minlength=len(state.on_hand))
    served = np.unique(sender[to_zones])
    assert asked[served] == pytest.approx(30.0, rel=0.05)  # crumbs are dropped
    cheapest = [min(np.flatnonzero(arrays.lanes.to == z), key=lambda q: arrays.lanes.unit_cost[q])
                for z in zones]  # fmt: skip
    for node in np.unique(sender[cheapest]):
        takers = [q for q in cheapest if sender[q] == node]
        assert raw[takers] == pytest.approx(np.full(len(takers), raw[takers].mean()), rel=0.05)


def test_with_stock_beats_always_nearest() -> None:
    """Asking whoever has the goods costs far less than noise could explain where shelves are
    short, and customers wait less."""
    whole = scenario()
    results = {
        name: play(whole, build_policy(name, whole.compiled, {}), traces=64, seed=1)
        for name in ("nearest_with_stock", "nearest_always")
    }
    gain = results["nearest_always"].cost - results["nearest_with_stock"].cost
    per_trace = gain.mean(axis=0)
    assert per_trace.mean() > 5.0 * per_trace.std() / np.sqrt(per_trace.size)
    assert per_trace.mean() > 0.05 * results["nearest_always"].cost.mean()
    backlog = {name: result.cost_columns()["backlog"] for name, result in results.items()}
    assert backlog["nearest_with_stock"] < backlog["nearest_always"]
    used = {"holding", "backlog", "lost_sale", "purchase"}
    assert used <= set(results["nearest_with_stock"].cost_columns())


def test_shelves_hold_what_they_hold() -> None:
    """No store ever has more than its capacity, and the limit is felt."""
    env = BatchedEnv(scenario(), 16)
    env.reset(0)
    kinds = np.array([env.net.agent_nodes[n].kind for n in env.net.arrays.stocks.node_of])
    stores = np.flatnonzero(kinds == "store")
    node = env.net.arrays.stocks.node_of[stores]
    fullest = 0.0
    for _ in range(40):
        env.close_period(env.no_action)
        env.open_period()
        for n in np.unique(node):
            held = env.state.on_hand[stores[node == n]].sum(axis=0)
            assert (held <= 45.0 + 1e-9).all()
            fullest = max(fullest, float(held.max()))
    assert fullest > 40.0


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
