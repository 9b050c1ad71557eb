"""Calendars of lanes, nodes and resources: when goods leave, move and are let in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from envs.compiled.network import compile_network
from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError, NetworkError
from envs.network.calendar import Calendar, LaneCalendars, joint
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, LaneInput, Resource, ResourceUse
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Receive, ServeOrder, Sku, Stock, SupplyNetwork, Timing
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.explicit import ExplicitConfig
from envs.simulation.simulator import Simulator
from envs.types import Floats
from tests.envs.runs import play_orders

WORKDAYS = Calendar(7, (0, 1, 2, 3, 4))
TUESDAYS = Calendar(7, (1,))
PERIODS = 24
PLAIN = Timing()


def arrivals(order_in: int, lead: int = 1, timing: Timing = PLAIN, **lane: Any) -> dict[int, int]:
    """Period -> units received of ten ordered in one period; a node's calendars as node_..."""
    node = {key.removeprefix("node_"): lane.pop(key) for key in list(lane) if key[:5] == "node_"}
    network = SupplyNetwork(
        (Node("shop", **node),),
        (Sku("tea"),),
        (Stock("shop", "tea", demand=Demand(0.0, 0.0, history=np.zeros(1))),),
        (Lane("road", "shop", "tea", LeadTime(lead), **lane),),
        timing=timing,
    )
    orders = np.zeros((PERIODS, 1, 1))
    orders[order_in] = 10.0
    received = play_orders(compile_network(network), orders, seed=0).flows.received[:, 0, 0]
    return {int(t): int(received[t]) for t in np.flatnonzero(received)}


@pytest.mark.parametrize(
    ("calendars", "came"),
    [
        # Ordered on Friday (4), a day's way. Saturday is 5, Monday 7, Tuesday 8.
        ({}, 5),
        ({"shipping": TUESDAYS}, 9),
        ({"transit": WORKDAYS}, 7),
        ({"receiving": WORKDAYS}, 7),
        ({"node_receiving": TUESDAYS}, 8),
        ({"shipping": TUESDAYS, "receiving": Calendar(7, (0,))}, 14),
        ({"transit": replace(WORKDAYS, closed_on=(7, 8))}, 9),
        ({"transit": replace(WORKDAYS, open_on=(5,))}, 5),
        ({"receiving": WORKDAYS, "node_receiving": replace(TUESDAYS, closed_on=(8,))}, 15),
    ],
)
def test_goods_wait_for_open_days(calendars: dict[str, Any], came: int) -> None:
    assert arrivals(4, **calendars) == {came: 10}


@pytest.mark.parametrize("receive", Receive)
def test_a_lead_time_in_business_days(receive: Receive) -> None:
    """Three of them: what leaves on Monday to Friday arrives on the third working day after."""
    timing = Timing(receive)
    for ordered in range(5):
        came = [t for t in range(ordered + 1, PERIODS) if t % 7 < 5][2]
        assert arrivals(ordered, 3, timing, transit=WORKDAYS) == {came: 10}


@pytest.mark.parametrize("receive", Receive)
@pytest.mark.parametrize("shipping", [TUESDAYS, None])
def test_an_arrival_is_foretold_as_it_happens(receive: Receive, shipping: Calendar | None) -> None:
    """`LaneCalendars.arrival`, from which lead times that policies plan with are taken."""
    ways = {"shipping": shipping, "transit": WORKDAYS, "receiving": Calendar(7, (0, 3))}
    met = LaneCalendars(**ways, leaves_before_receipts=receive is Receive.after_ship)
    for ordered in range(7):
        for lead in (0, 1, 2, 4):
            came = arrivals(ordered, lead, Timing(receive), **ways)
            assert came == {met.arrival(ordered, lead): 10}


def test_policies_plan_with_what_calendars_add() -> None:
    """Ordered on any day, shipped on Tuesdays: three days more on average, and 4 of variance."""
    lane = Lane("road", "shop", "tea", LeadTime(2), shipping=TUESDAYS)
    demand = Demand.from_config(DemandConfig("poisson", mean=3.0), 0)
    network = SupplyNetwork(
        (Node("shop"),), (Sku("tea"),), (Stock("shop", "tea", demand=demand),), (lane,)
    )
    leads = compile_network(network).leads
    assert (leads.lane[0], leads.lane_sd[0]) == (pytest.approx(5.0), pytest.approx(2.0))
    same_day = replace(network, lanes=(replace(lane, calendar=TUESDAYS),))
    assert compile_network(same_day).leads.lane[0] == pytest.approx(2.0)


def plant(**calendars: Any) -> SupplyNetwork:
    """A plant that makes ten frames a day as long as its machine runs, and sends them to a shop."""
    none = Demand(0.0, 0.0, history=np.zeros(1))
    return SupplyNetwork(
        (Node("plant", shipping=calendars.get("leaves")), Node("shop")),
        (Sku("frame"),),
        (Stock("plant", "frame", initial_stock=3.0), Stock("shop", "frame", demand=none)),
        (
            Lane("make", "plant", "frame", LeadTime(1), resources=(ResourceUse("machine"),)),
            Lane("road", "shop", "frame", LeadTime(1), (LaneInput("plant", "frame"),)),
        ),
        (Resource("machine", 10.0, calendar=calendars.get("runs")),),
    )


def test_a_machine_runs_in_its_shifts() -> None:
    orders = np.zeros((PERIODS, 2, 1))
    orders[3, 0] = 35.0
    run = play_orders(compile_network(plant(runs=WORKDAYS)), orders, seed=0)
    made = {t: float(units) for t, units in enumerate(run.flows.shipped[:, 0, 0]) if units}
    assert made == {3: 10.0, 4: 10.0, 7: 10.0, 8: 5.0}


def test_what_leaves_a_node_leaves_in_its_days() -> None:
    orders = np.zeros((PERIODS, 2, 1))
    orders[4, 1] = 2.0
    run = play_orders(compile_network(plant(leaves=TUESDAYS)), orders, seed=0)
    assert np.flatnonzero(run.flows.shipped[:, 1, 0]).tolist() == [8]


def test_agents_see_when_an_order_would_arrive() -> None:
    demand = Demand.from_config(DemandConfig("poisson", mean=3.0), 0)
    lane = Lane("road", "shop", "tea", LeadTime(1), shipping=TUESDAYS, transit=WORKDAYS)
    network = SupplyNetwork(
        (Node("shop"),), (Sku("tea"),), (Stock("shop", "tea", demand=demand),), (lane,)
    )
    env = BatchedEnv(Scenario("shop", network, horizon=20), 1)
    column = env.feature_names.index("lane_0_arrives_in")
    env.reset(0, 0)
    usual, seen = env.net.leads.pair[0] + env.net.review[0], []
    for _ in range(7):
        seen.append((float(env.observe()[0, column, 0]) + 1.0) * usual)
        env.close_period(env.no_action)
        env.open_period()
    assert seen == pytest.approx([2, 1, 7, 6, 5, 4, 3])


@pytest.mark.parametrize("demand", ServeOrder)
@pytest.mark.parametrize("multiplier", [None, np.array([1.0, 2.0, 3.0])])
def test_an_order_covers_what_is_needed_until_the_next_one_could_have_come(
    demand: ServeOrder, multiplier: Floats | None
) -> None:
    """On a Friday more than on a Monday, and before a holiday still more."""
    orders = replace(WORKDAYS, closed_on=(10, 11))
    sold = Demand.from_config(DemandConfig("poisson", mean=3.0), 0, multiplier=multiplier)
    lane = Lane(
        "road", "shop", "tea", LeadTime(2), calendar=orders, transit=WORKDAYS, information_delay=1
    )
    network = SupplyNetwork(
        (Node("shop"),), (Sku("tea"),), (Stock("shop", "tea", demand=sold),), (lane,),
        timing=Timing(demand=demand),
    )  # fmt: skip
    simulator = Simulator(compile_network(network), 1)
    simulator.reset(0)
    ahead = int(demand is ServeOrder.first)
    for today in range(PERIODS):
        following = next(t for t in range(today + 1, 99) if t % 7 < 5 and t not in (10, 11))
        moving = [t for t in range(following + 2, 99) if t % 7 < 5]  # heard of a day later
        days = range(today + ahead, moving[1])
        wanted = sum(3.0 * (1.0 if multiplier is None else float(multiplier[t % 3])) for t in days)
        assert simulator.state.forecast_mean[0, 0] == pytest.approx(wanted)
        simulator.close_period_with_orders(np.zeros((1, 1)))
        simulator.open_period()


@pytest.mark.parametrize(
    ("calendars", "wanted"),
    [
        ((WORKDAYS, None), WORKDAYS),
        ((WORKDAYS, TUESDAYS), TUESDAYS),
        (
            (replace(WORKDAYS, closed_on=(1, 9)), Calendar(2, (1,), open_on=(2, 5))),
            Calendar(14, (1, 3, 7, 9, 11), closed_on=(1, 9), open_on=(2,)),
        ),
    ],
)
def test_calendars_that_meet(calendars: tuple[Calendar | None, ...], wanted: Calendar) -> None:
    met = joint(calendars)
    assert met == wanted
    for t in range(40):
        assert met.is_open(t) == all(c is None or c.is_open(t) for c in calendars)


@pytest.mark.parametrize("leaves_before_receipts", [False, True])
def test_the_way_left_of_goods_tells_when_they_come(leaves_before_receipts: bool) -> None:
    transit = replace(WORKDAYS, closed_on=(9,), open_on=(12,))
    calendars = LaneCalendars(transit=transit, leaves_before_receipts=leaves_before_receipts)
    for today in range(14):
        came = [calendars.due_in(today, way) for way in range(6)]
        assert came == sorted(set(came))
        assert all(transit.is_open(today + due) for due in came[not leaves_before_receipts :])
        assert [calendars.way_left(today, due) for due in came] == list(range(6))


def test_calendars_that_never_meet_are_refused() -> None:
    with pytest.raises(NetworkError, match=r"Lane 'road': calendars with open .* never open"):
        arrivals(0, shipping=None, receiving=Calendar(7, (0,)), node_receiving=TUESDAYS)
    with pytest.raises(NetworkError, match="meet again only after"):
        joint([Calendar(9973, (0,)), Calendar(9967, (0,))])
    with pytest.raises(NetworkError, match="period 3 is in closed_on and in open_on"):
        Calendar(7, (0,), closed_on=(3,), open_on=(3,))
    with pytest.raises(NetworkError, match="period -1; expected 0 to"):
        Calendar(7, (0,), closed_on=(-1,))


def written(calendars: Any, calendar: Any, **numbers: Any) -> Calendar | None:
    """The calendar of a lane that is read as from YAML."""
    config = ExplicitConfig(
        kind="explicit", name="shop", horizon=10, base_policy=None,
        nodes={"shop": {}}, skus={"tea": {}},
        stocks={"tea": {"node": "shop", "sku": "tea"}},
        lanes={"road": {"node": "shop", "sku": "tea", "shipping": calendar}},
        calendars=calendars, **numbers,
    )  # fmt: skip
    return build_scenario(config).network.lanes[0].shipping


@pytest.mark.parametrize(
    ("written_as", "numbers", "wanted"),
    [
        ({"open": ["tue"]}, {}, TUESDAYS),
        ({"open": ["Monday", "wed"]}, {"start_date": "2024-01-03"}, Calendar(7, (0, 5))),
        ({"open": ["mon"]}, {"period_name": "shift"}, Calendar(21, (0, 1, 2))),
        (
            {"open": ["mon"], "closed_on": ["2024-01-01", "2023-12-25", "9"]},
            {"start_date": "2024-01-01"},
            Calendar(7, (0,), closed_on=(0, 9)),
        ),
        (
            {"cycle": "2", "open": ["1"], "open_on": ["2024-01-02"]},
            {"start_date": "2024-01-01", "period_name": "shift"},
            Calendar(2, (1,), open_on=(3, 4, 5)),
        ),
    ],
)
def test_calendars_are_written_as_people_do(
    written_as: dict[str, Any], numbers: dict[str, Any], wanted: Calendar
) -> None:
    assert written({}, written_as, **numbers) == wanted
    assert written({"ours": written_as}, "ours", **numbers) == wanted


@pytest.mark.parametrize(
    ("calendars", "calendar", "numbers", "message"),
    [
        ({"workdays": {"open": ["mon"]}}, "workday", {}, "Did you mean 'workdays'"),
        ({}, {"open": ["mo"]}, {}, r"lanes.road.shipping.open\[0\] is 'mo'; expected a day of"),
        ({}, {"cycle": 5, "open": ["mon"]}, {}, "cycle is 5 beside days of the week"),
        ({}, {"open": [0], "closed_on": ["25.12."]}, {}, r"closed_on\[0\] is '25.12.'; expected"),
        ({}, {"open": [0], "closed_on": ["2024-12-25"]}, {}, "no start_date to count from"),
        (
            {}, {"open": ["mon"]}, {"period_name": "week"},
            "periods are weeks, which have no days of their own",
        ),
        ({}, {"opens": [0]}, {}, "'opens' is unknown in lanes.road.shipping. Did you mean 'open'"),
        ({}, 7, {}, "lanes.road.shipping is 7; expected the name of a calendar"),
        ({"ours": 3}, "ours", {}, "calendars.ours is 3; expected keys"),
    ],
)  # fmt: skip
def test_what_is_no_calendar_is_refused(
    calendars: dict[str, Any], calendar: Any, numbers: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        written(calendars, calendar, **numbers)
