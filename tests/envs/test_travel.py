"""What the weather is expected to be, and what travelling in it costs."""

from __future__ import annotations

import numpy as np
import pytest

from envs.compiled.network import compile_network
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.network.regime import EventWindow, MarkovChain, Regime, RegimeState
from envs.policies.travel import Travel, state_ahead
from envs.trace.trace import Trace

STATES = (
    RegimeState("clear"),
    RegimeState("adverse", lead_time=1.5),
    RegimeState("severe", lead_time=3.0, availability=0.0),
)
CHAIN = ((0.9, 0.1, 0.0), (0.2, 0.6, 0.2), (0.0, 0.4, 0.6))
NORTH = Regime("north", STATES, MarkovChain(CHAIN), seen_after=0, forecast_accuracy=(0.8, 0.5))
SOUTH = Regime("south", STATES, MarkovChain(CHAIN))


def road(*regimes: Regime) -> SupplyNetwork:
    """A shop at the end of a road of 4 days through this weather; 6 per unit, loads of 5 for 10."""
    demand = Demand.from_config(DemandConfig("poisson", mean=4.0), 0)
    lane = Lane(
        "road",
        "shop",
        "tea",
        LeadTime(4),
        regimes=tuple(r.id for r in regimes),
        unit_cost=6.0,
        load_size=5.0,
        load_cost=10.0,
    )
    stock = Stock("shop", "tea", demand=demand)
    nodes, skus = (Node("shop", "store"),), (Sku("tea"),)
    return SupplyNetwork(nodes, skus, (stock,), (lane,), regimes=regimes)


@pytest.mark.parametrize("days", [1, 2])
def test_expectations_are_what_comes(days: int) -> None:
    """Among the days of a trace that look the same, the states that follow are as often as said."""
    trace = Trace(compile_network(road(NORTH)), 500)
    trace.reset(1, 0)
    seen, told, true = [], [], []
    for _ in range(400):
        seen.append(trace.seen[0].copy())
        told.append(trace.forecast[days - 1, 0].copy())
        true.append(trace.true_regime[0].copy())
        trace.advance()
    expected = state_ahead(NORTH, days)
    s, k, t = np.array(seen)[:-days], np.array(told)[:-days], np.array(true)[days:]
    for i in range(3):
        for j in range(3):
            alike = (s == i) & (k == j)
            if alike.sum() > 2000:
                came = np.bincount(t[alike], minlength=3) / alike.sum()
                assert came == pytest.approx(expected[i, j], abs=0.03)


def test_less_is_known_without_a_forecast_or_a_look() -> None:
    """Nothing seen: the long run, or what the forecast says of it; no days ahead: what is seen."""
    assert state_ahead(NORTH, 1)[-1, -1] == pytest.approx(NORTH.stationary())
    assert state_ahead(NORTH, 1)[:-1, -1] == pytest.approx(np.array(CHAIN))
    assert state_ahead(NORTH, 0)[:-1, -1] == pytest.approx(np.eye(3))
    told = 0.8 * np.eye(3) + 0.2 * NORTH.stationary()
    assert state_ahead(NORTH, 1)[-1, :-1] == pytest.approx(told)
    assert state_ahead(NORTH, 2).sum(axis=2) == pytest.approx(np.ones((4, 4)))


def test_a_foretold_event_is_believed() -> None:
    """An event that a chain could never explain."""
    strike = Regime("strike", STATES[:2], EventWindow(5, 9), forecast_accuracy=(0.9,))
    assert state_ahead(strike, 1)[0, 1] == pytest.approx([0.0, 1.0])
    assert state_ahead(strike, 1)[0, -1] == pytest.approx([1.0, 0.0])


def test_cost_is_freight_and_time() -> None:
    """6 + 10 / 5 a unit; 4 days, 1.5 x 3 times as long in bad weather on both regions; closed."""
    travel = Travel(compile_network(road(NORTH, SOUTH)))
    seen = np.array([[0, 1, 1, 2], [0, 0, 1, 0]])
    nothing = np.full_like(seen, -1)
    cost = travel.cost(seen, nothing, 0, np.array([[0.5]]))
    assert cost[0, :3] == pytest.approx(8.0 + 0.5 * 4.0 * np.array([1.0, 1.5, 2.25]))
    assert cost[0, 3] > 1e6
    unseen = travel.expect(nothing, nothing, 0)[0]
    assert unseen[0, 0] == pytest.approx(4.0 * NORTH.mean("lead_time") ** 2)


def test_no_weather_costs_the_same_every_day() -> None:
    """A network without regimes has nothing to look at."""
    travel = Travel(compile_network(road()))
    assert travel.usual_states(7).shape == (0, 7)
    none = np.zeros((0, 3), np.int64)
    assert travel.cost(none, none, 0, np.array([[1.0]])) == pytest.approx(np.full((1, 3), 12.0))
