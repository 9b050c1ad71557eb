"""What a supply network is: nodes, SKUs, stocked pairs, lanes, resources, regimes.

A lane is the one way a SKU gets to a node: buying, trucking, producing and transshipping are all
lanes (they differ in their inputs, times, costs and limits). Everything here is frozen and
checked when it is built; `envs.compiled.compile_network` turns it into index arrays.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from envs.demand import Demand
from envs.errors import NetworkError, did_you_mean
from envs.lead_time import LeadTime

__all__ = [
    "InTransitPayer",
    "Lane",
    "LaneInput",
    "Node",
    "Receive",
    "Regime",
    "RegimeState",
    "Resource",
    "ResourceUse",
    "ServeOrder",
    "Sku",
    "Stock",
    "SupplyNetwork",
    "Timing",
    "Unfilled",
]


K = TypeVar("K", bound=Hashable)


class Receive(StrEnum):
    """When arrivals of the period reach the shelf: SIMULATOR phase 1 first, or after shipping."""

    before_order = "before_order"
    after_ship = "after_ship"


class ServeOrder(StrEnum):
    """Customers are served after the orders of the period are shipped (last) or before (first)."""

    last = "last"
    first = "first"


class InTransitPayer(StrEnum):
    """Whose holding cost goods in transit are charged at."""

    sender = "sender"
    receiver = "receiver"
    nobody = "nobody"


class Unfilled(StrEnum):
    """What happens to the part of a replenishment order that can't be shipped at once."""

    backlog = "backlog"
    cancel = "cancel"


@dataclass(frozen=True)
class Timing:
    """Order of the events in a period, because papers and peers differ.

    With `demand=last` lead-time demand spans L+1 periods (Zipkin 2008); with `first` it spans L
    (Clark and Scarf 1960).
    """

    receive: Receive = Receive.before_order
    demand: ServeOrder = ServeOrder.last
    unfilled: Unfilled = Unfilled.backlog
    in_transit_payer: InTransitPayer = InTransitPayer.nobody


@dataclass(frozen=True)
class Node:
    """A place with one agent. `kind` is a label that agents of a kind share weights by."""

    id: str
    kind: str


@dataclass(frozen=True)
class Sku:
    """An item. value: currency per unit, what a unit left at the horizon is worth."""

    id: str
    value: float = 0.0

    def __post_init__(self) -> None:
        _at_least_zero(f"SKU '{self.id}'", value=self.value)


@dataclass(frozen=True)
class Stock:
    """A SKU stocked at a node.

    holding_cost: currency per unit per period on end-of-period stock [h].
    backlog_cost: currency per unit per period on what customers and lanes wait for [b].
    lost_sale_cost: currency per unit of customer demand lost [p].
    price: currency earned per unit sold to customers.
    p_wait: share in [0, 1] of unmet customer demand that waits; the rest is lost.
    serve_limit: units per period that customers can be served at most.
    """

    node: str
    sku: str
    holding_cost: float = 0.0
    backlog_cost: float = 0.0
    lost_sale_cost: float = 0.0
    price: float = 0.0
    p_wait: float = 1.0
    target_service: float = 0.95
    initial_stock: float = 0.0
    serve_limit: float = float("inf")
    demand: Demand | None = None
    demand_regime: str | None = None

    @property
    def label(self) -> str:
        """`sku@node`, as messages and tables name the pair."""
        return f"{self.sku}@{self.node}"

    def __post_init__(self) -> None:
        _at_least_zero(
            f"Stock '{self.label}'",
            holding_cost=self.holding_cost,
            backlog_cost=self.backlog_cost,
            lost_sale_cost=self.lost_sale_cost,
            price=self.price,
            initial_stock=self.initial_stock,
            serve_limit=self.serve_limit,
        )
        for name in ("p_wait", "target_service"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise NetworkError(
                    f"Stock '{self.label}': {name} is {value}; expected a share from 0 to 1."
                )


@dataclass(frozen=True)
class LaneInput:
    """What one unit on a lane consumes: `quantity` units of a stocked pair."""

    node: str
    sku: str
    quantity: float = 1.0


@dataclass(frozen=True)
class ResourceUse:
    """How much of a resource one unit on a lane takes."""

    resource: str
    per_unit: float = 1.0


@dataclass(frozen=True)
class Lane:
    """One way to get `sku` to `node`.

    inputs: what a unit consumes; none means an outside supplier with unlimited stock.
    lead_time: periods from shipping to arrival; may be 0 only without inputs.
    information_delay: periods until the sender sees the order.
    unit_cost: currency per unit shipped. fixed_cost: currency per order placed.
    base_share: share of the classical policy's order placed here (normalised per stocked pair).
    order_multiple: 0 for divisible units, 1 for whole units, n for packs.
    initial_in_transit: units that arrive in periods 0, 1, ...
    initial_orders: units of orders that reach the sender in periods 0, 1, ...
    """

    id: str
    node: str
    sku: str
    lead_time: LeadTime
    inputs: tuple[LaneInput, ...] = ()
    resources: tuple[ResourceUse, ...] = ()
    regimes: tuple[str, ...] = ()
    unit_cost: float = 0.0
    fixed_cost: float = 0.0
    base_share: float = 1.0
    minimum_order: float = 0.0
    maximum_order: float = float("inf")
    order_multiple: float = 0.0
    information_delay: int = 0
    initial_in_transit: tuple[float, ...] = ()
    initial_orders: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        where = f"Lane '{self.id}'"
        _at_least_zero(
            where,
            unit_cost=self.unit_cost,
            fixed_cost=self.fixed_cost,
            base_share=self.base_share,
            minimum_order=self.minimum_order,
            maximum_order=self.maximum_order,
            order_multiple=self.order_multiple,
            information_delay=self.information_delay,
        )
        taken = [(f"input {i.sku}@{i.node}", i.quantity) for i in self.inputs]
        taken += [(f"resource '{u.resource}'", u.per_unit) for u in self.resources]
        for what, quantity in taken:
            if not quantity > 0:
                raise NetworkError(f"{where}: {what} takes {quantity} per unit; expected > 0.")
        if self.inputs and self.lead_time.minimum < 1:
            raise NetworkError(
                f"{where}: lead_time can be {self.lead_time.minimum}; expected an integer >= 1 for "
                "a lane with inputs (only outside supply may arrive in the same period)."
            )
        if self.minimum_order > self.maximum_order:
            raise NetworkError(
                f"{where}: minimum_order is {self.minimum_order}; expected at most maximum_order, "
                f"{self.maximum_order}."
            )
        for name, most, what in (
            ("initial_in_transit", self.lead_time.maximum, "longest lead time"),
            ("initial_orders", self.information_delay, "information delay"),
        ):
            values = getattr(self, name)
            if len(values) > most:
                raise NetworkError(
                    f"{where}: {name} has {len(values)} periods; expected at most the {what}, "
                    f"{most}."
                )
            _at_least_zero(where, **{f"{name}[{t}]": value for t, value in enumerate(values)})


@dataclass(frozen=True)
class Resource:
    """A capacity per period that lanes share: a supplier, a fleet, machine hours."""

    id: str
    capacity: float

    def __post_init__(self) -> None:
        _at_least_zero(f"Resource '{self.id}'", capacity=self.capacity)


@dataclass(frozen=True)
class RegimeState:
    """Multipliers while the regime is in this state: share of owed units that can ship, lead
    times, mean demand."""

    name: str
    availability: float = 1.0
    lead_time: float = 1.0
    demand: float = 1.0

    def __post_init__(self) -> None:
        where = f"Regime state '{self.name}'"
        _at_least_zero(
            where, availability=self.availability, lead_time=self.lead_time, demand=self.demand
        )
        if self.availability > 1.0:
            raise NetworkError(f"{where}: availability is {self.availability}; expected 0 to 1.")


@dataclass(frozen=True)
class Regime:
    """A Markov chain over states, hidden from the agents. Rows of `transition` sum to 1.

    The chain starts in its stationary distribution.
    """

    id: str
    states: tuple[RegimeState, ...]
    transition: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        matrix = np.asarray(self.transition, float)
        size = len(self.states)
        if matrix.shape != (size, size) or (matrix < 0).any():
            raise NetworkError(
                f"Regime '{self.id}': transition has shape {matrix.shape}; expected "
                f"({size}, {size}) non-negative probabilities, one row per state."
            )
        if not np.allclose(matrix.sum(axis=1), 1.0, atol=1e-9):
            raise NetworkError(
                f"Regime '{self.id}': rows of transition sum to {matrix.sum(axis=1).tolist()}; "
                "expected 1 each."
            )


@dataclass(frozen=True)
class SupplyNetwork:
    """A whole network. Raises NetworkError where the parts don't fit together."""

    nodes: tuple[Node, ...]
    skus: tuple[Sku, ...]
    stocks: tuple[Stock, ...]
    lanes: tuple[Lane, ...]
    resources: tuple[Resource, ...] = ()
    regimes: tuple[Regime, ...] = ()
    timing: Timing = field(default_factory=Timing)

    def __post_init__(self) -> None:
        nodes = _unique("node", [n.id for n in self.nodes])
        skus = _unique("SKU", [s.id for s in self.skus])
        pairs = _unique("stocked pair", [(s.node, s.sku) for s in self.stocks])
        resources = _unique("resource", [r.id for r in self.resources])
        regimes = _unique("regime", [r.id for r in self.regimes])
        _unique("lane", [lane.id for lane in self.lanes])
        for stock in self.stocks:
            where = f"Stock '{stock.label}'"
            _must_know(where, "node", stock.node, nodes)
            _must_know(where, "SKU", stock.sku, skus)
            if stock.demand_regime is not None:
                _must_know(where, "regime", stock.demand_regime, regimes)
        for lane in self.lanes:
            where = f"Lane '{lane.id}'"
            _must_know(where, "node", lane.node, nodes)
            _must_know(where, "SKU", lane.sku, skus)
            _must_be_stocked(where, lane.node, lane.sku, pairs)
            for item in lane.inputs:
                _must_know(where, "node", item.node, nodes)
                _must_know(where, "SKU", item.sku, skus)
                _must_be_stocked(where, item.node, item.sku, pairs)
            for use in lane.resources:
                _must_know(where, "resource", use.resource, resources)
            for regime in lane.regimes:
                _must_know(where, "regime", regime, regimes)
        supplied = {(lane.node, lane.sku) for lane in self.lanes}
        for stock in self.stocks:
            if (stock.node, stock.sku) not in supplied:
                raise NetworkError(
                    f"Stock '{stock.label}' has no lane that delivers it; expected at least one "
                    "lane with this node and sku."
                )
        _check_bill_of_materials(self.lanes, [s.id for s in self.skus])


def _at_least_zero(where: str, **values: float) -> None:
    for name, value in values.items():
        if not value >= 0:  # also refuses NaN
            raise NetworkError(f"{where}: {name} is {value}; expected a number >= 0.")


def _unique(what: str, ids: list[K]) -> set[K]:
    seen: set[K] = set()
    for key in ids:
        if key in seen:
            raise NetworkError(f"The {what} {key!r} is defined twice; expected unique ids.")
        seen.add(key)
    return seen


def _must_know(where: str, what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise NetworkError(f"{where}: {what} '{name}' is not defined.{did_you_mean(name, known)}")


def _must_be_stocked(where: str, node: str, sku: str, pairs: set[tuple[str, str]]) -> None:
    if (node, sku) not in pairs:
        raise NetworkError(
            f"{where}: SKU '{sku}' is not stocked at node '{node}'; add it to stocks, or correct "
            "the lane."
        )


def _check_bill_of_materials(lanes: tuple[Lane, ...], skus: list[str]) -> None:
    """Refuse a SKU that is, through any number of steps, made of itself.

    Cycles of one SKU between nodes (transshipment) are legal.
    """
    index = {sku: i for i, sku in enumerate(skus)}
    edges = [
        (index[item.sku], index[lane.sku])
        for lane in lanes
        for item in lane.inputs
        if item.sku != lane.sku or item.node == lane.node
    ]
    if not edges:
        return
    rows, columns = zip(*edges, strict=True)
    graph = sparse.coo_matrix(
        (np.ones(len(edges)), (np.array(rows), np.array(columns))), shape=(len(skus),) * 2
    )
    _, component = csgraph.connected_components(graph, directed=True, connection="strong")
    sizes = np.bincount(component)
    looped = [i for i in range(len(skus)) if sizes[component[i]] > 1]
    looped += [i for i, j in edges if i == j]
    if looped:
        members = sorted({skus[i] for i in looped})
        raise NetworkError(
            f"Cyclic bill of materials: {' -> '.join([*members, members[0]])}; a SKU can't be made "
            "of itself. Correct the inputs of the lanes that make these SKUs."
        )
