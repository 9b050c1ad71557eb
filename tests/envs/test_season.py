"""Seasons of demand by date: days of the week, months, a trend; and calendars that repeat."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from envs.compiled.network import compile_network
from envs.dates import in_calendar
from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError, EchelonError, NetworkError
from envs.network.demand import Demand, DemandConfig
from envs.network.season import Season
from envs.scenario import Scenario
from envs.trace.trace import Trace
from evaluation.artifact.network_io import network_hash, scenario_from_plain, scenario_to_plain
from tests.envs.test_demand import shops

WEEK = (1.0, 1.0, 1.0, 1.0, 1.25, 1.5, 0.0)
YEAR = (0.8, 0.8, 0.9, 1.0, 1.0, 1.1, 1.2, 1.2, 1.0, 1.0, 0.9, 1.1)


def asked(name: str = "poisson", **more: Any) -> Demand:
    """Demand of a distribution with what it needs."""
    config = DemandConfig(name, 8.0, 4.0, low=4.0, high=12.0, order_size=3.0, **more)
    return Demand.from_config(config, 0)


def scenario(*demands: Demand, **fields: Any) -> Scenario:
    values: dict[str, Any] = {"horizon": 20, "start_date": "2024-01-01", **fields}
    return Scenario("seasons", shops(*demands), **values)


def known(built: Scenario, row: int = 0) -> list[float]:
    """The factors of a shop."""
    multiplier = built.compiled.demand.multiplier
    assert multiplier is not None
    return multiplier[row].tolist()


@pytest.mark.parametrize("start", ["2024-01-01", "2024-01-03", "2023-12-31", None])
def test_days_of_the_week_are_those_of_the_dates(start: str | None) -> None:
    """Without a start date, period 0 is a Monday."""
    built = scenario(asked(weekday=[*WEEK]), start_date=start)
    factors = known(built)
    assert len(factors) == 7
    assert factors == [WEEK[built.date_of(t).weekday()] for t in range(7)]


def test_months_are_those_of_the_dates() -> None:
    """Of a year of whole weeks, so that days of the week stay when it is repeated."""
    built = scenario(asked(weekday=[*WEEK], yearly=[*YEAR]), start_date="2024-02-27")
    factors = known(built)
    assert len(factors) == 364
    for t in (0, 2, 3, 150, 363):
        day = date(2024, 2, 27) + timedelta(t)
        assert factors[t] == pytest.approx(WEEK[day.weekday()] * YEAR[day.month - 1], rel=5e-3)


@pytest.mark.parametrize(
    ("period", "place", "factor"),
    [
        ("hour", 24 * 4 + 23, 1.25 * 0.8),  # the last hour of a Friday
        ("shift", 3 * 5, 1.5 * 0.8),
        ("week", 4, (3 * 0.8 + 4 * 0.8) / 7),  # 29 January to 4 February
        ("week", 8, (4 * 0.8 + 3 * 0.9) / 7),  # 26 February to 3 March
        ("month", 7, 1.2),
    ],
)
def test_periods_of_any_length(period: str, place: int, factor: float) -> None:
    """Shorter than a day, or weeks that two months share."""
    weekday = [*WEEK] if period in ("hour", "shift") else None
    built = scenario(asked(weekday=weekday, yearly=[*YEAR]), period_name=period)
    assert known(built)[place] == pytest.approx(factor, rel=5e-3)


def test_a_trend_is_a_share_per_year() -> None:
    """From 1 at the start date on, in steps of 2 %; it shrinks as well."""
    grown = known(scenario(asked(trend=0.1)))
    assert grown[0] == 1.0
    assert grown[365] == pytest.approx(1.1, rel=0.011)
    assert grown[2 * 365] == pytest.approx(1.21, rel=0.011)
    assert len(set(grown)) < 20
    assert known(scenario(asked(trend=-0.5)))[2 * 365] == pytest.approx(0.25, rel=0.011)


def test_a_trend_is_not_repeated() -> None:
    """Episodes, and a year that their forecasts look ahead, end before its calendar does; however
    long they are."""
    for horizon in (20, 900):
        built = scenario(asked(trend=0.1, weekday=[*WEEK]), horizon=horizon, warm_up=10)
        first, count = built.starts("train")
        assert first == 0
        assert count >= 364
        length = built.compiled.demand.calendar_length
        assert length % 364 == 0
        assert first + count - 1 + horizon + 10 + 364 < length
    assert scenario(asked(weekday=[*WEEK])).starts("train") == (0, 7)
    with pytest.raises(NetworkError, match=r"trend.*at most 50 years, got 57"):
        scenario(asked(trend=0.1), horizon=20_000)


def test_all_demand_of_a_network_has_one_calendar() -> None:
    """The longest; of a history, where there is one."""
    built = scenario(asked(weekday=[*WEEK]), asked(yearly=[*YEAR]), asked())
    assert known(built, 0)[350:353] == [*WEEK[:3]]
    assert set(known(built, 2)) == {1.0}
    fortnight = Demand(1.0, 0.0, history=np.ones(14))
    assert known(scenario(asked(weekday=[*WEEK]), fortnight)) == [*WEEK, *WEEK]
    ten_days = Demand(1.0, 0.0, history=np.ones(10))
    with pytest.raises(NetworkError, match=r"tea@shop 1' is given for 10 periods.*multiple of 7"):
        scenario(asked(weekday=[*WEEK]), ten_days)
    with pytest.raises(ConfigError, match="calendar of replayed demand has 14 periods"):
        scenario(asked(trend=0.1), fortnight).starts("train")


@pytest.mark.parametrize(
    "name", ["poisson", "geometric", "negative_binomial", "normal", "uniform", "compound"]
)
def test_drawn_demand_follows_the_season(name: str) -> None:
    """Its mean on each day of the week; nothing on days without customers."""
    net = scenario(asked(name, weekday=[*WEEK])).compiled
    trace = Trace(net, 1000)
    trace.reset(0, 0)
    mean = np.zeros(14)
    for t in range(14):
        mean[t] = trace.demand.mean()
        trace.advance()
    np.testing.assert_allclose(mean, 8.0 * np.array([*WEEK, *WEEK]), rtol=0.15)


@pytest.mark.parametrize(
    ("demand", "message"),
    [
        (lambda: asked(weekday=[1.0] * 6), r"weekday is \[1.0.*expected 7 numbers .* Monday first"),
        (lambda: asked(weekday=[0.0] * 7), "not all 0"),
        (lambda: asked(yearly=[1.0] * 11 + [-1.0]), "yearly is .*expected 12 numbers from 0"),
        (lambda: asked(yearly=[1.0] * 11 + [float("nan")]), "yearly is"),
        (lambda: asked(trend=-1.0), r"trend is -1.0; expected a share per year > -1"),
        (lambda: asked(trend=10.5), "trend is 10.5"),
        (
            lambda: asked("history", history=[1.0, 2.0], weekday=[*WEEK]),
            "beside a replayed history, which has its seasons in it",
        ),
        (lambda: asked("step", change_period=2.0, trend=0.1), "beside a replayed history"),
        (
            lambda: Demand(
                1.0, 1.0, asked().process, multiplier=np.ones(7), season=Season(trend=0.1)
            ),
            "beside a multiplier",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(demand: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        demand()


@pytest.mark.parametrize(
    ("period", "season", "name"),
    [("week", Season(WEEK), "weekday"), ("year", Season(yearly=YEAR), "yearly")],
)
def test_periods_too_long_for_a_season_are_refused(period: str, season: Season, name: str) -> None:
    with pytest.raises(ConfigError, match=f"'tea@shop 0': demand: {name} is given, but a period"):
        scenario(Demand(8.0, 2.0, asked().process, season=season), period_name=period)


def test_a_network_alone_has_no_dates() -> None:
    """Its seasons aren't left out without a word."""
    with pytest.raises(NetworkError, match="compile a Scenario"):
        compile_network(shops(asked(weekday=[*WEEK])))


def test_a_season_is_stored_as_it_was_given() -> None:
    """So that another start date moves it. What has none keeps its hash."""
    built = scenario(asked(weekday=[*WEEK], trend=0.1))
    plain = scenario_to_plain(built)
    assert plain["network"]["stocks"][0]["demand"]["season"]["weekday"] == [*WEEK]
    again = scenario_from_plain(plain)
    assert network_hash(again) == network_hash(built)
    assert known(again) == known(built)
    moved = replace(again, start_date="2024-01-07")
    assert known(moved)[:2] == [0.0, 1.0]
    assert "season" not in scenario_to_plain(scenario(asked()))["network"]["stocks"][0]["demand"]


def test_agents_see_the_day_of_the_week() -> None:
    """Three shifts a day: the same phase after 21."""
    built = scenario(asked(weekday=[*WEEK]), period_name="shift", base_policy="base_stock")
    env = BatchedEnv(built, 30)
    observation = env.reset(0)
    row = env.feature_names.index("week_sin")
    shift = env.simulator.trace.calendar
    assert len(np.unique(shift)) > 7
    np.testing.assert_allclose(observation[0, row], np.sin(2 * np.pi * shift / 21), atol=1e-6)


@pytest.mark.parametrize(
    ("period", "length", "name", "within"),
    [
        (363, 364, "day", 363),
        (364, 364, "day", 0),
        (-1, 364, "day", 363),
        (364 + 365 * 5, 364, "day", 362),  # five leap days and weeks later: about the same date
        (9, 7, "day", 2),
        (-1, 10, "day", 6),  # of whole weeks
        (1100, 1092, "day", 736),  # into the last year
        (-3, 1092, "day", 361),  # into the first
        (52, 52, "week", 0),
        (522, 52, "week", 0),  # ten years
        (25, 12, "month", 1),
        (21, 21, "shift", 0),
        (5, 3, "year", 2),
        (3, 1, "day", 0),
    ],
)
def test_a_period_outside_its_calendar(period: int, length: int, name: str, within: int) -> None:
    """Stays the same day of the week, and about the same date."""
    assert in_calendar(period, length, name) == within


@pytest.mark.parametrize("start", ["2024-13-01", "20240101", "1.1.2024", "0001-01-01", ""])
def test_a_start_date_is_an_iso_date(start: str) -> None:
    with pytest.raises(EchelonError, match="expected the date of period 0 as YYYY-MM-DD"):
        scenario(asked(), start_date=start)


@pytest.mark.parametrize("currency", ["eur", "", "EURO", "E\u20ac1", "$"])
def test_a_currency_is_three_letters(currency: str) -> None:
    with pytest.raises(ConfigError, match="expected three capital letters, such as EUR"):
        scenario(asked(), currency=currency)
