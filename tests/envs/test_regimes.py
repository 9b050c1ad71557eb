"""Regimes in the trace: schedules, what agents see and are told, lead times that drift."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.compiled.network import CompiledNetwork, compile_network
from envs.errors import NetworkError
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, Resource, ResourceUse
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.network.regime import EventWindow, MarkovChain, ModeStates, Regime, RegimeState
from envs.trace.tables import compile_tables
from envs.trace.trace import Trace

PERIODS = 300  # more than two blocks
CHAIN = MarkovChain(((0.9, 0.1), (0.2, 0.8)))


def network(*regimes: Regime, lead_time: LeadTime | None = None) -> SupplyNetwork:
    """A shop that buys on one lane, exposed to all of the regimes."""
    return SupplyNetwork(
        (Node("shop", "store"),),
        (Sku("tea"),),
        (Stock("shop", "tea", demand=Demand.from_config(DemandConfig("poisson", mean=4.0), 0)),),
        (
            Lane(
                "buy",
                "shop",
                "tea",
                lead_time or LeadTime(4),
                resources=(ResourceUse("port"),),
                regimes=tuple(r.id for r in regimes),
            ),
        ),
        (Resource("port", 50.0),),
        regimes,
    )


def supplier(**fields: object) -> Regime:
    """A supplier that is up or down."""
    states = (RegimeState("up"), RegimeState("down", availability=0.0, cost=2.0))
    return Regime("supplier", states, CHAIN, **fields)  # type: ignore[arg-type]


def record(
    net: CompiledNetwork, batch: int, names: tuple[str, ...], first: int = 0
) -> list[NDArray]:
    """Return the named values of the trace with T in front."""
    trace = Trace(net, batch)
    trace.reset(5, first)
    rows = []
    for _ in range(PERIODS):
        rows.append([getattr(trace, name).copy() for name in names])
        trace.advance()
    return [np.stack(values) for values in zip(*rows, strict=True)]


EVERYTHING = network(
    supplier(seen_after=3, forecast_accuracy=(0.9, 0.6)),
    Regime(
        "strike",
        (RegimeState("no"), RegimeState("yes", transit=0.0)),
        EventWindow(5, 90, 9),
    ),
    lead_time=LeadTime(2, 3.0, 2.0, no_overtaking=True),
)


@pytest.mark.parametrize("batch", [2, 700])
def test_rows_equal_solo_runs(batch: int) -> None:
    """Whatever the batch, and so however long the blocks."""
    net = compile_network(EVERYTHING)
    names = ("true_regime", "seen", "forecast", "factor", "lead_time", "demand")
    together = record(net, batch, names, first=20)
    for b in (0, batch - 1):
        for many, one in zip(together, record(net, 1, names, first=20 + b), strict=True):
            assert np.array_equal(many[..., b : b + 1], one)


def test_factors_follow_the_states() -> None:
    """One row for each multiplier that moves; 1 in every other state."""
    net = compile_network(network(supplier()))
    state, factor = record(net, 40, ("true_regime", "factor"))
    row = {e.multiplier: v for v, e in enumerate(net.exposures)}
    assert set(row) == {"availability", "cost"}
    assert np.array_equal(factor[:, row["availability"]], 1.0 - state[:, 0])
    assert np.array_equal(factor[:, row["cost"]], 1.0 + state[:, 0])
    assert net.arrays.factor_rows.cost[0] == row["cost"]
    assert net.arrays.factor_rows.yield_share[0] == -1


def test_what_is_seen_is_late() -> None:
    """A state seen after d periods is the true one of d periods ago; a hidden one is never seen."""
    for delay in (0, 4):
        net = compile_network(network(supplier(seen_after=delay)))
        state, seen = record(net, 30, ("true_regime", "seen"))
        assert np.array_equal(seen[delay:], state[: PERIODS - delay])
        assert np.array_equal(seen[:delay], np.broadcast_to(state[0], seen[:delay].shape))
    assert (record(compile_network(network(supplier())), 3, ("seen",))[0] == -1).all()


def test_forecasts_are_as_good_as_they_say() -> None:
    """Right with the stated probability, and by luck; further ahead than promised: nothing."""
    calm = Regime("calm", (RegimeState("a"), RegimeState("b")), MarkovChain(((0.5, 0.5),) * 2))
    regimes = (supplier(forecast_accuracy=(1.0, 0.7)), calm)
    net = compile_network(network(*regimes))
    state, forecast = record(net, 300, ("true_regime", "forecast"))
    assert forecast.shape[1] == 2
    assert (forecast[:, :, 1] == -1).all()
    assert np.array_equal(forecast[:-1, 0, 0], state[1:, 0])
    hit = (forecast[:-2, 1, 0] == state[2:, 0]).mean()
    by_luck = (2 / 3) ** 2 + (1 / 3) ** 2  # the chain is in state 0 two thirds of the time
    assert hit == pytest.approx(0.7 + 0.3 * by_luck, abs=0.01)


def test_forecasts_are_wrong_independently() -> None:
    """A wrong forecast says nothing about the next one, nor about the one for a day further."""
    fair = replace(supplier(forecast_accuracy=(0.5, 0.5)), process=MarkovChain(((0.5, 0.5),) * 2))
    state, told = record(compile_network(network(fair)), 400, ("true_regime", "forecast"))
    wrong = [told[: PERIODS - 2, f, 0] != state[1 + f : PERIODS - 1 + f, 0] for f in range(2)]
    for first, second in (
        (wrong[0][1:], wrong[0][:-1]),  # from day to day
        (wrong[0], wrong[1]),  # a day and two days ahead
        (wrong[0][1:], wrong[1][:-1]),  # the same day, said twice
        (wrong[0][:, 1:], wrong[0][:, :-1]),  # in another episode
    ):
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02


def test_forecasts_of_an_event_never_cry_wolf() -> None:
    """An event that comes is foretold with the stated probability; none else is."""
    states = (RegimeState("no"), RegimeState("yes", transit=0.0))
    strike = Regime("strike", states, EventWindow(10, 200, 40), forecast_accuracy=(0.9, 0.4))
    state, told = record(compile_network(network(strike)), 500, ("true_regime", "forecast"))
    for f, accuracy in enumerate(strike.forecast_accuracy):
        ahead, said = state[1 + f :, 0], told[: PERIODS - 1 - f, f, 0]
        assert (said[ahead == 0] == 0).all()
        assert said[ahead == 1].mean() == pytest.approx(accuracy, abs=0.02)


def test_what_agents_are_told_moves_no_chance() -> None:
    """The same network with hidden regimes has the same demand, lead times and states."""
    hidden = [replace(r, seen_after=None, forecast_accuracy=()) for r in EVERYTHING.regimes]
    names = ("true_regime", "factor", "lead_time", "demand")
    seen = record(compile_network(EVERYTHING), 3, names)
    blind = record(compile_network(replace(EVERYTHING, regimes=tuple(hidden))), 3, names)
    for one, other in zip(seen, blind, strict=True):
        assert np.array_equal(one, other)


def test_only_states_that_exist_are_drawn() -> None:
    """Rows may sum to 1 but for rounding; no state is drawn behind the last one."""
    short = Regime(
        "short", (RegimeState("a"), RegimeState("b", cost=2.0)), MarkovChain(((1.0, 0.0),) * 2)
    )
    third = 1.0 / 3.0 - 3e-10
    long = Regime(
        "long", tuple(RegimeState(n) for n in "abc"), MarkovChain(((third, third, third),) * 3)
    )
    tables = compile_tables(compile_network(network(short, long)))
    assert (tables.regime_start[0, 1:] == 1.0).all()
    assert (tables.regime_step[1, :, 2] == 1.0).all()
    assert tables.regime_step[1, 0, 1] == pytest.approx(2.0 / 3.0)


def test_a_date_has_nothing_to_do_with_the_rest() -> None:
    """When an event comes says nothing about other regimes, demand or other events."""
    states = (RegimeState("no"), RegimeState("yes", cost=2.0))
    first, second = (Regime(n, states, EventWindow(0, 99)) for n in ("first", "second"))
    net = compile_network(network(first, supplier(), second))
    state, demand = record(net, 4000, ("true_regime", "demand"))
    dates = [state[:, g].argmax(axis=0) for g in (0, 2)]
    for other in (dates[1], state[0, 1], demand[0, 0], demand[1, 0]):
        assert abs(np.corrcoef(dates[0], other)[0, 1]) < 0.06  # 4 standard errors


def test_reset_begins_anew() -> None:
    """Nothing of the last episode is left in the first periods of the next."""
    trace = Trace(compile_network(EVERYTHING), 40)
    names = ("true_regime", "seen", "forecast", "factor", "lead_time", "demand")
    before: list[NDArray] = []
    for _ in range(2):
        trace.reset(7, 0)
        now = [getattr(trace, name).copy() for name in names]
        assert all(np.array_equal(a, b) for a, b in zip(before or now, now, strict=True))
        before = now
        for _ in range(17):
            trace.advance()


def test_a_schedule_strikes_once_within_its_dates() -> None:
    """It begins anywhere from first to last, lasts as long as said, and never comes back."""
    states = (RegimeState("no"), RegimeState("yes", demand=2.0))
    strike = Regime("strike", states, EventWindow(10, 19, 6))
    state = record(compile_network(network(strike)), 2000, ("true_regime",))[0][:, 0]
    assert (state.sum(axis=0) == 6).all()
    begun = state.argmax(axis=0)
    assert np.bincount(begun, minlength=20)[10:].min() > 120
    assert begun.min() == 10
    assert begun.max() == 19
    for_good = replace(strike, process=EventWindow(10, 10))
    state = record(compile_network(network(for_good)), 3, ("true_regime",))[0][:, 0]
    assert not state[:10].any()
    assert state[10:].all()


def test_nothing_overtakes() -> None:
    """Arrival dates never go back, and lead times keep their range; nothing is held back longer
    than what left before it."""
    lead_time = LeadTime(1, 4.0, 4.0, longest=20)
    loose, tight = (
        record(compile_network(network(lead_time=one)), 200, ("lead_time",))[0][:, 0]
        for one in (lead_time, replace(lead_time, no_overtaking=True))
    )
    dates = np.arange(PERIODS)[:, None]
    assert (np.diff(dates + loose, axis=0) < 0).any()
    assert (np.diff(dates + tight, axis=0) >= 0).all()
    assert tight.max() <= 20
    expected = np.maximum.accumulate(dates + loose, axis=0) - dates
    assert np.array_equal(tight, expected)


def test_spread_leaves_the_mean() -> None:
    """A lead-time spread of 3 makes lead times vary three times as much around the same mean."""
    states = (RegimeState("calm"), RegimeState("wild", lead_time_spread=3.0))
    drift = Regime("drift", states, EventWindow(100, 100))
    lead_time = LeadTime(12, 10.0, 2.0)
    lead = record(compile_network(network(drift, lead_time=lead_time)), 800, ("lead_time",))[0]
    before, after = lead[:100], lead[100:]
    assert after.mean() == pytest.approx(before.mean(), rel=0.005)
    assert after.std() == pytest.approx(3.0 * before.std(), rel=0.02)


def test_lead_times_of_two_regimes() -> None:
    """(mean + (drawn - mean) x spread) x factor, rounded, in the range that is possible."""
    lead_time = LeadTime(3, 4.0, 3.0, longest=14)
    slow = Regime("slow", (RegimeState("no"), RegimeState("yes", lead_time=1.5)), CHAIN)
    wild = Regime(
        "wild",
        (RegimeState("no"), RegimeState("yes", lead_time_spread=2.0, lead_time=0.8)),
        CHAIN,
    )
    calm = [replace(r, states=(r.states[0], RegimeState("as before"))) for r in (slow, wild)]
    [plain] = record(compile_network(network(*calm, lead_time=lead_time)), 50, ("lead_time",))
    net = compile_network(network(slow, wild, lead_time=lead_time))
    state, lead = record(net, 50, ("true_regime", "lead_time"))
    spread = np.where(state[:, 1] == 1, 2.0, 1.0)
    factor = np.where(state[:, 0] == 1, 1.5, 1.0) * np.where(state[:, 1] == 1, 0.8, 1.0)
    exact = (lead_time.mean() + (plain[:, 0] - lead_time.mean()) * spread) * factor
    assert np.abs(lead[:, 0] - np.clip(exact, 0, net.lead_longest[0])).max() <= 0.5 + 1e-9
    assert lead.min() == 0
    assert lead.max() > 21 - 1  # 14 x 1.5, both at their worst
    assert lead.max() <= net.lead_longest[0]


def test_modes_feel_the_same_weather_differently() -> None:
    """One chain: snow stretches the truck's lead time and grounds the plane."""
    calm, snow = RegimeState("calm"), RegimeState("snow", lead_time=2.0)
    grounded = ModeStates("air", (calm, replace(snow, lead_time=1.0, availability=0.0)))
    base = network(Regime("weather", (calm, snow), CHAIN, by_mode=(grounded,)))
    truck = replace(base.lanes[0], mode="truck")
    both = replace(base, lanes=(truck, replace(truck, id="fly", mode="air")))
    net = compile_network(both)
    state, lead, factor = record(net, 50, ("true_regime", "lead_time", "factor"))
    assert np.array_equal(lead[:, net.arrays.lanes.lead_row[0]], 4 + 4 * state[:, 0])
    assert net.arrays.lanes.lead_row[1] == net.arrays.factor_rows.availability[0] == -1
    assert np.array_equal(factor[:, net.arrays.factor_rows.availability[1]], 1.0 - state[:, 0])
    with pytest.raises(NetworkError, match="mode 'air' has states"):
        Regime("weather", (calm, snow), CHAIN, by_mode=(ModeStates("air", (calm,)),))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"process": EventWindow(0, 1), "states": tuple(map(RegimeState, "abc"))},
            "Regime 'r': a schedule moves between exactly two states.*got 3",
        ),
        ({"process": MarkovChain(((1.0,),))}, r"expected \(2, 2\)"),
        ({"process": MarkovChain(((0.5, 0.4), (0.5, 0.5)))}, "sum to"),
        ({"seen_after": -1}, "seen_after is -1"),
        ({"forecast_accuracy": (1.5,)}, "forecast_accuracy"),
    ],
)
def test_wrong_regimes_are_refused(fields: dict[str, object], message: str) -> None:
    """Each with what was got and what was wanted."""
    with pytest.raises(NetworkError, match=message):
        replace(Regime("r", (RegimeState("a"), RegimeState("b")), CHAIN), **fields)  # type: ignore[arg-type]
    with pytest.raises(NetworkError, match="expected 0 <= first <= last"):
        EventWindow(5, 4)
    with pytest.raises(NetworkError, match=r"ordering is 0\.5"):
        RegimeState("a", ordering=0.5)
