"""Random small networks that use everything a network can have.

`random_network` draws from a seeded `random.Random`, so that a seed names a network everywhere:
in the properties, in the mutation check, in a debugger.
"""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import numpy as np

from envs.demand import Demand, DemandConfig
from envs.lead_time import LeadTime
from envs.network import (
    InTransitPayer,
    Lane,
    LaneInput,
    Node,
    Receive,
    Regime,
    RegimeState,
    Resource,
    ResourceUse,
    ServeOrder,
    Sku,
    Stock,
    SupplyNetwork,
    Timing,
    Unfilled,
)

__all__ = ["CALENDAR", "random_network"]

CALENDAR = 10  # periods of every history and multiplier; shorter than a run, so that it wraps

KINDS = ("plant", "warehouse", "store")


def random_network(random: Random, *, drawn: bool = True, divisible: bool = False) -> SupplyNetwork:
    """Return a network of 1-6 nodes and 1-3 SKUs.

    drawn: with random demand, lead times and regimes; else all is known. divisible: no order
    multiples. Goods flow from nodes and SKUs of lower number to higher, but for transshipment.
    """
    nodes = [f"n{i}" for i in range(random.randint(1, 6))]
    skus = [f"s{k}" for k in range(random.randint(1, 3))]
    stocked = {(n, s) for n in nodes for s in skus if s == skus[0] or random.random() < 0.6}
    regimes = _regimes(random) if drawn else ()
    resources = tuple(
        Resource(f"r{i}", random.choice([0.0, 6.0, 15.0, 40.0]))
        for i in range(random.randint(0, 2))
    )
    lanes: list[Lane] = []

    def add(node: str, sku: str, inputs: tuple[LaneInput, ...], share: float) -> None:
        lanes.append(
            _lane(random, f"l{len(lanes)}", node, sku, inputs, share, drawn, regimes, resources)
        )

    for node, sku in sorted(stocked):
        above = [n for n in nodes if n < node and (n, sku) in stocked]
        parts = [s for s in skus if s < sku and (node, s) in stocked]
        for i in range(random.choice([1, 1, 2, 3])):
            way = random.choice(["buy", "truck", "make"])
            inputs: tuple[LaneInput, ...] = ()
            if way == "truck" and above:
                inputs = (LaneInput(random.choice(above), sku),)
            elif way == "make" and parts:
                inputs = tuple(LaneInput(node, s, random.choice([0.5, 1.0, 3.0])) for s in parts)
            add(node, sku, inputs, 1.0 if i == 0 else random.choice([0.0, 0.5, 2.0]))
        if above and random.random() < 0.3:  # transshipment: a circle of two lanes
            other = random.choice(above)
            add(node, sku, (LaneInput(other, sku),), 0.0)
            add(other, sku, (LaneInput(node, sku),), 0.0)
    if divisible:
        lanes = [replace(lane, order_multiple=0.0) for lane in lanes]
    customers = {pair for pair in sorted(stocked) if random.random() < 0.5} or {min(stocked)}
    stocks = tuple(
        _stock(random, node, sku, (node, sku) in customers, drawn, regimes)
        for node, sku in sorted(stocked)
    )
    return SupplyNetwork(
        tuple(Node(n, random.choice(KINDS)) for n in nodes),
        tuple(Sku(s, random.choice([0.0, 2.0])) for s in skus),
        stocks,
        tuple(lanes),
        resources,
        regimes,
        Timing(
            random.choice(list(Receive)),
            random.choice(list(ServeOrder)),
            random.choice(list(Unfilled)),
            random.choice(list(InTransitPayer)),
        ),
    )


def _lane(
    random: Random,
    name: str,
    node: str,
    sku: str,
    inputs: tuple[LaneInput, ...],
    share: float,
    drawn: bool,
    regimes: tuple[Regime, ...],
    resources: tuple[Resource, ...],
) -> Lane:
    lead_time = LeadTime(random.randint(1 if inputs else 0, 3))
    if drawn and random.random() < 0.4:
        lead_time = LeadTime(lead_time.minimum, 1.0, 0.8, longest=lead_time.minimum + 4)
    delay = random.choice([0, 0, 1, 2])
    return Lane(
        name,
        node,
        sku,
        lead_time,
        inputs=inputs,
        resources=tuple(
            ResourceUse(r.id, random.choice([0.5, 1.0, 2.0]))
            for r in resources
            if random.random() < 0.4
        ),
        regimes=tuple(r.id for r in regimes if random.random() < 0.4),
        unit_cost=random.choice([0.0, 1.5]),
        fixed_cost=random.choice([0.0, 8.0]),
        base_share=share,
        minimum_order=random.choice([0.0, 0.0, 3.0]),
        maximum_order=random.choice([math.inf, math.inf, 12.0, 3.0]),
        order_multiple=random.choice([0.0, 1.0, 4.0]),
        information_delay=delay,
        initial_in_transit=tuple(
            float(random.randint(0, 6)) for _ in range(random.randint(0, lead_time.maximum))
        ),
        initial_orders=tuple(float(random.randint(0, 6)) for _ in range(random.randint(0, delay))),
    )


def _stock(
    random: Random, node: str, sku: str, customer: bool, drawn: bool, regimes: tuple[Regime, ...]
) -> Stock:
    demand, regime = (_demand(random, drawn, regimes)) if customer else (None, None)
    return Stock(
        node,
        sku,
        holding_cost=random.choice([0.0, 1.0]),
        backlog_cost=random.choice([0.0, 4.0]),
        lost_sale_cost=random.choice([0.0, 9.0]),
        price=random.choice([0.0, 5.0]),
        p_wait=random.choice([0.0, 0.3, 1.0]),
        initial_stock=float(random.randint(0, 20)),
        serve_limit=random.choice([math.inf, 7.0]),
        demand=demand,
        demand_regime=regime,
    )


def _demand(random: Random, drawn: bool, regimes: tuple[Regime, ...]) -> tuple[Demand, str | None]:
    if not drawn or random.random() < 0.2:
        history = np.array([float(random.randint(0, 9)) for _ in range(CALENDAR)])
        return Demand(float(history.mean()) + 1.0, 2.0, history=history), None
    config = random.choice(
        [
            DemandConfig("poisson", mean=4.0),
            DemandConfig("geometric", mean=3.0),
            DemandConfig("negative_binomial", mean=4.0, standard_deviation=3.0),
            DemandConfig("normal", mean=5.0, standard_deviation=2.0, whole_units=False),
            DemandConfig("uniform", low=0.0, high=6.0),
        ]
    )
    multiplier = None
    if random.random() < 0.3:
        multiplier = np.array([random.choice([0.0, 0.5, 1.0, 2.0]) for _ in range(CALENDAR)])
    correlation = random.choice([0.0, 0.6])
    demand = Demand.from_config(config, 0, multiplier=multiplier, correlation=correlation)
    return demand, random.choice([None, *(r.id for r in regimes)])


def _regimes(random: Random) -> tuple[Regime, ...]:
    regimes = []
    for i in range(random.randint(0, 2)):
        states = tuple(
            RegimeState(
                f"state {j}",
                availability=random.choice([0.0, 0.5, 1.0]),
                lead_time=random.choice([1.0, 1.5, 2.0]),
                demand=random.choice([0.0, 0.5, 2.0]),
            )
            for j in range(random.randint(2, 3))
        )
        stay = 0.6
        leave = (1.0 - stay) / (len(states) - 1)
        matrix = stay * np.eye(len(states)) + leave * (1.0 - np.eye(len(states)))
        regimes.append(Regime(f"g{i}", states, tuple(tuple(row) for row in matrix.tolist())))
    return tuple(regimes)
