"""Networks that contradict themselves are refused, with the part and the reason named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from envs.compiled.network import compile_network
from envs.errors import NetworkError
from envs.network.calendar import Calendar
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Allocation, Lane, LaneInput, Resource, ResourceUse
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.network.regime import MarkovChain, Regime, RegimeState
from tests.envs.networks import random_network, rows_are_the_stocks

DEMAND = Demand.from_config(DemandConfig("poisson", mean=5.0), 0)


def two_nodes(**changes: Any) -> SupplyNetwork:
    """A depot that feeds a shop, with a truck and a supplier state."""
    parts: dict[str, Any] = {
        "nodes": (Node("depot", "warehouse"), Node("shop", "store")),
        "skus": (Sku("tea"), Sku("pot")),
        "stocks": (Stock("depot", "tea"), Stock("shop", "tea", demand=DEMAND)),
        "lanes": (buy(), truck()),
        "resources": (Resource("fleet", 20.0),),
        "regimes": (regime(),),
    }
    return SupplyNetwork(**{**parts, **changes})


def buy(**changes: Any) -> Lane:
    return Lane(**{"id": "buy", "node": "depot", "sku": "tea", "lead_time": LeadTime(2), **changes})


def truck(**changes: Any) -> Lane:
    fields: dict[str, Any] = {
        "id": "truck",
        "node": "shop",
        "sku": "tea",
        "lead_time": LeadTime(1),
        "inputs": (LaneInput("depot", "tea"),),
        "resources": (ResourceUse("fleet"),),
        "regimes": ("weather",),
    }
    return Lane(**{**fields, **changes})


def regime(transition: Any = ((0.9, 0.1), (0.5, 0.5))) -> Regime:
    return Regime(
        "weather", (RegimeState("fair"), RegimeState("foul", 0.5)), MarkovChain(transition)
    )


def test_good_network_compiles() -> None:
    """What the cases below break is whole to begin with."""
    net = compile_network(two_nodes())
    assert [s.label for s in net.network.stocks] == ["tea@depot", "tea@shop"]
    assert net.demand.mean.tolist() == [5.0, 5.0]


NAN = float("nan")
BROKEN_PARTS: list[tuple[Callable[[], object], str]] = [
    # what is built, what the message says
    (lambda: Sku("tea", value=-1.0), "SKU 'tea': value is -1.0"),
    (lambda: Resource("fleet", NAN), "Resource 'fleet': capacity is nan"),
    (lambda: Stock("a", "tea", holding_cost=-1.0), "Stock 'tea@a': holding_cost is -1.0"),
    (lambda: Stock("a", "tea", backlog_cost=NAN), "backlog_cost is nan"),
    (lambda: Stock("a", "tea", initial_stock=-3.0), "initial_stock is -3.0"),
    (lambda: Stock("a", "tea", serve_limit=-1.0), "serve_limit is -1.0"),
    (lambda: Stock("a", "tea", p_wait=1.5), "p_wait is 1.5; expected a share from 0 to 1"),
    (lambda: Stock("a", "tea", target_service=-0.1), "target_service is -0.1"),
    (lambda: buy(unit_cost=-1.0), "Lane 'buy': unit_cost is -1.0"),
    (lambda: buy(order_multiple=-1.0), "order_multiple is -1.0"),
    (lambda: buy(information_delay=-1), "information_delay is -1"),
    (lambda: buy(maximum_order=NAN), "maximum_order is nan"),
    (
        lambda: buy(minimum_order=9.0, maximum_order=5.0),
        "minimum_order is 9.0; expected at most maximum_order, 5.0",
    ),
    (lambda: buy(initial_in_transit=(1.0, 1.0, 1.0)), "initial_in_transit has 3 periods"),
    (lambda: buy(initial_in_transit=(-1.0,)), "initial_in_transit[0] is -1.0"),
    (lambda: buy(initial_orders=(1.0,)), "initial_orders has 1 periods"),
    (lambda: buy(information_delay=2, initial_orders=(0.0, NAN)), "initial_orders[1] is nan"),
    (lambda: buy(price=1.0), "there is no sender to earn it"),
    (lambda: buy(load_cost=1.0), "load_cost is 1.0 without a load_size"),
    (lambda: buy(full_loads=True), "full_loads needs a load_size"),
    (lambda: buy(split_share=0.5), "expected both 0 or both above 0"),
    (lambda: buy(yield_share=0.0), "nothing would arrive"),
    (lambda: Calendar(7, ()), "at least one open period"),
    (lambda: Resource("fleet", allocation=Allocation.fair_share), "proportional or priority"),
    (lambda: truck(inputs=(LaneInput("depot", "tea", 0.0),)), "takes 0.0 per unit; expected > 0"),
    (lambda: truck(resources=(ResourceUse("fleet", -1.0),)), "takes -1.0 per unit; expected > 0"),
    (
        lambda: RegimeState("foul", availability=1.2),
        "availability is 1.2; expected a share from 0 to 1",
    ),
    (lambda: RegimeState("foul", lead_time=-1.0), "lead_time is -1.0"),
    (lambda: regime(((1.0,),)), "expected (2, 2) non-negative probabilities"),
    (lambda: regime(((1.1, -0.1), (0.5, 0.5))), "non-negative"),
    (lambda: regime(((0.9, 0.2), (0.5, 0.5))), "rows of transition sum to [1.1"),
]


@pytest.mark.parametrize(("build", "reason"), BROKEN_PARTS, ids=[r for _, r in BROKEN_PARTS])
def test_broken_part(build: Callable[[], object], reason: str) -> None:
    """A part that can't be is refused when it is built."""
    with pytest.raises(NetworkError) as error:
        build()
    assert reason in str(error.value)


POT = Stock("depot", "pot")
MAKE_TEA = Lane("brew", "depot", "tea", LeadTime(1), inputs=(LaneInput("depot", "pot"),))
MAKE_POT = Lane("bake", "depot", "pot", LeadTime(1), inputs=(LaneInput("depot", "tea"),))
SAME = Lane("same", "depot", "tea", LeadTime(1), inputs=(LaneInput("depot", "tea"),))
BROKEN_NETWORKS: list[tuple[Callable[[], SupplyNetwork], str]] = [
    (lambda: two_nodes(nodes=(Node("depot", "w"),)), "node 'shop' is not defined"),
    (
        lambda: two_nodes(lanes=(buy(), truck(lead_time=LeadTime(0)))),
        "expected an integer >= 1 for a lane with inputs",
    ),
    (lambda: two_nodes(nodes=(*two_nodes().nodes, Node("shop", "x"))), "'shop' is defined twice"),
    (lambda: two_nodes(skus=(Sku("te"),)), "SKU 'tea' is not defined. Did you mean 'te'?"),
    (lambda: two_nodes(skus=(Sku("tea"), Sku("tea"))), "SKU 'tea' is defined twice"),
    (
        lambda: two_nodes(stocks=(*two_nodes().stocks, Stock("shop", "tea"))),
        "stocked pair ('shop', 'tea') is defined twice",
    ),
    (lambda: two_nodes(lanes=(buy(), truck(), buy())), "lane 'buy' is defined twice"),
    (lambda: two_nodes(resources=()), "Lane 'truck': resource 'fleet' is not defined"),
    (lambda: two_nodes(regimes=()), "Lane 'truck': regime 'weather' is not defined"),
    (
        lambda: two_nodes(
            stocks=(two_nodes().stocks[0], Stock("shop", "tea", demand_regimes=("x",)))
        ),
        "Stock 'tea@shop': regime 'x' is not defined",
    ),
    (lambda: two_nodes(lanes=(buy(), truck(node="home"))), "node 'home' is not defined"),
    (
        lambda: two_nodes(lanes=(buy(), truck(sku="pot"))),
        "Lane 'truck': SKU 'pot' is not stocked at node 'shop'",
    ),
    (
        lambda: two_nodes(lanes=(buy(), truck(inputs=(LaneInput("depot", "pot"),)))),
        "SKU 'pot' is not stocked at node 'depot'",
    ),
    (lambda: two_nodes(lanes=(buy(),)), "Stock 'tea@shop' has no lane that delivers it"),
    (
        lambda: two_nodes(
            stocks=(*two_nodes().stocks, POT), lanes=(buy(), truck(), MAKE_TEA, MAKE_POT)
        ),
        "Cyclic bill of materials: pot -> tea -> pot",
    ),
    (
        lambda: two_nodes(lanes=(buy(), truck(), SAME)),
        "Cyclic bill of materials: tea -> tea",
    ),
]


@pytest.mark.parametrize(("build", "reason"), BROKEN_NETWORKS, ids=[r for _, r in BROKEN_NETWORKS])
def test_broken_network(build: Callable[[], SupplyNetwork], reason: str) -> None:
    """Parts that don't fit together are refused."""
    with pytest.raises(NetworkError) as error:
        build()
    assert reason in str(error.value)


BACK = Lane("back", "depot", "tea", LeadTime(1), inputs=(LaneInput("shop", "tea"),))
BROKEN_WHEN_COMPILED: list[tuple[Callable[[], SupplyNetwork], str]] = [
    (lambda: two_nodes(stocks=(), lanes=()), "stocks nothing"),
    (lambda: two_nodes(lanes=(buy(base_share=0.0), truck())), "'buy': the base shares"),
    (lambda: two_nodes(lanes=(truck(), BACK)), "send goods round in a circle"),
    (
        lambda: two_nodes(
            stocks=(
                Stock("depot", "tea", demand=Demand(1.0, 0.0, history=np.ones(3))),
                Stock("shop", "tea", demand=Demand(1.0, 0.0, history=np.ones(4))),
            )
        ),
        "have [3, 4] periods",
    ),
]


@pytest.mark.parametrize(
    ("build", "reason"), BROKEN_WHEN_COMPILED, ids=[r for _, r in BROKEN_WHEN_COMPILED]
)
def test_broken_when_compiled(build: Callable[[], SupplyNetwork], reason: str) -> None:
    """What only shows in the whole network is refused by the compiler."""
    network = build()
    with pytest.raises(NetworkError) as error:
        compile_network(network)
    assert reason in str(error.value)


def test_transshipment_with_share_0_is_legal() -> None:
    """Two lanes there and back are a circle that the classical policy doesn't use."""
    net = compile_network(two_nodes(lanes=(buy(), truck(), replace(BACK, base_share=0.0))))
    assert net.demand.mean.tolist() == [5.0, 5.0]


def test_stocks_are_sorted_by_kind() -> None:
    """Each node kind owns one run of rows, in the order in which the nodes name the kinds."""
    nodes = (Node("a", "store"), Node("b", "warehouse"), Node("c", "store"))
    stocks = tuple(Stock(n, "tea", demand=DEMAND) for n in "cba")
    lanes = tuple(Lane(f"buy {n}", n, "tea", LeadTime(1)) for n in "abc")
    net = compile_network(SupplyNetwork(nodes, (Sku("tea"),), stocks, lanes))
    assert [s.node for s in net.network.stocks] == ["a", "c", "b"]
    assert [n.id for n in net.agent_nodes] == ["a", "c", "b"]
    assert net.arrays.stocks.node_of.tolist() == [0, 1, 2]


def test_bill_of_materials_reaches_suppliers() -> None:
    """Components see the demand for what is made of them, times their quantity."""
    nodes = (Node("plant", "plant"),)
    stocks = (Stock("plant", "leg"), Stock("plant", "table", demand=DEMAND))
    lanes = (
        Lane("buy", "plant", "leg", LeadTime(3)),
        Lane("make", "plant", "table", LeadTime(1), inputs=(LaneInput("plant", "leg", 4.0),)),
    )
    net = compile_network(SupplyNetwork(nodes, (Sku("leg"), Sku("table")), stocks, lanes))
    assert net.demand.mean.tolist() == [20.0, 5.0]
    assert net.demand.sd == pytest.approx([4.0 * 5.0**0.5, 5.0**0.5])
    assert net.leads.path.tolist() == [4.0, 1.0]
    assert net.echelon_weight.toarray().tolist() == [[1.0, 4.0], [0.0, 1.0]]


@pytest.mark.parametrize("seed", range(20))
def test_the_rows_of_the_arrays_are_the_stocks(seed: int) -> None:
    """Whatever order the kinds and the stocks are declared in."""
    random = Random(seed)
    drawn = random_network(random)
    shuffled = replace(
        drawn,
        nodes=tuple(random.sample(drawn.nodes, len(drawn.nodes))),
        stocks=tuple(random.sample(drawn.stocks, len(drawn.stocks))),
    )
    rows_are_the_stocks(shuffled, compile_network(shuffled))
