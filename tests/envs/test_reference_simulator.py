"""The simulator against a second one, written from the documentation (reference_simulator.py)."""

from __future__ import annotations

import math
from itertools import product
from random import Random

import numpy as np
import pytest

from envs.compiled.arrays import CostColumn
from envs.compiled.network import compile_network
from envs.network.demand import Demand
from envs.network.lane import Lane, LaneInput, Resource, ResourceUse
from envs.network.lead_time import LeadTime
from envs.network.network import (
    InTransitPayer,
    Node,
    Receive,
    ServeOrder,
    Sku,
    Stock,
    SupplyNetwork,
    Timing,
    Unfilled,
)
from envs.network.regime import MULTIPLIERS
from tests.envs.reference_simulator import Given, ReferenceSimulator
from tests.envs.runs import Run, play_orders, random_orders, random_run, same

PERIODS = 20


def agree(run: Run) -> None:
    """Both simulators do the same in every period, to the last cost."""
    network = run.network
    reference = ReferenceSimulator(network, int(run.offset[0]))
    lanes, pairs = [q.id for q in network.lanes], [s.label for s in network.stocks]
    for t in range(len(run.raw)):
        now = reference.play(given(run, t))
        for names, got, where in (
            (("ordered", "shipped", "cancelled", "received", "scrapped"), run.flows, lanes),
            (("owed", "orders_on_way_total", "in_transit_total"), run.closed, lanes),
            (("sold", "backlog_served", "lost"), run.flows, pairs),
            (("on_hand", "backorders"), run.closed, pairs),
        ):
            for name in names:
                wanted = np.array([getattr(now, name)[place] for place in where])
                same(f"{name} in {t}, {where}", getattr(got, name)[t, :, 0], wanted)
        for column in CostColumn:
            wanted = np.array([now.cost[column, p] for p in pairs])
            same(f"{column.name} in {t}, {pairs}", run.flows.cost[t, column, :, 0], wanted)


def given(run: Run, t: int) -> Given:
    """What chance and agents brought."""
    lanes = [q.id for q in run.network.lanes]
    pairs = [s.label for s in run.network.stocks]
    customers = [pairs[p] for p in run.net.customer_pair]
    weights = {
        (pair, lane): weight
        for p, pair in enumerate(pairs)
        for lane, weight in zip(lanes, run.sharing_weight(p)[t, :, 0].tolist(), strict=True)
    }
    return Given(
        raw=dict(zip(lanes, run.raw[t, :, 0].tolist(), strict=True)),
        demand=dict(zip(customers, run.demand[t, :, 0].tolist(), strict=True)),
        lead=dict(zip(lanes, run.lead_time[t, :, 0].astype(int).tolist(), strict=True)),
        factors=factors_of(run, t),
        forecast=dict(zip(pairs, run.opened.forecast_mean[t, :, 0].tolist(), strict=True)),
        weights=weights,
    )


def factors_of(run: Run, t: int) -> dict[tuple[str, str], float]:
    """(multiplier, lane or resource) -> product over its regimes, by the states they are in."""
    network = run.network
    state = {g.id: g.states[run.states[t, i, 0]] for i, g in enumerate(network.regimes)}
    things: list[Lane | Resource] = [*network.lanes, *network.resources]
    return {
        (name, thing.id): math.prod(getattr(state[g], name) for g in thing.regimes)
        for thing in things
        for name in MULTIPLIERS
    }


def chain(timing: Timing, lead: int, delay: int) -> SupplyNetwork:
    """A supplier of six a period, a depot and a shop, whose lanes take `lead` and hear of orders
    after `delay`; everything costs something."""
    history = np.array([4.0, 0.0, 7.0, 2.0, 9.0, 1.0])
    inner = lead if timing.receive is Receive.after_ship else max(lead, 1)
    return SupplyNetwork(
        (Node("depot"), Node("shop")),
        (Sku("tea", 2.0),),
        (
            Stock("depot", "tea", 0.5, 3.0, initial_stock=5.0),
            Stock("shop", "tea", 1.0, 9.0, 4.0, 5.0, p_wait=0.5, initial_stock=6.0,
                  demand=Demand(4.0, 3.0, history=history)),
        ),
        (
            Lane("buy", "depot", "tea", LeadTime(lead), unit_cost=1.0, fixed_cost=2.0,
                 unfilled_cost=0.25, information_delay=delay,
                 resources=(ResourceUse("supplier"),), initial_orders=(2.0,) * delay,
                 initial_in_transit=(1.0,) * lead),
            Lane("move", "shop", "tea", LeadTime(inner), (LaneInput("depot", "tea"),),
                 information_delay=delay, initial_orders=(3.0,) * delay),
        ),
        (Resource("supplier", 6.0),),
        timing=timing,
    )  # fmt: skip


@pytest.mark.parametrize("unfilled", Unfilled)
@pytest.mark.parametrize("demand", ServeOrder)
@pytest.mark.parametrize("receive", Receive)
def test_every_order_of_events(receive: Receive, demand: ServeOrder, unfilled: Unfilled) -> None:
    """With lead times from 0 to 3 and information delays from 0 to 2."""
    timing = Timing(receive, demand, unfilled, InTransitPayer.sender)
    for lead, delay in product(range(4), range(3)):
        network = chain(timing, lead, delay)
        orders = random_orders(Random(lead + 4 * delay), network, PERIODS, 1)
        agree(play_orders(compile_network(network), orders, 0))


def agree_on(seed: int) -> None:
    """Both do the same on a random network, given random orders or random actions."""
    try:
        agree(random_run(Random(seed), PERIODS, batch=1))
    except AssertionError as error:
        raise AssertionError(f"random network {seed}: {error}") from error


def test_random_networks() -> None:
    """Everything a network can have at once."""
    for seed in range(8):
        agree_on(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("first", range(8, 508, 50))
def test_many_random_networks(first: int) -> None:
    """Five hundred more."""
    for seed in range(first, first + 50):
        agree_on(seed)
