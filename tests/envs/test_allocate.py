"""Sharing what is scarce, worked out by hand: 12 units, and three shops that want 10 each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from envs.compiled.network import compile_network
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Allocation, Lane, LaneInput, Resource, ResourceUse
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.simulation.simulator import Simulator

WEIGHTS = [f"weight_{i}" for i in range(3)]


def depot(
    allocation: Allocation,
    priority: Sequence[int] = (0, 0, 0),
    on_hand: Sequence[float] = (0.0, 0.0, 0.0),
    *,
    learned: bool = False,
) -> SupplyNetwork:
    """A depot with 12 units; shop i sells i + 1 units a day."""
    shops = ("a", "b", "c")
    demands = [Demand.from_config(DemandConfig("poisson", mean=i + 1.0), 0) for i in range(3)]
    return SupplyNetwork(
        (Node("depot", "warehouse"), *(Node(shop, "store") for shop in shops)),
        (Sku("tea"),),
        (
            Stock(
                "depot",
                "tea",
                initial_stock=12.0,
                allocation=allocation,
                learned_allocation=learned,
            ),
            *(
                Stock(shop, "tea", initial_stock=stock, demand=demand)
                for shop, stock, demand in zip(shops, on_hand, demands, strict=True)
            ),
        ),
        (
            Lane("buy", "depot", "tea", LeadTime(1)),
            *(
                Lane(shop, shop, "tea", LeadTime(1), (LaneInput("depot", "tea"),), priority=rank)
                for shop, rank in zip(shops, priority, strict=True)
            ),
        ),
    )


def shipped(network: SupplyNetwork, weights: Sequence[float] = (0.0, 0.0, 0.0)) -> list[float]:
    """Return what ships to the shops when all order 10, with these actions on the weights."""
    simulator = Simulator(compile_network(network), 1)
    simulator.reset(seed=0)
    names = simulator.groups[0].heads
    action = np.zeros((4, max(group.action_size for group in simulator.groups), 1), np.float32)
    if "weight_0" in names:
        action[0, [names.index(name) for name in WEIGHTS], 0] = weights
    target = np.array([[0.0], [10.0], [10.0], [10.0]])
    simulator.close_period(target, np.zeros_like(target), action)
    quantities: list[float] = simulator.flows.shipped[1:, 0].tolist()
    return quantities


FAIR = depot(Allocation.fair_share, learned=True)
DOUBLE = math.log(2.0) / 3.0  # an action that doubles a weight


@pytest.mark.parametrize(
    ("network", "weights", "expected"),
    [
        (depot(Allocation.proportional), (0, 0, 0), [4.0, 4.0, 4.0]),
        # The first rank gets all it wants, the second shares what is left.
        (depot(Allocation.priority, (1, 0, 1)), (0, 0, 0), [1.0, 10.0, 1.0]),
        # 2.8 days of cover for b and c; a has 4 days already.
        (depot(Allocation.fair_share, on_hand=(4, 2, 0)), (0, 0, 0), [0.0, 3.6, 8.4]),
        # Two days each.
        (depot(Allocation.fair_share), (0, 0, 0), [2.0, 4.0, 6.0]),
        (depot(Allocation.proportional, learned=True), (DOUBLE, 0, 0), [6.0, 3.0, 3.0]),
        # 12 / 6.5 days at weights of 1, 4 and 1.5.
        (FAIR, (0, DOUBLE, -DOUBLE), [1.84615, 7.38462, 2.76923]),
        # A weight that lifts rank 1 above rank 0: levels 1 / 20 against 1.
        (depot(Allocation.priority, (1, 0, 0), learned=True), (1, 0, 0), [10.0, 1.0, 1.0]),
    ],
)  # fmt: skip
def test_rules(network: SupplyNetwork, weights: Sequence[float], expected: Sequence[float]) -> None:
    """Each rule gives out all 12 units, as worked out by hand."""
    assert shipped(network, weights) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("rule", list(Allocation))
def test_no_action_is_the_rule(rule: Allocation) -> None:
    """Learned weights of 0 leave the rule as it is."""
    learned = shipped(depot(rule, (1, 0, 2), (4, 2, 0), learned=True))
    assert learned == pytest.approx(shipped(depot(rule, (1, 0, 2), (4, 2, 0))), abs=1e-12)


def test_capacity_by_priority() -> None:
    """A supplier's capacity goes to the first rank, what is left is shared."""
    network = depot(Allocation.proportional, (0, 2, 2))
    network = replace(
        network,
        lanes=tuple(
            replace(lane, inputs=(), resources=(ResourceUse("supplier", 2.0),))
            for lane in network.lanes
        ),
        resources=(Resource("supplier", 24.0, allocation=Allocation.priority),),
    )
    assert shipped(network) == pytest.approx([10.0, 1.0, 1.0])
