"""A system that records describe is put into the simulator, and goes on as it would have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from envs.compiled.network import compile_network
from envs.environment.batched_env import BatchedEnv
from envs.network.lane import Lane
from envs.network.network import Node, Receive, ServeOrder, Sku, Stock, SupplyNetwork, Timing
from envs.scenario import Scenario
from envs.simulation.simulator import Simulator
from envs.simulation.snapshot import Snapshot, split_sales


def played(env: BatchedEnv, periods: int) -> Snapshot:
    """Play the base policy; return where replication 0 stands then."""
    env.reset(3)
    sales, asked = [], []

    def see() -> None:
        sales.append(env.flows.demand[:, 0].copy())
        asked.append(env.flows.requested[:, 0].copy())

    if env.net.arrays.switches.demand_first:
        see()
    for _ in range(periods):
        env.close_period(env.no_action)
        env.open_period()
        see()
    state, ahead = env.state, np.arange(env.net.slots)
    beliefs = len(env.net.arrays.beliefs.lane)
    return Snapshot.nothing(env.net)._replace(
        on_hand=state.on_hand[:, 0].copy(),
        backorders=state.backorders[:, 0].copy(),
        owed=state.owed[:, 0].copy(),
        in_transit=state.in_transit[:, (env.simulator.period + ahead) % env.net.slots, 0],
        sales=np.array(sales),
        asked=np.array(asked),
        sold_in=(0,) * len(sales),
        ordered=np.zeros((len(sales) + env.net.cohorts, beliefs)),
        received=np.zeros((len(sales), beliefs)),
        cancelled=np.zeros((len(sales), beliefs)),
        seen=np.zeros((len(sales), 0), int),
    )


@pytest.mark.parametrize("timing", [Timing(), Timing(Receive.after_ship, ServeOrder.first)])
def test_a_restored_system_is_the_one_it_was(warehouse: Scenario, timing: Timing) -> None:
    """Same observation in every replication; same state and orders, but for rounding of sums."""
    network = replace(warehouse.network, timing=timing)
    scenario = replace(warehouse, network=network, smoothing=0.2, memory=3)
    env = BatchedEnv(scenario, 1)
    snapshot = played(env, 12)
    other = BatchedEnv(scenario, 2)
    other.reset(0)
    observation = other.restore(snapshot)
    for b in range(2):
        np.testing.assert_allclose(observation[..., b], env.observe()[..., 0], 1e-6)
        for name in ("inventory_position", "demand_level", "demand_variance", "square_28"):
            ours, theirs = getattr(other.state, name), getattr(env.state, name)
            np.testing.assert_allclose(ours[:, b], theirs[:, 0], 1e-12, err_msg=name)
    env.close_period(env.no_action)
    other.close_period(other.no_action)
    np.testing.assert_allclose(other.flows.ordered[:, 1], env.flows.ordered[:, 0], 1e-12)
    assert env.flows.ordered.sum() > 0


def test_unknown_sales_change_no_belief(warehouse: Scenario) -> None:
    """Of the pair itself, and of the pairs above it; what is known is still learned."""
    env = BatchedEnv(replace(warehouse, smoothing=0.2), 1)
    snapshot = played(env, 1)
    sales = np.full_like(snapshot.sales, np.nan)
    env.reset(0)
    env.restore(Snapshot.nothing(env.net))
    names = ("incoming", "mean_7", "demand_level", "demand_variance")
    before = {name: getattr(env.state, name).copy() for name in names}
    row = int(env.net.customer_pair[0])
    sales[0, row] = 1e3
    env.restore(snapshot._replace(sales=sales, asked=np.full_like(sales, np.nan)))
    for name, old in before.items():
        changed = np.flatnonzero(getattr(env.state, name)[:, 0] != old[:, 0])
        assert changed.tolist() == ([0] if name.startswith("demand") else [row]), name


def test_what_lanes_asked_is_what_was_sold_below(warehouse: Scenario) -> None:
    """Where it isn't given; and unknown where some of it is."""
    net = warehouse.compiled
    sells = net.arrays.stocks.demand_of >= 0
    sold, asked = np.where(sells, 2.0, np.nan), np.full(len(sells), np.nan)
    known, demand, requested = split_sales(net, sold, asked)
    assert known.all()
    assert requested[~sells].tolist() == [6.0, 6.0]  # three stores
    assert demand.tolist() == np.where(sells, 2.0, 0.0).tolist()
    asked[~sells] = 7.0
    assert split_sales(net, sold, asked)[2][~sells].tolist() == [7.0, 7.0]
    asked[~sells], sold[sells] = np.nan, np.nan
    assert not split_sales(net, sold, asked)[0].any()


@pytest.mark.parametrize("receive", Receive)
def test_an_order_ships_once_its_sender_has_heard_of_it(receive: Receive) -> None:
    """A period later with an information delay of one, whenever goods arrive."""
    delays = {"told a period later": 1, "told at once": 0}
    network = SupplyNetwork(
        (Node("store"),),
        (Sku("item"),),
        (Stock("store", "item", initial_stock=9.0),),
        tuple(Lane(q, "store", "item", information_delay=d) for q, d in delays.items()),
        timing=Timing(receive),
    )
    simulator = Simulator(compile_network(network), 1)
    simulator.reset(0)
    order, shipped = np.full((2, 1), 5.0), []
    for _ in range(3):
        simulator.close_period_with_orders(order)
        shipped.append(simulator.flows.shipped[:, 0].tolist())
        simulator.open_period()
        order = 0.0 * order
    assert shipped == [[0.0, 5.0], [5.0, 0.0], [0.0, 0.0]]
