"""Injected events: what they strike, when, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from envs.compiled.arrays import CostColumn
from envs.compiled.network import compile_network
from envs.errors import ConfigError, NetworkError
from envs.network.demand import Demand, DemandConfig
from envs.network.injection import EventConfig, inject
from envs.network.lane import Lane, LaneInput, Resource, ResourceUse
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.network.regime import EventWindow, MarkovChain, Regime, RegimeState
from envs.simulation.simulator import Simulator
from envs.trace.trace import Trace

PERIODS = 140  # more than a block


def network() -> SupplyNetwork:
    """A depot that buys by sea or air, a shop, and a market and a forecast weather that move."""
    calm = Regime(
        "weather",
        (RegimeState("calm"), RegimeState("storm", availability=0.5)),
        MarkovChain(((0.8, 0.2), (0.5, 0.5))),
        forecast_accuracy=(0.8, 0.6),
    )
    market = Regime(
        "market",
        (RegimeState("low", demand=0.5), RegimeState("high", demand=1.5)),
        MarkovChain(((0.5, 0.5),) * 2),
    )
    demand = Demand.from_config(DemandConfig("poisson", mean=6.0), 0, correlation=0.2)
    history = Demand(4.0, 1.0, history=np.array([3.0, 5.0]))
    port = (ResourceUse("port"),)
    return SupplyNetwork(
        (Node("depot", "warehouse"), Node("shop", "store")),
        (Sku("tea"), Sku("rice[1]")),
        (
            Stock("depot", "tea", initial_stock=50.0),
            Stock("shop", "tea", demand=demand, demand_regimes=("market",)),
            Stock("shop", "rice[1]", demand=history),
        ),
        (
            Lane("sea 1", "depot", "tea", LeadTime(2, 3.0, 2.0), resources=port, unit_cost=1.0),
            Lane("sea 2", "depot", "tea", LeadTime(3), regimes=("weather",), unit_cost=1.0),
            Lane("truck", "shop", "tea", LeadTime(1, 1.0, 1.0), (LaneInput("depot", "tea"),)),
            Lane("mill", "shop", "rice[1]", LeadTime(1)),
        ),
        (Resource("port", 90.0),),
        (calm, market),
    )


def record(net: SupplyNetwork, *names: str, batch: int = 6) -> list[Any]:
    """Return the named values of a trace with T in front."""
    trace = Trace(compile_network(net), batch)
    trace.reset(8, 2)
    rows = []
    for _ in range(PERIODS):
        rows.append([getattr(trace, name).copy() for name in names])
        trace.advance()
    return [np.stack(values) for values in zip(*rows, strict=True)]


def test_events_become_scheduled_regimes() -> None:
    """On what matches and on nothing else; dates count from the end of the warm-up."""
    events = {
        "strike": EventConfig(["sea*", "truck"], ["port"], first=3, last=9, availability=0.0),
        "fair": EventConfig(stocks=["rice[1]@shop"], duration=4, seen_after=2, demand=3.0),
    }
    struck = inject(network(), events, after=10)
    strike, fair = struck.regimes[2:]
    assert struck.regimes[:2] == network().regimes
    assert strike.process == EventWindow(13, 19)
    assert strike.states[1] == RegimeState("struck", availability=0.0)
    assert strike.seen_after is None
    assert (fair.process, fair.seen_after) == (EventWindow(10, 10, 4), 2)
    assert [lane.regimes for lane in struck.lanes] == [
        ("strike",), ("weather", "strike"), ("strike",), ()
    ]  # fmt: skip
    assert struck.resources[0].regimes == ("strike",)
    assert [s.demand_regimes for s in struck.stocks] == [(), ("market",), ("fair",)]


def test_the_rest_happens_as_it_would_have() -> None:
    """An event changes what it strikes while it does; all other chance is drawn as without it,
    so that the same run with and without it can be compared."""
    names = ("demand", "lead_time", "true_regime", "forecast")
    demand, lead, regime, forecast = record(network(), *names)
    event = EventConfig(
        ["sea 2"], stocks=["tea@shop"], first=20, duration=30, lead_time=2.0, demand=2.0
    )
    struck = inject(network(), {"flood": event})
    then_demand, then_lead, then_regime, then_forecast = record(struck, *names)
    assert np.array_equal(then_regime[:, :2], regime)
    assert np.array_equal(then_forecast[:, :, :2], forecast)
    assert np.array_equal(then_lead[:, [0, 2]], lead)
    outside = np.r_[0:20, 50:PERIODS]
    assert np.array_equal(then_demand[outside], demand[outside])
    assert np.array_equal(then_demand[:, 1], demand[:, 1])
    assert (then_demand[20:50, 0] >= demand[20:50, 0]).all()
    assert then_demand[20:50, 0].mean() == pytest.approx(2.0 * demand[20:50, 0].mean(), rel=0.1)
    assert (then_lead[outside, 1] == 3).all()
    assert (then_lead[20:50, 1] == 6).all()


def test_goods_of_others_never_come_at_once() -> None:
    """However fast an event makes a lane: outside supply may come in the same period, goods that
    leave a stock may not."""
    fast = {"fast": EventConfig(["truck", "sea 1"], lead_time=0.01)}
    [lead] = record(inject(network(), fast), "lead_time")
    assert (lead[:, 0] == 0).all()
    assert (lead[:, 1] == 1).all()


def test_events_multiply() -> None:
    """Two events on one lane, and the regime it had before: all of their factors."""
    events = {
        "slow": EventConfig(["sea 2"], first=5, duration=10, availability=0.5),
        "slower": EventConfig(["sea 2"], first=10, duration=10, availability=0.2),
    }
    struck = compile_network(inject(network(), events))
    row = struck.arrays.factor_rows.availability[1]
    state, factor = record(struck.network, "true_regime", "factor")
    weather = np.where(state[:, 0] == 1, 0.5, 1.0)
    slow, slower = np.ones((PERIODS, 1)), np.ones((PERIODS, 1))
    slow[5:15], slower[10:20] = 0.5, 0.2
    assert factor[:, row] == pytest.approx(weather * slow * slower)


def test_an_outage_and_a_price_shock_reach_the_simulator() -> None:
    """Nothing ships while the lane is out; what was owed follows, at the price of that day."""
    events = {
        "outage": EventConfig(["sea 1"], first=4, duration=3, availability=0.0),
        "shock": EventConfig(["sea *"], first=6, cost=3.0),
    }
    simulator = Simulator(compile_network(inject(network(), events)), 1)
    simulator.reset(0, 0)
    shipped, paid = [], []
    for _ in range(9):
        simulator.close_period_with_orders(np.array([[10.0], [0.0], [0.0], [0.0]]))
        shipped.append(simulator.flows.shipped[0, 0])
        paid.append(simulator.flows.cost[CostColumn.PURCHASE].sum())
        simulator.open_period()
    assert shipped == [10.0, 10.0, 10.0, 10.0, 0.0, 0.0, 0.0, 40.0, 10.0]
    assert paid == [10.0, 10.0, 10.0, 10.0, 0.0, 0.0, 0.0, 120.0, 30.0]


def test_events_can_be_written_in_yaml() -> None:
    """A new entry in a dict of events takes the defaults, and can be overridden."""
    written = OmegaConf.create("{lanes: ['sea*'], first: 3, availability: 0}")
    strike = OmegaConf.to_object(
        OmegaConf.merge(OmegaConf.structured(EventConfig), written, {"duration": 7})
    )
    assert strike == EventConfig(["sea*"], first=3, duration=7, availability=0.0)
    assert isinstance(strike, EventConfig)
    assert inject(network(), {"strike": strike}).regimes[2].process == EventWindow(3, 3, 7)


WRONG = [
    # what is asked for, what the message says
    (EventConfig(["see 1"], cost=2.0), "no lane matches 'see 1'. Did you mean 'sea 1'"),
    (EventConfig(["sea 1", "rail*"], cost=2.0), r"no lane matches 'rail\*'"),
    (
        EventConfig([], ["prot"], availability=0.0),
        "no resource matches 'prot'. Did you mean 'port'",
    ),
    (EventConfig(stocks=["tea@depot"], demand=2.0), "no stock with customers matches 'tea@depot'"),
    (EventConfig(demand=2.0), "strikes nothing; expected lanes, resources or stocks"),
    (
        EventConfig(["sea 1"], demand=2.0),
        "demand is 2.0, which lanes don't feel; expected stocks too",
    ),
    (
        EventConfig([], ["port"], cost=2.0),
        "cost is 2.0, which resources don't feel; expected lanes",
    ),
    (EventConfig(["sea 1"]), "does nothing to lanes; expected availability, lead_time"),
    (EventConfig(["sea 1"], stocks=["tea@shop"], cost=2.0), "does nothing to stocks"),
]


@pytest.mark.parametrize(("event", "message"), WRONG, ids=[message for _, message in WRONG])
def test_events_that_do_nothing_are_refused(event: EventConfig, message: str) -> None:
    """An event that quietly did nothing would make a stress test pass."""
    with pytest.raises(ConfigError, match=f"event 'flood'.*{message}"):
        inject(network(), {"flood": event})


def test_impossible_numbers_are_refused() -> None:
    """By the name of the event."""
    event = EventConfig(["sea 1"], availability=0.0)
    for fields, message in (
        ({"first": 5, "last": 4}, "event 'flood'.*expected 0 <= first <= last"),
        ({"duration": 0}, "event 'flood'.*duration is 0"),
        ({"availability": 1.5}, "event 'flood'.*availability is 1.5"),
        ({"seen_after": -1}, "'flood'.*seen_after is -1"),
    ):
        with pytest.raises(NetworkError, match=message):
            inject(network(), {"flood": replace(event, **fields)})
    with pytest.raises(NetworkError, match="regime 'weather' is defined twice"):
        inject(network(), {"weather": event})
