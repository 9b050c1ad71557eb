"""Status-aware base-stock: which lane steps in."""

from __future__ import annotations

import numpy as np

from envs.compiled.network import compile_network
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, LaneInput, Speed
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.policies.status_aware import lane_weights, lateral_lanes


def three_shops() -> SupplyNetwork:
    """Shops a, b and c buy from a dear second supplier too, or send goods round: a > b > c > a."""
    lanes = [
        Lane("depot", "depot", "tea", LeadTime(1)),
        *(
            Lane(f"usual {n}", n, "tea", LeadTime(1), inputs=(LaneInput("depot", "tea"),))
            for n in "abc"
        ),
        *(
            Lane(f"{a} > {b}", b, "tea", LeadTime(1), inputs=(LaneInput(a, "tea"),), base_share=0.0)
            for a, b in ("ab", "bc", "ca")
        ),
        *(Lane(f"dear {n}", n, "tea", LeadTime(1), unit_cost=9.0, base_share=0.0) for n in "ab"),
        Lane("courier c", "c", "tea", LeadTime(1), speed=Speed.expedite),
    ]
    demand = Demand.from_config(DemandConfig("poisson", mean=4.0), 0)
    stocks = (Stock("depot", "tea"), *(Stock(n, "tea", demand=demand) for n in "abc"))
    nodes = (Node("depot", "depot"), *(Node(n, "shop") for n in "abc"))
    return SupplyNetwork(nodes, (Sku("tea"),), stocks, tuple(lanes))


def test_lanes_in_a_circle_are_lateral() -> None:
    """Two lanes there and back, or more around; not the way down from the depot."""
    net = compile_network(three_shops())
    lateral = {q.id for q, is_lateral in zip(net.network.lanes, lateral_lanes(net), strict=True)
               if is_lateral}  # fmt: skip
    assert lateral == {"a > b", "b > c", "c > a"}


def test_a_neighbour_never_steps_in() -> None:
    """Where the usual lane is down the second supplier steps in, though the neighbour is cheaper;
    where there is no second supplier, the order waits for the usual lane."""
    net = compile_network(three_shops())
    names = [q.id for q in net.network.lanes]
    up = np.ones((len(names), 2), bool)
    up[[names.index(f"usual {n}") for n in "abc"], 1] = False
    weights = lane_weights(net, up, lateral_lanes(net))
    chosen = [{n for n, w in zip(names, column, strict=True) if w > 0} for column in weights.T]
    fast = {"courier c"}
    assert chosen[0] - fast == {"depot", "usual a", "usual b", "usual c"}
    assert chosen[1] - fast == {"depot", "dear a", "dear b", "usual c"}
