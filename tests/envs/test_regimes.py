"""Regimes in the trace: schedules, what agents see and are told, lead times that drift."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.compiled import CompiledNetwork, compile_network
from envs.demand import Demand, DemandConfig
from envs.errors import ConfigError, NetworkError
from envs.injection import EventConfig, inject
from envs.lead_time import LeadTime
from envs.network import (
    Lane,
    Node,
    Regime,
    RegimeState,
    Resource,
    ResourceUse,
    Schedule,
    Sku,
    Stock,
    SupplyNetwork,
)
from envs.trace import Trace

PERIODS = 300  # more than two blocks
CHAIN = ((0.9, 0.1), (0.2, 0.8))


def network(*regimes: Regime, lead_time: LeadTime | None = None) -> SupplyNetwork:
    """A shop that buys on one lane, exposed to all of the regimes."""
    return SupplyNetwork(
        (Node("shop", "store"),),
        (Sku("tea"),),
        (Stock("shop", "tea", demand=Demand.from_config(DemandConfig(mean=4.0), 0)),),
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
        "strike", (RegimeState("no"), RegimeState("yes", transit=0.0)), schedule=Schedule(5, 90, 9)
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
    assert net.arrays.cost_row[0] == row["cost"]
    assert net.arrays.yield_row[0] == -1


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
    calm = Regime("calm", (RegimeState("a"), RegimeState("b")), ((0.5, 0.5), (0.5, 0.5)))
    regimes = (supplier(forecast_accuracy=(1.0, 0.7)), calm)
    net = compile_network(network(*regimes))
    state, forecast = record(net, 300, ("true_regime", "forecast"))
    assert forecast.shape[1] == 2
    assert (forecast[:, :, 1] == -1).all()
    assert np.array_equal(forecast[:-1, 0, 0], state[1:, 0])
    hit = (forecast[:-2, 1, 0] == state[2:, 0]).mean()
    by_luck = (2 / 3) ** 2 + (1 / 3) ** 2  # the chain is in state 0 two thirds of the time
    assert hit == pytest.approx(0.7 + 0.3 * by_luck, abs=0.01)


def test_a_schedule_strikes_once_within_its_dates() -> None:
    """It begins anywhere from first to last, lasts as long as said, and never comes back."""
    states = (RegimeState("no"), RegimeState("yes", demand=2.0))
    strike = Regime("strike", states, schedule=Schedule(10, 19, 6))
    state = record(compile_network(network(strike)), 2000, ("true_regime",))[0][:, 0]
    assert (state.sum(axis=0) == 6).all()
    begun = state.argmax(axis=0)
    assert np.bincount(begun, minlength=20)[10:].min() > 120
    assert begun.min() == 10
    assert begun.max() == 19
    for_good = replace(strike, schedule=Schedule(10, 10))
    state = record(compile_network(network(for_good)), 3, ("true_regime",))[0][:, 0]
    assert not state[:10].any()
    assert state[10:].all()


def test_nothing_overtakes() -> None:
    """Arrival dates never go back, and lead times keep their range."""
    lead_time = LeadTime(1, 4.0, 4.0, longest=20)
    loose, tight = (
        record(compile_network(network(lead_time=one)), 200, ("lead_time",))[0][:, 0]
        for one in (lead_time, replace(lead_time, no_overtaking=True))
    )
    dates = np.arange(PERIODS)[:, None]
    assert (np.diff(dates + loose, axis=0) < 0).any()
    assert (np.diff(dates + tight, axis=0) >= 0).all()
    assert (tight >= loose).all()
    assert tight.max() <= 20


def test_spread_leaves_the_mean() -> None:
    """A lead-time spread of 3 makes lead times vary three times as much around the same mean."""
    states = (RegimeState("calm"), RegimeState("wild", lead_time_spread=3.0))
    drift = Regime("drift", states, schedule=Schedule(100, 100))
    lead_time = LeadTime(12, 10.0, 2.0)
    lead = record(compile_network(network(drift, lead_time=lead_time)), 800, ("lead_time",))[0]
    before, after = lead[:100], lead[100:]
    assert after.mean() == pytest.approx(before.mean(), rel=0.005)
    assert after.std() == pytest.approx(3.0 * before.std(), rel=0.02)


def test_events_strike_what_they_name() -> None:
    """An event is a scheduled regime on the lanes, resources and customers that match."""
    event = EventConfig(
        ["b*"], ["port"], ["tea@shop"], first=3, duration=2, demand=5.0, ordering=0.0
    )
    struck = inject(network(), {"storm": event}, after=10)
    [regime] = struck.regimes
    assert regime.schedule == Schedule(13, 13, 2)
    assert struck.lanes[0].regimes == struck.resources[0].regimes == ("storm",)
    demand, factor = record(compile_network(struck), 500, ("demand", "factor"))
    means = demand[:, 0].mean(axis=1)
    assert means[13:15] == pytest.approx(20.0, rel=0.05)
    assert means[[12, 15]] == pytest.approx(4.0, rel=0.1)
    assert (factor[13:15] == 0.0).all()


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (EventConfig(lanes=["bye"]), "no lane matches 'bye'. Did you mean 'buy'"),
        (EventConfig(stocks=["x@y"]), "no stock with customers matches"),
        (EventConfig(), "strikes nothing"),
    ],
)
def test_events_that_strike_nothing_are_refused(event: EventConfig, message: str) -> None:
    """The message names the event and what is near."""
    with pytest.raises(ConfigError, match=message):
        inject(network(), {"storm": event})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schedule": Schedule(0, 1), "transition": CHAIN}, "exactly two states"),
        ({"transition": ((1.0,),)}, r"expected \(2, 2\)"),
        ({"transition": ((0.5, 0.4), (0.5, 0.5))}, "sum to"),
        ({"transition": CHAIN, "seen_after": -1}, "seen_after is -1"),
        ({"transition": CHAIN, "forecast_accuracy": (1.5,)}, "forecast_accuracy"),
    ],
)
def test_wrong_regimes_are_refused(fields: dict[str, object], message: str) -> None:
    """Each with what was got and what was wanted."""
    with pytest.raises(NetworkError, match=message):
        Regime("r", (RegimeState("a"), RegimeState("b")), **fields)  # type: ignore[arg-type]
    with pytest.raises(NetworkError, match="expected 0 <= first <= last"):
        Schedule(5, 4)
    with pytest.raises(NetworkError, match=r"ordering is 0\.5"):
        RegimeState("a", ordering=0.5)
