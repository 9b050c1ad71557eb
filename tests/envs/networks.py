"""Random small networks that use everything a network can have.

`random_network` draws from a seeded `random.Random`, so that a seed names a network everywhere:
in the properties, in the mutation check, in a debugger.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import groupby
from random import Random
from typing import Any

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.errors import NetworkError
from envs.network.calendar import Calendar
from envs.network.demand import Demand, DemandConfig
from envs.network.generate_config import GenerateConfig
from envs.network.lane import (
    Allocation,
    Lane,
    LaneInput,
    Limits,
    Resource,
    ResourceUse,
    Rounding,
    Speed,
)
from envs.network.lead_time import LeadTime
from envs.network.network import (
    InTransitPayer,
    Node,
    Receive,
    ServeOrder,
    Sku,
    Stock,
    SupplyNetwork,
    Timing,
    Unfilled,
)
from envs.network.regime import EventWindow, MarkovChain, Regime, RegimeProcess, RegimeState
from envs.network.whole_units import shipping_step, whole_skus
from envs.scenarios.one_warehouse import OneWarehouseConfig

__all__ = ["CALENDAR", "random_network", "rows_are_the_stocks"]

CALENDAR = 10  # periods of every history and multiplier; shorter than a run, so that it wraps

KINDS = ("plant", "warehouse", "store")
# All have period 0 in common, so that a node's review and a lane's calendar always meet.
OPENINGS = (
    Calendar(2, (0,)),
    Calendar(3, (0, 1)),
    Calendar(5, (0, 2, 3), closed_on=(5, 7), open_on=(9,)),
)


def random_network(
    random: Random,
    *,
    drawn: bool = True,
    divisible: bool = False,
    closes: bool = True,
    hub: bool = False,
) -> SupplyNetwork:
    """Return a network of 1-6 nodes and 1-3 SKUs.

    drawn: with random demand, lead times and regimes; else all is known. divisible: no whole
    units. closes: with calendars of shipping, transit, receiving and resources. hub: an SKU's
    trucks all come from one node, where lanes compete for its stock. Goods flow from nodes and SKUs
    of lower number to higher, but for transshipment.
    """
    nodes = [f"n{i}" for i in range(random.choice([1, 2, 3, 4, 5, 6]))]
    skus = [f"s{k}" for k in range(random.choice([1, 1, 2, 3]))]
    stocked = {(n, s) for n in nodes for s in skus if s == skus[0] or random.random() < 0.6}
    timing = Timing(
        random.choice(list(Receive)),
        random.choice(list(ServeOrder)),
        random.choice(list(Unfilled)),
        random.choice(list(InTransitPayer)),
    )
    # Rules hide one another, so that a third of all networks do without each family of them.
    regimes = _regimes(random, drawn) if random.random() < 0.67 else ()
    count = random.randint(1, 3) if random.random() < 0.67 else 0
    resources = tuple(_resource(random, f"r{i}", regimes) for i in range(count))
    busy = random.choice([0.15, 0.4])
    openings: tuple[Calendar, ...] = OPENINGS if random.random() < 0.67 else ()
    capacities = (15.0, 40.0) if random.random() < 0.67 else ()
    lanes: list[Lane] = []

    def add(node: str, sku: str, inputs: tuple[LaneInput, ...], share: float, speed: Speed) -> None:
        name = f"l{len(lanes)}"
        shortest = 1 if inputs and timing.receive is Receive.before_order else 0
        lane = _lane(random, name, node, sku, inputs, shortest, drawn, regimes)
        lanes.append(
            replace(
                lane,
                base_share=share,
                speed=speed,
                calendar=random.choice([None, None, None, *openings]),
                resources=tuple(
                    ResourceUse(r.id, random.choice([0.5, 1.0, 2.0]))
                    for r in resources
                    if random.random() < busy
                ),
            )
        )

    for node, sku in sorted(stocked):
        above = [n for n in nodes if n < node and (n, sku) in stocked]
        parts = [s for s in skus if s < sku and (node, s) in stocked]
        for i in range(random.choice([1, 1, 2, 3])):
            way = random.choice(["buy", "truck", "truck", "make"])
            inputs: tuple[LaneInput, ...] = ()
            if way == "truck" and above:
                sender = random.choice([above[0], *above])
                inputs = (LaneInput(above[0] if hub else sender, sku),)
            elif way == "make" and parts:
                inputs = tuple(LaneInput(node, s, random.choice([0.5, 1.0, 3.0])) for s in parts)
            if i == 0:
                add(node, sku, inputs, 1.0, Speed.regular)
            else:
                add(node, sku, inputs, random.choice([0.0, 0.5, 2.0]), random.choice(list(Speed)))
        if above and random.random() < 0.3:  # transshipment: a circle of two lanes
            other = random.choice(above)
            add(node, sku, (LaneInput(other, sku),), 0.0, Speed.regular)
            add(other, sku, (LaneInput(node, sku),), 0.0, Speed.regular)
    if divisible:
        usual = Rounding.nearest  # the default depends on how large a unit is
        lanes = [replace(q, order_multiple=0.0, rounding=q.rounding or usual) for q in lanes]
    if random.random() < 0.33:
        lanes = [replace(lane, fixed_cost=0.0, yield_share=1.0) for lane in lanes]
    customers = {pair for pair in sorted(stocked) if random.random() < 0.5} or {min(stocked)}
    stocks = tuple(
        _stock(random, node, sku, (node, sku) in customers, drawn, divisible, regimes)
        for node, sku in sorted(stocked)
    )
    network = SupplyNetwork(
        tuple(
            Node(
                n,
                random.choice(KINDS),
                storage_capacity=random.choice([math.inf, math.inf, *capacities]),
                review=random.choice([None, None, None, *openings]),
            )
            for n in nodes
        ),
        tuple(
            Sku(
                s,
                random.choice([0.0, 2.0]),
                random.choice([0.0, 1.0, 2.5]),
                whole_units=False if divisible else None,
            )
            for s in skus
        ),
        stocks,
        tuple(lanes),
        resources,
        regimes,
        timing,
    )
    if closes:
        network = _with_calendars(Random(repr(lanes)), network)
    return network if divisible else _with_whole_units(random, network)


def _with_calendars(random: Random, network: SupplyNetwork) -> SupplyNetwork:
    """A third of all networks close on some days; what else they have is as without."""
    if random.random() < 0.67:
        return network

    def some() -> Calendar | None:
        return random.choice([None, None, *OPENINGS])

    return replace(
        network,
        nodes=tuple(replace(n, shipping=some(), receiving=some()) for n in network.nodes),
        lanes=tuple(
            replace(q, shipping=some(), transit=some(), receiving=some()) for q in network.lanes
        ),
        resources=tuple(replace(r, calendar=some()) for r in network.resources),
    )


def _with_whole_units(random: Random, network: SupplyNetwork) -> SupplyNetwork:
    """SKUs that say whether they come in whole units, or leave it to what their lanes order."""
    if random.random() < 0.4:
        lanes = tuple(replace(q, order_multiple=q.order_multiple or 1.0) for q in network.lanes)
        network = replace(network, lanes=lanes)
    for k, sku in enumerate(network.skus):
        skus = list(network.skus)
        skus[k] = replace(sku, whole_units=random.choice([None, False, True, True]))
        changed = replace(network, skus=tuple(skus))
        try:
            whole = whole_skus(changed)
            for lane in network.lanes:
                lane.quantities(shipping_step(lane, whole))
        except NetworkError:  # it begins with parts, or its limits leave no whole units
            continue
        network = changed
    return network


def rows_are_the_stocks(network: SupplyNetwork, net: CompiledNetwork) -> None:
    """Row p of the arrays is stock p of the network, and each node kind owns one run of rows."""
    nodes = [net.agent_nodes[n].id for n in net.arrays.stocks.node_of]
    assert nodes == [s.node for s in network.stocks]
    assert net.arrays.stocks.holding_cost.tolist() == [s.holding_cost for s in network.stocks]
    assert net.arrays.stocks.initial_stock.tolist() == [s.initial_stock for s in network.stocks]
    delivered = [(network.stocks[p].node, network.stocks[p].sku) for p in net.arrays.lanes.to]
    assert delivered == [(q.node, q.sku) for q in network.lanes]
    kinds = [net.agent_nodes[n].kind for n in net.arrays.stocks.node_of]
    assert len([k for k, _ in groupby(kinds)]) == len(set(kinds))


def _resource(random: Random, name: str, regimes: tuple[Regime, ...]) -> Resource:
    load_size = random.choice([None, None, 7.0])
    return Resource(
        name,
        random.choice([0.0, 6.0, 15.0, 40.0, math.inf]),
        limits=random.choice([Limits.shipments, Limits.shipments, Limits.orders]),
        fixed_cost=random.choice([0.0, 0.0, 12.0]),
        load_size=load_size,
        load_cost=0.0 if load_size is None else 3.0,
        regimes=_some(random, regimes, 0.3),
        allocation=random.choice([Allocation.proportional, Allocation.priority]),
    )


def _some(random: Random, regimes: tuple[Regime, ...], chance: float) -> tuple[str, ...]:
    return tuple(r.id for r in regimes if random.random() < chance)


def _lane(
    random: Random,
    name: str,
    node: str,
    sku: str,
    inputs: tuple[LaneInput, ...],
    shortest: int,
    drawn: bool,
    regimes: tuple[Regime, ...],
) -> Lane:
    lead_time = LeadTime(max(shortest, random.choice([0, 0, 1, 2, 3])))
    if drawn and random.random() < 0.4:
        lead_time = LeadTime(
            lead_time.minimum, 1.0, 0.8, lead_time.minimum + 4, random.random() < 0.4
        )
    delay = random.choice([0, 0, 1, 2])
    load_size = random.choice([None, None, None, 5.0])
    split_delay = random.choice([0, 0, 0, 1, 3])
    full_loads = load_size is not None and random.random() < 0.5
    multiple, minimum = random.choice([0.0, 1.0, 4.0]), random.choice([0.0, 0.0, 3.0])
    maximum = random.choice([math.inf, math.inf, 12.0, 3.0])
    if maximum < max(multiple, minimum, (load_size or 0.0) * full_loads):
        maximum = 12.0
    if multiple == 4.0 and full_loads:
        maximum = 40.0  # twice what four and five fit into
    return Lane(
        name,
        node,
        sku,
        lead_time,
        inputs=inputs,
        regimes=_some(random, regimes, 0.5),
        unit_cost=random.choice([0.0, 1.5]),
        fixed_cost=random.choice([0.0, 8.0]),
        load_size=load_size,
        load_cost=0.0 if load_size is None else random.choice([0.0, 2.0]),
        full_loads=full_loads,
        minimum_order=minimum,
        maximum_order=maximum,
        order_multiple=multiple,
        rounding=random.choice([None, None, *Rounding]),
        priority=random.choice([0, 0, 1, 3]),
        yield_share=random.choice([1.0, 1.0, 0.8]),
        split_share=0.0 if split_delay == 0 else random.choice([0.25, 0.6, 1.0]),
        split_delay=split_delay,
        price=random.choice([0.0, 2.0]) if inputs else 0.0,
        unfilled_cost=random.choice([None, None, 0.5]),
        in_transit_cost=random.choice([None, None, 0.25]),
        information_delay=delay,
        initial_in_transit=tuple(
            float(random.randint(0, 6)) for _ in range(random.randint(0, lead_time.maximum))
        ),
        initial_orders=tuple(float(random.randint(0, 6)) for _ in range(random.randint(0, delay))),
    )


def _stock(
    random: Random,
    node: str,
    sku: str,
    customer: bool,
    drawn: bool,
    divisible: bool,
    regimes: tuple[Regime, ...],
) -> Stock:
    return Stock(
        node,
        sku,
        holding_cost=random.choice([0.0, 1.0]),
        backlog_cost=random.choice([0.0, 4.0]),
        lost_sale_cost=random.choice([0.0, 9.0]),
        price=random.choice([0.0, 5.0]),
        p_wait=random.choice([0.0, 0.3, 1.0]),
        initial_stock=float(random.randint(0, 20)),
        serve_limit=random.choice([math.inf, 7.5]),
        demand=_demand(random, drawn, divisible) if customer else None,
        demand_regimes=_some(random, regimes, 0.3) if customer else (),
        allocation=random.choice(list(Allocation)),
        learned_allocation=random.random() < 0.4,
    )


def _demand(random: Random, drawn: bool, divisible: bool) -> Demand:
    if not drawn or random.random() < 0.2:
        crumb = 0.1 if divisible else 0.0  # keeps a history of whole units from being rounded
        history = np.array([random.choice([0.0, 1.0, 4.0, 9.0]) + crumb for _ in range(CALENDAR)])
        return Demand(float(history.mean()) + 1.0, 2.0, history=history)
    config = random.choice(
        [
            DemandConfig("poisson", mean=4.0),
            DemandConfig("geometric", mean=3.0),
            DemandConfig("compound", mean=3.0, order_size=5.0),
            DemandConfig("negative_binomial", mean=4.0, standard_deviation=3.0),
            DemandConfig("normal", mean=5.0, standard_deviation=2.0, whole_units=False),
            DemandConfig("uniform", low=0.0, high=6.0),
        ]
    )
    multiplier = None
    if random.random() < 0.3:
        multiplier = np.array([random.choice([0.0, 0.5, 1.0, 2.0]) for _ in range(CALENDAR)])
    correlation = random.choice([0.0, 0.6])
    return Demand.from_config(config, 0, multiplier=multiplier, correlation=correlation)


def _regimes(random: Random, drawn: bool) -> tuple[Regime, ...]:
    """Chains and events; with `drawn` False events only, at a date that is known."""
    regimes = []
    for i in range(random.randint(1, 3)):
        if not drawn or random.random() < 0.3:
            first = random.randint(0, 8)
            last = first + (random.randint(0, 5) if drawn else 0)
            process: RegimeProcess = EventWindow(first, last, random.choice([None, 1, 4]))
            states: list[RegimeState] = [RegimeState("as usual"), _state(random, "struck")]
        else:
            states = [_state(random, f"state {j}") for j in range(random.randint(2, 3))]
            stay = 0.6
            leave = (1.0 - stay) / (len(states) - 1)
            matrix = stay * np.eye(len(states)) + leave * (1.0 - np.eye(len(states)))
            process = MarkovChain(tuple(tuple(row) for row in matrix.tolist()))
        regimes.append(
            Regime(
                f"g{i}",
                tuple(states),
                process,
                seen_after=random.choice([None, 0, 2]),
                forecast_accuracy=random.choice([(), (1.0, 0.7)]),
            )
        )
    return tuple(regimes)


def _state(random: Random, name: str) -> RegimeState:
    def factor(*values: float) -> float:
        return random.choice([1.0, *values])

    return RegimeState(
        name,
        availability=factor(0.0, 0.5),
        lead_time=factor(0.4, 1.5, 2.0),
        lead_time_spread=factor(0.5, 2.0),
        yield_share=factor(0.0, 0.7),
        cost=factor(1.5),
        demand=factor(0.0, 0.5, 2.0),
        ordering=factor(0.0),
        transit=factor(0.0),
        receiving=factor(0.0),
    )


def one_warehouse(**values: Any) -> OneWarehouseConfig:
    """A warehouse and its stores, with plain numbers where `values` says nothing."""
    plain: dict[str, Any] = {
        "horizon": 100, "base_policy": "forecast_base_stock",
        "skus": 1, "correlation": 0.0, "warehouse_lead_time": 3, "warehouse_holding_cost": 0.5,
        "store_lead_time": 2, "store_holding_cost": 1.0, "allocation": Allocation.proportional,
    }  # fmt: skip
    return OneWarehouseConfig(kind="one_warehouse", **(plain | values))


def map_config(**values: Any) -> GenerateConfig:
    """A small map, with plain numbers where `values` says nothing."""
    plain: dict[str, Any] = {
        "seed": 0, "suppliers": 2, "plants": 1, "warehouses": 2, "stores": 8, "skus": 3,
        "pairs": None, "plants_per_sku": 1.0, "sources_per_plant": 2.0,
        "sources_per_warehouse": 1.0, "sources_per_store": 1.5, "alternate_share": 0.0,
        "modes": ["truck"], "transshipment": True, "delay": 0.0, "demand_mean": 4.0,
        "dispersion": 0.0, "p_wait": 0.0, "utilisation": 0.7, "disruptions": False,
        "seen_after": None,
    }  # fmt: skip
    return GenerateConfig(**(plain | values))
