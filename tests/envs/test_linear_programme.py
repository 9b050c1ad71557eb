"""The linear programme is the simulator's: same events, same costs, and never dearer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import pytest

from envs.compiled.network import CompiledNetwork, compile_network
from envs.linear_programme.programme import (
    OpeningState,
    Pricing,
    Programme,
    record_outlooks,
    relaxations,
)
from envs.linear_programme.rows import build_programme
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Limits
from envs.network.network import SupplyNetwork
from envs.simulation.simulator import Simulator
from tests.envs.networks import random_network
from tests.envs.runs import Floats, random_orders

PERIODS = 16
SALVAGE = 0.5


@dataclass(frozen=True, eq=False)
class Played:
    """Orders played in the simulator. cost: of the counted periods, as key figures count it.
    All arrays [T, ...] of one replication."""

    cost: float
    ordered: Floats
    shipped: Floats
    cancelled: Floats
    owed: Floats
    on_hand: Floats


def begin(net: CompiledNetwork, seed: int, counted_from: int) -> Programme:
    """The programme of the periods that `play` plays."""
    simulator = Simulator(net, 1)
    simulator.reset(seed)
    start = OpeningState.of(net, simulator.state, simulator.flows, 0, 0)
    outlook = record_outlooks(simulator.trace, net, 0, PERIODS)[0]
    return build_programme(net, outlook, start, Pricing.plain(net, SALVAGE, counted_from))


def play(net: CompiledNetwork, orders: Floats, seed: int, counted_from: int) -> Played:
    """Play raw orders [T, Q]."""
    arrays, simulator = net.arrays, Simulator(net, 1)
    simulator.reset(seed)
    cost = 0.0
    kept: dict[str, list[Floats]] = {name: [] for name in Played.__annotations__ if name != "cost"}
    for t in range(PERIODS):
        state, flows = simulator.state, simulator.flows
        if t == counted_from:
            stock = state.on_hand[:, 0].copy()
            on_way = arrays.lanes.expected_yield * state.in_transit_total[:, 0]
            np.add.at(stock, arrays.lanes.to, on_way)
            cost += SALVAGE * float(arrays.stocks.salvage @ stock)
        raw = np.ascontiguousarray(orders[t][:, None])
        simulator.close_period_with_orders(raw, SALVAGE if t == PERIODS - 1 else 0.0)
        if t >= counted_from:
            cost += float(flows.total_cost.sum())
        for name, values in kept.items():
            source = flows if hasattr(flows, name) else state
            values.append(getattr(source, name)[:, 0].copy())
        simulator.open_period()
    return Played(cost, **{name: np.array(values) for name, values in kept.items()})


def held_to(programme: Programme, played: Played) -> Programme:
    """The programme with the orders, shipments and stocks of a run, to within rounding.

    Where an order counts as what ships, what is owed isn't looked at.
    """
    lower, upper = programme.lower.copy(), programme.upper.copy()
    direct = (programme.ordered == programme.shipped).all(axis=0)
    for columns, values in (
        (programme.shipped, played.shipped),
        (programme.on_hand[1:], played.on_hand),
        (programme.ordered[:, ~direct], played.ordered[:, ~direct]),
    ):
        assert (values <= programme.upper[columns] + 1e-9).all()
        assert (values >= programme.lower[columns] - 1e-9).all()
        lower[columns], upper[columns] = values - 1e-6, values + 1e-6
    return replace(programme, lower=lower, upper=upper)


def owed_unseen(net: CompiledNetwork, programme: Programme, played: Played, first: int) -> float:
    """What unshipped orders cost on lanes where the programme orders what ships."""
    arrays = net.arrays
    direct = (programme.ordered == programme.shipped).all(axis=0)
    entry = arrays.stocks.outbound.index, arrays.stocks.waiting_cost
    waiting = np.bincount(*entry, minlength=len(arrays.lanes.to)) + arrays.lanes.unfilled_cost
    cost = played.owed * waiting + played.cancelled * arrays.lanes.unfilled_cost
    return float(cost[first:, direct].sum())


def without_steps(network: SupplyNetwork) -> SupplyNetwork:
    """The same without what isn't linear: costs that jump, whole units, customers of whom a share
    waits."""
    lanes = tuple(replace(lane, fixed_cost=0.0, load_cost=0.0) for lane in network.lanes)
    stocks = tuple(replace(stock, p_wait=float(stock.p_wait > 0.5)) for stock in network.stocks)
    resources = tuple(replace(r, fixed_cost=0.0, load_cost=0.0) for r in network.resources)
    skus = tuple(replace(sku, whole_units=False) for sku in network.skus)
    return replace(network, skus=skus, lanes=lanes, stocks=stocks, resources=resources)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("change", [without_steps, lambda network: network], ids=["linear", "any"])
def test_programme_allows_what_the_simulator_does(
    seed: int, change: Callable[[SupplyNetwork], SupplyNetwork]
) -> None:
    """Orders, shipments and stocks of a run satisfy every row; the value is at most what the run
    cost, and equal where all is linear (goods at the doors of full nodes may be let in in another
    order)."""
    random, counted_from = Random(seed), (0, 5)[seed % 2]
    network = change(random_network(random))
    net = compile_network(network)
    played = play(net, random_orders(random, network, PERIODS, 1)[:, :, 0], seed, counted_from)
    programme = begin(net, seed, counted_from)
    value = held_to(programme, played).solve().value
    cost = played.cost - owed_unseen(net, programme, played, counted_from)
    room = 5e-4 * (1.0 + abs(cost))  # what held_to leaves, over all rows
    assert value <= cost + room
    if change is without_steps and not np.isfinite(net.arrays.nodes.storage_capacity).any():
        assert value == pytest.approx(cost, abs=room)


def smooth(network: SupplyNetwork) -> SupplyNetwork:
    """A network in which nothing is gained by keeping goods back, or by ordering before they can
    ship, so that the simulator does with the programme's orders what the programme does."""
    network = without_steps(network)
    inner = {(i.node, i.sku) for lane in network.lanes for i in lane.inputs}
    pairs = [(s.node, s.sku) for s in network.stocks]
    shop = next((p for p in reversed(pairs) if p not in inner), pairs[-1])
    demand = Demand.from_config(DemandConfig("poisson", mean=4.0), 0)
    stocks = tuple(
        replace(
            s,
            holding_cost=s.holding_cost + 0.5,
            backlog_cost=4.0,
            lost_sale_cost=40.0,
            demand=(s.demand or demand) if pair == shop or pair not in inner else None,
        )
        for s, pair in zip(network.stocks, pairs, strict=True)
    )
    lanes = tuple(
        replace(
            q,
            full_loads=False,
            load_size=None,
            minimum_order=0.0,
            maximum_order=math.inf,
            order_multiple=0.0,
            calendar=None,
            unfilled_cost=0.5,
            price=0.0,
            initial_orders=(),
        )
        for q in network.lanes
    )
    regimes = tuple(
        replace(
            g,
            states=tuple(
                replace(s, availability=float(s.availability > 0.0), ordering=1.0) for s in g.states
            ),
        )
        for g in network.regimes
    )
    return replace(
        network,
        nodes=tuple(replace(n, review=None, storage_capacity=math.inf) for n in network.nodes),
        skus=tuple(replace(s, value=0.0) for s in network.skus),
        stocks=stocks,
        lanes=lanes,
        resources=tuple(replace(r, limits=Limits.shipments) for r in network.resources),
        regimes=regimes,
    )


@pytest.mark.parametrize("seed", range(40))
def test_best_orders_cost_what_the_programme_says(seed: int) -> None:
    """The simulator, given the programme's orders, reproduces its cost to the last cent."""
    net = compile_network(smooth(random_network(Random(seed), divisible=True)))
    if net.arrays.stocks.demand_of[net.arrays.lanes.inputs.index].max(initial=-1) >= 0:
        pytest.skip("customers compete with lanes for stock")
    assert relaxations(net) == ()
    programme = begin(net, seed, 0)
    solution = programme.solve()
    orders = np.where(programme.ordered >= 0, solution.columns[programme.ordered], 0.0)
    played = play(net, orders, seed, 0)
    assert played.cost == pytest.approx(solution.value, rel=1e-6, abs=1e-5)
