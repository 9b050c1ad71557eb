"""Goods that come in whole units: which do, and how they are shared, split, used and left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from envs.compiled.network import compile_network
from envs.errors import NetworkError
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, LaneInput, Resource, ResourceUse
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.network.whole_units import whole_skus
from envs.simulation.simulator import Simulator
from envs.simulation.whole_units import rounding_of


def shops(count: int, stock: float = 9.0, taken: float = 1.0, **lane: Any) -> SupplyNetwork:
    """A depot of sheets, of which each shop's sets take some; orders are multiples of one."""
    names = [f"shop {i}" for i in range(count)]
    fields = {"order_multiple": 1.0} | lane
    return SupplyNetwork(
        (Node("depot"), *map(Node, names)),
        (Sku("sheet"), Sku("set")),
        (Stock("depot", "sheet", initial_stock=stock), *(Stock(n, "set") for n in names)),
        (
            Lane("buy", "depot", "sheet", LeadTime(5), order_multiple=1.0),
            *(
                Lane(n, n, "set", LeadTime(1), (LaneInput("depot", "sheet", taken),), **fields)
                for n in names
            ),
        ),
    )


def shipped(network: SupplyNetwork, *orders: float) -> list[float]:
    """What the shops' lanes ship of their orders in the first period."""
    simulator = Simulator(compile_network(network), 1)
    simulator.reset(0)
    simulator.close_period_with_orders(np.array([0.0, *orders])[:, None])
    return simulator.flows.shipped[1:, 0].tolist()


def test_what_is_short_is_shared_by_largest_remainder() -> None:
    """3.6, 4.2 and 1.2 of nine; ties by priority, then by name."""
    assert shipped(shops(3), 6, 7, 2) == [4, 4, 1]
    assert shipped(shops(2), 6, 6) == [5, 4]
    tied = shops(2)
    later = replace(tied.lanes[1], priority=1)
    assert shipped(replace(tied, lanes=(tied.lanes[0], later, tied.lanes[2])), 6, 6) == [4, 5]


def test_a_component_that_is_used_by_halves() -> None:
    """Sets are whole; sheets too where orders are for whole ones, or they say so themselves."""
    sets_only = shops(2, taken=0.5)
    assert whole_skus(sets_only) == {"set"}
    assert shipped(sets_only, 9, 10) == [9, 9]
    assert shipped(shops(2, taken=0.5, order_multiple=2.0), 10, 10) == [10, 8]
    told = replace(sets_only, skus=(Sku("sheet", whole_units=True), Sku("set")))
    assert whole_skus(told) == {"sheet", "set"}
    assert shipped(told, 9, 10) == [10, 8]  # orders are for whole sheets as well


def test_capacity_is_used_by_whole_units() -> None:
    """Seven and a half hours, two for a set: three sets, whoever gets the third."""
    base = shops(2)
    lanes = tuple(replace(q, resources=(ResourceUse("hours", 2.0),)) for q in base.lanes)
    hours = (Resource("hours", 7.5),)
    assert shipped(replace(base, lanes=lanes, resources=hours), 3, 4) == [1, 2]


def test_whole_and_divisible_goods_share_a_room() -> None:
    """Two of four sets are usable and 10.5 litres due, of ten there is room for: all sets come in
    (the last one is scrapped), and of the oil no more than its share."""
    network = SupplyNetwork(
        (Node("shop", storage_capacity=10.0),),
        (Sku("oil"), Sku("set", whole_units=True)),
        (Stock("shop", "oil"), Stock("shop", "set")),
        (
            Lane("oil", "shop", "oil", LeadTime(1), initial_in_transit=(10.5,)),
            Lane("set", "shop", "set", LeadTime(1), yield_share=0.7, initial_in_transit=(4.0,)),
        ),
    )
    simulator = Simulator(compile_network(network), 1)
    simulator.reset(0)
    oil, sets = simulator.state.on_hand[:, 0]
    assert (oil, sets) == (pytest.approx(10.5 * 10.0 / (10.5 + 0.7 * 4.0)), 2.0)


def test_parts_over_periods_keep_their_mean() -> None:
    """A share of 0.3 of single units: three of ten, spread over the periods."""
    ups = [np.floor(0.3 + rounding_of(t)) for t in range(1000)]
    assert sum(ups) == pytest.approx(300, abs=2)
    assert max(np.diff(np.flatnonzero(ups))) <= 5


def stocked(**stock: Any) -> SupplyNetwork:
    """One pair, in packs of six."""
    lane = Lane("buy", "shop", "set", LeadTime(1), order_multiple=6.0)
    return SupplyNetwork((Node("shop"),), (Sku("set"),), (Stock("shop", "set", **stock),), (lane,))


def asked(*numbers: Any, **more: Any) -> dict[str, Demand]:
    return {"demand": Demand.from_config(DemandConfig(*numbers, **more), 0)}


DIVIDED = {
    "a stock of parts": (stocked(initial_stock=2.5), "initial_stock of 'set@shop' is 2.5"),
    "demand for parts": (
        stocked(**asked("normal", 9, 2, whole_units=False)), "customers of 'set@shop' ask for"
    ),
    "a history of parts": (stocked(**asked("history", history=[1, 2.5])), "ask for parts of units"),
    "parts on the way": (
        replace(stocked(), lanes=(replace(stocked().lanes[0], initial_in_transit=(0.5,)),)),
        "lane 'buy' begins with 0.5",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("network", "reason"), DIVIDED.values(), ids=DIVIDED)
def test_parts_that_are_given(network: SupplyNetwork, reason: str) -> None:
    """Without a word they say that units are divisible; against one, the network is refused."""
    assert not whole_skus(network)
    told = replace(network, skus=(Sku("set", whole_units=True),))
    with pytest.raises(NetworkError, match="SKU 'set': whole_units is true, but ") as error:
        compile_network(told)
    assert reason in str(error.value)


def test_which_skus_come_in_whole_units() -> None:
    """Whole multiples of one or more make them whole; the word of the SKU goes before."""
    assert whole_skus(stocked(**asked("poisson", 5))) == {"set"}
    [lane] = stocked().lanes
    for multiple in (0.0, 0.5, 2.5):
        divided = replace(stocked(), lanes=(replace(lane, order_multiple=multiple),))
        assert not whole_skus(divided)
        told = replace(divided, skus=(Sku("set", whole_units=True),))
        assert whole_skus(told) == {"set"}
        assert compile_network(told).arrays.rules.pack[0] == max(1.0, np.ceil(2 * multiple))
    assert not whole_skus(replace(stocked(), skus=(Sku("set", whole_units=False),)))
