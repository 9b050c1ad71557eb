"""What a buyer believes of a lane, and what agents see of lanes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from envs.compiled.network import compile_network
from envs.environment.batched_env import BatchedEnv
from envs.network.calendar import Calendar
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, Speed
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Receive, Sku, Stock, SupplyNetwork, Timing, Unfilled
from envs.network.regime import EventWindow, MarkovChain, Regime, RegimeState
from envs.scenario import Scenario
from envs.simulation.events.believe import overdue_units
from envs.simulation.simulator import Simulator
from tests.envs.networks import random_network


def event(first: int, duration: int | None = None, **struck: float) -> Regime:
    """Something that happens to the lane for a while."""
    states = (RegimeState("as usual"), RegimeState("struck", **struck))
    return Regime("event", states, EventWindow(first, first, duration))


def shop(*regimes: Regime, timing: Timing | None = None, **lane: Any) -> SupplyNetwork:
    """A shop that buys on one lane; lead time 3 unless said otherwise."""
    fields = {"lead_time": LeadTime(3), "regimes": tuple(r.id for r in regimes), **lane}
    return SupplyNetwork(
        (Node("shop", "store"),),
        (Sku("tea"),),
        (Stock("shop", "tea", demand=Demand.from_config(DemandConfig("poisson", mean=4.0), 0)),),
        (Lane("buy", "shop", "tea", **fields),),
        regimes=regimes,
        timing=timing or Timing(),
    )


def play(network: SupplyNetwork, periods: int, batch: int = 1) -> Simulator:
    """Order 4 units every period."""
    simulator = Simulator(compile_network(network), batch)
    simulator.reset(0)
    for _ in range(periods):
        simulator.close_period_with_orders(np.full((1, batch), 4.0))
        simulator.open_period()
    return simulator


def test_lanes_that_never_vary_have_no_beliefs() -> None:
    """Nothing is kept for them."""
    assert Simulator(compile_network(shop()), 2).state.lead_belief.shape == (0, 2)


def played(networks: int, periods: int) -> Iterator[BatchedEnv]:
    """Random networks with everything under random actions, after each period."""
    for seed in range(networks):
        scenario = Scenario("random", random_network(Random(seed)), 40, base_policy="base_stock")
        env, numbers = BatchedEnv(scenario, 4), np.random.default_rng(seed)
        env.reset(seed)
        for _ in range(periods):
            env.step(numbers.uniform(-1.0, 1.0, env.no_action.shape).astype(np.float32))
            yield env


def test_what_is_overdue_is_the_sum_of_late_orders() -> None:
    """It is kept up to date by what becomes late and what comes: on networks with everything."""
    late = 0
    for env in played(networks=12, periods=40):
        wanted = overdue_units(env.net, env.state, env.simulator.period)
        np.testing.assert_allclose(env.state.overdue, wanted, atol=1e-6)
        late += int((wanted > 1.0).sum())
    assert late > 1000


def test_nothing_is_missing_before_the_oldest_order() -> None:
    """Receipts are matched from there: what is older has come, or was cancelled."""
    left = 0
    for env in played(networks=6, periods=30):
        period, kept = env.simulator.period, env.net.cohorts
        ordered = period - 1 - (period - 1 - np.arange(kept)) % kept  # in each slot
        is_over = ordered[:, None] < env.state.oldest[:, None]
        assert not env.state.cohorts[is_over].any()
        left += int((env.state.cohorts > 0.0).sum())
    assert left > 100


@pytest.mark.parametrize("receive", Receive)
def test_lead_time_is_learned(receive: Receive) -> None:
    """A lane becomes twice as slow: the belief follows, and deliveries are late."""
    timing = Timing(receive=receive)
    before = play(shop(event(20, lead_time=2.0), timing=timing), 20).state
    assert before.lead_belief == pytest.approx(3.0)
    assert before.on_time == before.in_full == pytest.approx(1.0)
    assert before.overdue == 0.0
    after = play(shop(event(20, lead_time=2.0), timing=timing), 90).state
    assert after.lead_belief == pytest.approx(6.0, abs=0.01)
    assert after.on_time == pytest.approx(0.0, abs=0.01)
    assert after.in_full == pytest.approx(0.0, abs=0.01)
    assert after.overdue == pytest.approx(4.0 * 3)


@pytest.mark.parametrize("receive", Receive)
@pytest.mark.parametrize("delay", [0, 1, 2])
@pytest.mark.parametrize("lead", [0, 1, 4])
def test_a_lane_that_keeps_its_promise(receive: Receive, delay: int, lead: int) -> None:
    """Whatever is ordered, and whatever was under way at the start: nothing is ever late."""
    network = shop(
        event(999, availability=0.0),
        timing=Timing(receive=receive),
        lead_time=LeadTime(lead),
        information_delay=delay,
        initial_in_transit=(2.0,) * lead,
        initial_orders=(3.0,) * delay,
    )
    rng = np.random.default_rng(0)
    simulator = Simulator(compile_network(network), 2)
    simulator.reset(0)
    assert simulator.net.leads.pair == pytest.approx([lead + delay])
    for t in range(40):
        state = simulator.state
        assert state.lead_belief == pytest.approx(float(lead + delay)), t
        assert state.on_time == pytest.approx(1.0), t
        assert state.in_full == pytest.approx(1.0), t
        assert state.overdue == pytest.approx(0.0, abs=1e-9), t
        order = np.where(rng.random((1, 2)) < 0.3, 0.0, rng.uniform(0.0, 9.0, (1, 2)))
        simulator.close_period_with_orders(order)
        simulator.open_period()


@pytest.mark.parametrize("initial", [(), (4.0,) * 6])
def test_beliefs_about_chance_are_unbiased(initial: tuple[float, ...]) -> None:
    """The mean over many buyers is the lane's mean, the spread its spread, whatever was under way
    at the start."""
    lead_time = LeadTime(2, 4.0, 2.0)
    network = shop(lead_time=lead_time, initial_in_transit=initial)
    simulator = play(network, 200, batch=4000)
    state = simulator.state
    assert state.lead_belief.mean() == pytest.approx(lead_time.mean(), rel=0.02)
    # First in, first out: matching trades late for early, so the spread is at most the lane's.
    spread = np.sqrt(np.maximum(state.lead_square - state.lead_belief**2, 0.0)).mean()
    assert 0.2 * lead_time.sd() < spread < lead_time.sd()
    assert 0.7 < state.on_time.mean() < 1.0


def test_an_outage_shows_as_overdue() -> None:
    """What a supplier that is down owes is overdue once the promised time is over, not before."""
    network = shop(event(10, availability=0.0))
    assert play(network, 12).state.overdue == 0.0
    assert play(network, 13).state.overdue == pytest.approx(4.0)
    assert play(network, 20).state.overdue == pytest.approx(4.0 * 8)


@pytest.mark.parametrize("receive", Receive)
@pytest.mark.parametrize("delay", [0, 2])
def test_cancelled_orders_are_not_overdue(receive: Receive, delay: int) -> None:
    """Who is told no, now or when the sender hears of it, waits for nothing."""
    timing = Timing(receive=receive, unfilled=Unfilled.cancel)
    outage = event(10, availability=0.0)
    state = play(shop(outage, timing=timing, information_delay=delay), 30).state
    assert state.overdue == 0.0


def test_scrap_counts_as_delivered() -> None:
    """Half of it is no good, but it came."""
    state = play(shop(event(0, yield_share=0.5)), 30).state
    assert state.overdue == 0.0
    assert state.lead_belief == pytest.approx(3.0)


def seen(network: SupplyNetwork, **fields: Any) -> BatchedEnv:
    """The environment after a reset."""
    env = BatchedEnv(Scenario("lanes", network, horizon=50, **fields), 1)
    env.reset(0)
    return env


def value(env: BatchedEnv, name: str) -> float:
    """A feature of the only pair."""
    return float(env.observe()[0, env.feature_names.index(name), 0])


def test_what_agents_see_of_lanes() -> None:
    """Seen states, prices, calendars, forecasts and the expedite position, slot by slot."""
    weather = Regime(
        "weather",
        (RegimeState("foul", lead_time=2.0, cost=1.5), RegimeState("closed", availability=0.0)),
        MarkovChain(((0.0, 1.0), (1.0, 0.0))),
        seen_after=0,
        forecast_accuracy=(1.0,),
    )
    base = shop(weather, unit_cost=2.0, initial_in_transit=(0.0, 5.0, 7.0))
    air = Lane(
        "air",
        "shop",
        "tea",
        LeadTime(1),
        unit_cost=3.0,
        speed=Speed.expedite,
        calendar=Calendar(5, (3,)),
    )
    env = seen(replace(base, lanes=(*base.lanes, air)))
    state = int(env.simulator.trace.true_regime[0, 0])
    assert value(env, "lane_0_usable_as_seen") == (1.0 if state == 0 else 0.0)
    assert value(env, "lane_0_speed_in_1") == (0.0 if state == 0 else 0.5)
    assert value(env, "lane_1_usable_as_seen") == 1.0
    assert value(env, "lane_0_price") == pytest.approx(0.5 if state == 0 else 0.0)
    assert value(env, "lane_1_price") == pytest.approx(0.5)
    assert value(env, "lane_0_open_now") == 1.0
    assert value(env, "lane_1_open_now") == 0.0
    position = (0.0 + 5.0) / env.net.demand.mean[0]
    expected = 2.0 * (np.sqrt(1.0 + position) - 1.0)
    assert value(env, "expedite_position") == pytest.approx(expected, rel=1e-5)
    for _ in range(3):
        env.step(env.no_action)
    assert value(env, "lane_1_open_now") == 1.0


def test_storage_room_is_seen() -> None:
    """Room for ten periods of demand."""
    network = shop()
    node = replace(network.nodes[0], storage_capacity=40.0)
    env = seen(replace(network, nodes=(node,)))
    expected = 2.0 * (np.sqrt(1.0 + 10.0) - 1.0)
    assert value(env, "storage_room") == pytest.approx(expected, rel=1e-5)
