"""What is ordered on a date: calendars of lanes and reviews, and seasons of demand."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.errors import ConfigError
from envs.network.calendar import Calendar
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.scenario import Scenario
from evaluation.recommendation.findings import RequestError
from evaluation.recommendation.recommender import Recommender
from tests.evaluation.recommendation.artifacts import request, write_artifact

EMPTY = {"stock": [{"location": "shop", "item": "tea", "on_hand": 0, "backorders": 10}]}


def weekly(place: str, **fields: Any) -> Scenario:
    """A shop that can order on the second day of seven, or only looks at its stock then."""
    calendar = Calendar(7, (1,))
    demand = Demand.from_config(DemandConfig("poisson", mean=6.0), 0)
    network = SupplyNetwork(
        (Node("shop", "shop", review=calendar if place == "node" else None),),
        (Sku("tea", 2.0),),
        (Stock("shop", "tea", holding_cost=0.05, backlog_cost=2.0, demand=demand),),
        (
            Lane(
                "supplier", "shop", "tea", LeadTime(2), unit_cost=2.0, fixed_cost=5.0,
                order_multiple=1.0, calendar=calendar if place == "lane" else None,
            ),
        ),
    )  # fmt: skip
    rule = {"base_policy": "base_stock"}
    if place == "rule":
        parameters = {"periodic_review": {"review_period": 7, "phase": 1}}
        rule = {"base_policy": "periodic_review", "policy_params": parameters}  # type: ignore[dict-item]
    return Scenario("weekly", network, horizon=42, **{**rule, **fields})


@pytest.mark.parametrize("place", ["lane", "node", "rule"])
@pytest.mark.parametrize("start", [None, "2023-12-27"])
def test_what_is_open_one_day_in_seven_is_ordered_on_that_day(
    tmp_path: Path, place: str, start: str | None
) -> None:
    """The second day from the start date on, and every seventh: a Tuesday where none is given."""
    scenario = weekly(place, start_date=start)
    recommender = Recommender(write_artifact(tmp_path / "policy", scenario))
    ordered = []
    for days in range(21):
        day = date(2024, 1, 1) + timedelta(days)
        answer = recommender.recommend(request(**EMPTY, as_of=day.isoformat(), policy="classical"))
        codes = {warning.code for warning in answer.warnings}
        assert ("CALENDAR_ASSUMED" in codes) == (start is None)
        if any(line.quantity > 0 for line in answer.lines):
            ordered.append(day.isoweekday())
    assert ordered == [2 if start is None else 4] * 3


def test_a_date_is_asked_for_where_orders_depend_on_it(tmp_path: Path) -> None:
    for place in ("lane", "node", "rule"):
        scenario = weekly(place)
        recommender = Recommender(write_artifact(tmp_path / place, scenario))
        with pytest.raises(RequestError, match="as_of: is missing"):
            recommender.recommend(request(**EMPTY))
    free = Recommender(write_artifact(tmp_path / "free", weekly("")))
    assert free.recommend(request(**EMPTY, policy="classical")).lines[0].quantity > 0


def test_an_eta_is_counted_in_the_networks_periods(tmp_path: Path) -> None:
    """A week in a weekly network: what comes in ten days comes next week."""
    scenario = weekly("", period_name="week", start_date="2024-01-01")
    recommender = Recommender(write_artifact(tmp_path / "policy", scenario))
    order = {"to": "shop", "item": "tea", "quantity": 5.0}
    recommender.recommend(request(as_of="2024-01-03", open_orders=[{**order, "eta": "2024-01-13"}]))
    env = recommender._env
    slots = env.state.in_transit[0, :, 0]
    assert slots[(env.simulator.period + 1) % slots.size] == 5.0


@pytest.mark.parametrize(
    ("name", "day", "period"),
    [
        ("hour", "2024-03-02", 2 * 24),
        ("shift", "2024-03-02", 2 * 3),
        ("day", "2024-02-28", -1),
        ("week", "2024-02-28", -1),
        ("week", "2024-03-14", 2),
        ("month", "2024-03-28", 0),
        ("month", "2024-03-29", 1),
        ("month", "2025-02-28", 11),
        ("year", "2025-02-28", 0),
        ("year", "2025-03-01", 1),
    ],
)
def test_periods_of_dates(name: str, day: str, period: int) -> None:
    start = "2024-02-29"
    scenario = weekly("", start_date=start, period_name=name)
    assert scenario.period_of(date.fromisoformat(day)) == period


def test_a_start_date_has_to_be_a_date() -> None:
    with pytest.raises(ConfigError, match="start_date is '3 May'"):
        weekly("", start_date="3 May")


def test_a_date_within_the_calendar(seasonal: Recommender) -> None:
    """Before a Sunday without customers less is needed than before a Monday."""
    monday, saturday = (
        seasonal.recommend(request(as_of=day, include_zero=True, policy="classical"))
        for day in ("2017-03-06", "2017-03-11")
    )
    assert monday.summary.units > saturday.summary.units
    assert {w.code for w in monday.warnings} == {"MISSING_STOCK", "MISSING_SALES"}


@pytest.mark.parametrize("day", ["2026-11-21", "2016-03-12", "1999-01-02", "2018-01-13"])
def test_a_date_beyond_the_calendar_keeps_its_weekday(seasonal: Recommender, day: str) -> None:
    """Each of these is a Saturday: the order is a Saturday's; that it is a guess is told."""
    within = seasonal.recommend(request(as_of="2017-03-11", include_zero=True))
    beyond = seasonal.recommend(request(as_of=day, include_zero=True, policy="classical"))
    assert "CALENDAR_EXTRAPOLATED" in {w.code for w in beyond.warnings}
    assert [n.classical for n in within.lines] == pytest.approx([n.quantity for n in beyond.lines])


def test_sales_are_read_at_their_own_weekday(seasonal: Recommender) -> None:
    """Nothing sold on Sundays is no news: the level stays; five on weekdays neither is."""
    usual = [0.0, *[35 / 6] * 6]  # a week from Sunday to Saturday, at level 5
    body: dict[str, Any] = {"as_of": "2017-03-12", "policy": "classical", "include_zero": True}
    seasonal.recommend(
        request(**body, recent_sales=[{"location": "shop", "item": "tea", "quantities": usual}])
    )
    level = seasonal._env.state.demand_level[:, 0]
    np.testing.assert_allclose(level, 5.0, rtol=1e-12)


def test_a_season_without_dates_counts_from_a_monday(season: Scenario, tmp_path: Path) -> None:
    """Its days without customers are the network's period 0, 7, ...: Mondays."""
    undated = replace(season, start_date=None)
    recommender = Recommender(write_artifact(tmp_path / "undated", undated))
    units = {}
    for day in ("2000-01-09", "2000-01-10", "2000-01-11"):
        answer = recommender.recommend(request(as_of=day, policy="classical", include_zero=True))
        assert "CALENDAR_ASSUMED" in {w.code for w in answer.warnings}
        units[day] = answer.summary.units
    assert units["2000-01-11"] > units["2000-01-09"]


def grown(**season: Any) -> Scenario:
    """A shop whose customers come by day of the week and month."""
    demand = Demand.from_config(DemandConfig("poisson", mean=100.0, **season), 0)
    network = SupplyNetwork(
        (Node("shop", "shop"),),
        (Sku("tea"),),
        (Stock("shop", "tea", holding_cost=1.0, backlog_cost=9.0, demand=demand),),
        (Lane("supplier", "shop", "tea", LeadTime(0), order_multiple=1.0),),
    )
    return Scenario("grown", network, horizon=20, start_date="2024-01-01")


def units(recommender: Recommender, day: str) -> tuple[float, bool]:
    """What is ordered for an empty shop on a day, and whether its calendar was guessed."""
    stock = [{"location": "shop", "item": "tea", "on_hand": 0}]
    answer = recommender.recommend(request(stock=stock, as_of=day, policy="classical"))
    codes = {warning.code for warning in answer.warnings}
    return answer.summary.units, "CALENDAR_EXTRAPOLATED" in codes


def test_a_stored_policy_orders_for_the_season_of_the_date(tmp_path: Path) -> None:
    """Day of the week and month, in every year: no guess, as the season is repeated."""
    year = [1.0] * 6 + [2.0] + [1.0] * 5
    scenario = grown(weekday=[1.0, 1.0, 1.0, 1.0, 1.0, 1.5, 0.0], yearly=year)
    recommender = Recommender(write_artifact(tmp_path / "policy", scenario))
    for start in ("2024", "2031"):
        monday, saturday, july = (
            units(recommender, day)
            for day in {
                "2024": ("2024-03-11", "2024-03-16", "2024-07-15"),
                "2031": ("2031-03-10", "2031-03-15", "2031-07-14"),
            }[start]
        )
        # An order covers the day itself: the review is daily, goods come at once.
        assert monday[0] == pytest.approx(115, abs=10)
        assert saturday[0] == pytest.approx(168, abs=10)
        assert july[0] == pytest.approx(220, abs=10)
        assert not any(guessed for _, guessed in (monday, saturday, july))


def test_a_trend_ends_with_its_calendar(tmp_path: Path) -> None:
    """Three years: beyond, the level of its last one, and that it is a guess is told."""
    recommender = Recommender(write_artifact(tmp_path / "policy", grown(trend=0.2)))
    first, third, later, before = (
        units(recommender, day) for day in ("2024-01-10", "2026-12-20", "2036-12-20", "2020-01-10")
    )
    assert first[0] == pytest.approx(113, abs=10)
    assert third[0] == pytest.approx(1.2**3 * first[0], rel=0.05)
    assert later[0] == pytest.approx(third[0], rel=0.05)
    assert before[0] == pytest.approx(first[0], rel=0.25)
    assert [guessed for _, guessed in (first, third, later, before)] == [False, False, True, True]
