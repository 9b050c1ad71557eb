"""What is counted of lanes and resources, on orders worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.compiled.network import CompiledNetwork, compile_network
from envs.kpis.lanes import LaneTally, lane_groups, resource_figures
from envs.network.calendar import Calendar
from envs.network.demand import Demand
from envs.network.lane import Lane, LaneInput, Limits, Resource, ResourceUse
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Receive, Sku, Stock, SupplyNetwork, Timing, Unfilled
from envs.network.regime import MarkovChain, Regime, RegimeState
from envs.simulation.simulator import Simulator


def count(
    orders: list[float], *, resource: Resource | None = None, regimes: tuple[Regime, ...] = (),
    unfilled: Unfilled = Unfilled.backlog, receive: Receive = Receive.before_order, **lane: Any,
) -> tuple[CompiledNetwork, LaneTally]:  # fmt: skip
    """Play orders on one lane from outside to a shop, lead time 1 unless said otherwise."""
    lane = {"lead_time": LeadTime(1), **lane}
    uses = () if resource is None else (ResourceUse(resource.id),)
    network = SupplyNetwork(
        (Node("shop", "store"),),
        (Sku("item"),),
        (Stock("shop", "item", demand=Demand(1.0, 1.0, history=np.ones(2))),),
        (Lane("buy", "shop", "item", resources=uses, **lane),),
        () if resource is None else (resource,),
        regimes,
        Timing(receive, unfilled=unfilled),
    )
    net = compile_network(network)
    return net, play(net, np.array(orders)[:, None, None])


def play(net: CompiledNetwork, orders: Any) -> LaneTally:
    """Play orders [T, Q, B]."""
    simulator = Simulator(net, orders.shape[2])
    simulator.reset(0)
    tally = LaneTally(net, orders.shape[2])
    for order in orders:
        simulator.close_period_with_orders(order)
        tally.add(simulator)
        simulator.open_period()
    return tally


IN_TIME: dict[str, dict[str, Any]] = {
    "a period later": {},
    "at once": {"lead_time": LeadTime(0)},
    "four periods later": {"lead_time": LeadTime(4)},
    "after the sender heard of it": {"information_delay": 2},
    "the rest two periods later": {"split_share": 0.5, "split_delay": 2},
}


@pytest.mark.parametrize("receive", Receive)
@pytest.mark.parametrize("lane", IN_TIME.values(), ids=IN_TIME)
def test_what_keeps_its_promise_is_on_time(lane: dict[str, Any], receive: Receive) -> None:
    """Every order that came due is on time in full; those not due yet aren't counted."""
    orders = [5.0, 0.0, 3.0, 2.0, 0.0, 0.0, 4.0, 1.0]
    net, tally = count(orders, receive=receive, **lane)
    (promised,) = tally.promised
    assert net.leads.lane.max() <= promised
    due = sum(quantity > 0 for quantity in orders[: len(orders) - promised])
    assert tally.totals.due.tolist() == tally.totals.on_time.tolist() == [due]
    assert tally.totals.orders.tolist() == [5]
    assert tally.totals.ordered.tolist() == [15]


def test_what_waits_for_capacity_is_late() -> None:
    """5 ship as 2, 2, 1: the order of period 0 is late, that of period 3 on time."""
    _, tally = count([5, 0, 0, 1, 0, 0], resource=Resource("dock", 2.0))
    assert (tally.totals.due[0], tally.totals.on_time[0]) == (2, 1)


def test_an_order_behind_a_late_one_is_late() -> None:
    """All that was ordered up to then must have arrived."""
    _, tally = count([5, 1, 0, 0, 0], resource=Resource("dock", 2.0))
    assert (tally.totals.due[0], tally.totals.on_time[0]) == (2, 0)


def test_what_is_cancelled_is_not_in_full() -> None:
    """Of 5, 2 ship and 3 are dropped; the order after it is served."""
    _, tally = count([5, 0, 1, 0, 0], resource=Resource("dock", 2.0), unfilled=Unfilled.cancel)
    assert (tally.totals.due[0], tally.totals.on_time[0]) == (2, 1)


def test_scrap_is_counted() -> None:
    """Of 8 units that arrive, a quarter is no good."""
    _, tally = count([8, 0, 0], yield_share=0.75)
    assert (tally.totals.arrived[0], tally.totals.scrapped[0]) == (8, 2)


def test_orders_change_from_period_to_period() -> None:
    """0 to 3 to 1 to 1: three units up, two down; the first period has none before it."""
    _, tally = count([4, 0, 3, 1, 1])
    assert tally.totals.changed.tolist() == [4 + 3 + 2 + 0]


def test_resources_are_used_and_loads_filled() -> None:
    """3, 4 and 1 units on trucks of 2, 5 a day at most: 5 trucks begun for 8 units."""
    truck = Resource("truck", 5.0, load_size=2.0, load_cost=7.0)
    net, tally = count([3, 4, 0, 1], resource=truck)
    figures = resource_figures(net, tally.resources)["truck"]
    assert figures == {
        "utilisation": pytest.approx(8 / 20), "loads": 5, "load_fill": pytest.approx(8 / 10)
    }  # fmt: skip


@pytest.mark.parametrize("limits", Limits)
def test_what_is_left_of_a_limit_that_is_too_small_is_told(limits: Limits) -> None:
    """Packs of 4 and 9 a day: of orders for 12 one unit is left, where only orders are limited;
    shipments are divisible, and what is enough is not scarce."""
    net, tally = count([12, 0, 8, 12], resource=Resource("cash", 9.0, limits), order_multiple=4.0)
    figures = resource_figures(net, tally.resources)["cash"]
    told = {name: figures.get(name) for name in ("unused", "unused_share")}
    expected = (2.0, 2.0) if limits is Limits.orders else (None, None)
    assert tuple(told.values()) == expected


def test_a_second_limit_can_leave_a_part_of_the_first_one() -> None:
    """Of 10 the line makes 8 and the lorry takes 5: of the line 3 are left, though it is too
    small; nothing is told of what is enough for all."""
    resources = (Resource("line", 8.0), Resource("lorry", 5.0), Resource("dock", 20.0))
    network = SupplyNetwork(
        (Node("shop", "store"),),
        (Sku("item"),),
        (Stock("shop", "item", demand=Demand(1.0, 1.0, history=np.ones(2))),),
        (Lane("buy", "shop", "item", resources=tuple(ResourceUse(r.id) for r in resources)),),
        resources,
    )
    net = compile_network(network)
    tally = play(net, np.array([10.0, 0.0, 0.0])[:, None, None])
    figures = resource_figures(net, tally.resources)
    assert (figures["line"]["unused"], figures["line"]["unused_share"]) == (3.0, 1.0)
    assert not any("unused" in figures[name] for name in ("lorry", "dock"))


def test_room_that_fits_no_pack_is_told() -> None:
    """Room for 10, packs of 4, nothing sold: 8 of 12 come at once, then 2 are left, twice; wishes
    that fit leave room that isn't scarce."""
    network = SupplyNetwork(
        (Node("shop", "store", storage_capacity=10.0), Node("depot")),
        (Sku("item", volume=1.0),),
        (Stock("shop", "item"), Stock("depot", "item", initial_stock=99.0)),
        (
            Lane("buy", "shop", "item", inputs=(LaneInput("depot", "item"),), order_multiple=4.0),
            Lane("fill", "depot", "item"),
        ),
    )
    net = compile_network(network)
    wished = {"buy": [4, 12, 4, 0], "fill": [0, 0, 0, 0]}
    tally = play(net, np.array([wished[q.id] for q in net.network.lanes], float).T[:, :, None])
    figures = resource_figures(net, tally.resources)
    assert figures == {"storage of shop": {"unused": 4.0, "unused_share": 2.0}}


def test_lost_capacity_is_not_there_to_be_used() -> None:
    """A regime halves the capacity: 2 of 5 units used in each period are 80 % of what there was."""
    half = Regime("half", (RegimeState("half", availability=0.5),), MarkovChain(((1.0,),)))
    for regimes, used in (((), 0.4), ((half,), 0.8)):
        dock = Resource("dock", 5.0, regimes=tuple(r.id for r in regimes))
        net, tally = count([2, 2], resource=dock, regimes=regimes)
        figures = resource_figures(net, tally.resources)["dock"]
        assert figures["utilisation"] == pytest.approx(used)


def test_lanes_are_summed_by_kind() -> None:
    """Prices as the regime moves them, orders, emissions; production is a lane within a kind."""
    dear = Regime("dear", (RegimeState("dear", cost=2.0),), MarkovChain(((1.0,),)))
    network = SupplyNetwork(
        (Node("plant", "plant"), Node("shop", "store")),
        (Sku("part"), Sku("item")),
        (
            Stock("plant", "part", initial_stock=50.0),
            Stock("plant", "item", initial_stock=50.0),
            Stock("shop", "item", demand=Demand(1.0, 1.0, history=np.ones(2))),
        ),
        (
            Lane("buy", "plant", "part", LeadTime(1), unit_cost=3.0, regimes=("dear",), mode="sea"),
            Lane("make", "plant", "item", LeadTime(1), (LaneInput("plant", "part", 2.0),)),
            Lane("carry", "shop", "item", LeadTime(2), (LaneInput("plant", "item"),),
                 fixed_cost=5.0, co2=0.5, in_transit_cost=0.1, mode="truck"),
        ),
        regimes=(dear,),
    )  # fmt: skip
    net = compile_network(network)
    tally = play(net, np.array([[4.0, 1.0, 6.0], [0.0, 1.0, 0.0]])[:, :, None])
    assert lane_groups(net, tally.totals) == {
        "outside > plant sea": {"orders": 1, "shipped": 4, "purchase": 24.0, "otif": 1.0},
        "plant > plant": {"orders": 2, "shipped": 2, "otif": 1.0},
        "plant > store truck": {
            "orders": 1, "shipped": 6, "fixed_order": 5.0, "co2": 3.0,
            "in_transit": pytest.approx(0.1 * 6 * 2),
        },
    }  # fmt: skip


def test_days_off_break_no_promise() -> None:
    """Two ordered days apart come with the same ferry, on time; of what is promised for one day all
    is late where some is."""
    ferry, works = Calendar(7, (2,)), Calendar(7, (0, 1, 2, 3, 4))
    orders = [4.0, 0.0, 2.0, 5.0, 0.0, *[0.0] * 10]
    _, tally = count(orders, shipping=ferry, transit=works, lead_time=LeadTime(3))
    assert (tally.totals.due[0], tally.totals.on_time[0]) == (3, 3)
    _, tally = count(orders, shipping=ferry, transit=works, resource=Resource("dock", 5.0))
    assert (tally.totals.due[0], tally.totals.on_time[0]) == (3, 0)
