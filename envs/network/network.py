"""What a supply network is: nodes, SKUs, stocked pairs, lanes, resources, regimes.

A lane is the one way a SKU gets to a node: buying, trucking, producing and transshipping are all
lanes (they differ in their inputs, times, costs and limits). Everything here is frozen and
checked when it is built; `envs.compiled.network.compile_network` turns it into index arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from envs.errors import NetworkError
from envs.network.calendar import Calendar
from envs.network.checks import must_be_share, must_know, numbers_at_least_zero, unique
from envs.network.demand import Demand
from envs.network.lane import Allocation, Lane, Resource
from envs.network.plain import ADDED
from envs.network.regime import Regime


class Receive(StrEnum):
    """When arrivals of the period reach the shelf: before orders are placed, or after shipping.

    Orders that were on their way to their sender are heard of when the period opens, in both.
    """

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
    """A place with one agent."""

    id: str
    kind: str = ""  # a label: agents of a kind share weights
    # volume units of all SKUs together; what arrives above it waits outside
    storage_capacity: float = float("inf")
    review: Calendar | None = None  # periods in which the node's agent orders; None: every period
    # periods in which anything leaves it, and in which anything is let in; None: every period
    shipping: Calendar | None = field(default=None, metadata=ADDED)
    receiving: Calendar | None = field(default=None, metadata=ADDED)
    position: tuple[float, float] | None = None  # for maps

    def __post_init__(self) -> None:
        numbers_at_least_zero(f"Node '{self.id}'", self)


@dataclass(frozen=True)
class Sku:
    """An item."""

    id: str
    value: float = 0.0  # currency per unit, what a unit left at the horizon is worth
    volume: float = 1.0  # storage units per unit
    weight: float = 0.0  # kg per unit
    # whether there are no parts of a unit, in stock or on the way: shipments that are short are
    # shared in whole units, what comes late, is usable or waits is rounded, so that the mean
    # stays, and orders are whole. null: where nothing makes parts: all lanes order whole multiples
    # (that take whole units of their inputs), and initial quantities and demand are whole
    whole_units: bool | None = field(default=None, metadata=ADDED)

    def __post_init__(self) -> None:
        numbers_at_least_zero(f"SKU '{self.id}'", self)


@dataclass(frozen=True)
class Stock:
    """A SKU stocked at a node."""

    node: str
    sku: str
    holding_cost: float = 0.0  # currency per unit per period on end-of-period stock [h]
    # currency per unit per period on what customers and lanes wait for [b]
    backlog_cost: float = 0.0
    lost_sale_cost: float = 0.0  # currency per unit of customer demand lost [p]
    price: float = 0.0  # currency earned per unit sold to customers
    p_wait: float = 1.0  # share in [0, 1] of unmet customer demand that waits; the rest is lost
    target_service: float = 0.95
    initial_stock: float = 0.0
    serve_limit: float = float("inf")  # units per period that customers can be served at most
    demand: Demand | None = None
    # regimes whose states multiply mean demand (of a replayed history: demand)
    demand_regimes: tuple[str, ...] = ()
    allocation: Allocation = Allocation.proportional  # how outbound lanes share what is scarce here
    learned_allocation: bool = False  # whether the agent's action moves that

    @property
    def label(self) -> str:
        """`sku@node`, as messages and tables name the pair."""
        return f"{self.sku}@{self.node}"

    def __post_init__(self) -> None:
        where = f"Stock '{self.label}'"
        must_be_share(where, p_wait=self.p_wait, target_service=self.target_service)
        numbers_at_least_zero(where, self)


@dataclass(frozen=True)
class SupplyNetwork:
    """A whole network. Raises NetworkError where the parts don't fit together.

    stocks: kept by node kind, then node, in the order of `nodes`: each kind owns one run of rows.
      It is the order of every array over stocked pairs.
    """

    nodes: tuple[Node, ...]
    skus: tuple[Sku, ...]
    stocks: tuple[Stock, ...]
    lanes: tuple[Lane, ...]
    resources: tuple[Resource, ...] = ()
    regimes: tuple[Regime, ...] = ()
    timing: Timing = field(default_factory=Timing)

    def __post_init__(self) -> None:
        nodes = unique("node", [n.id for n in self.nodes])
        skus = unique("SKU", [s.id for s in self.skus])
        pairs = unique("stocked pair", [(s.node, s.sku) for s in self.stocks])
        resources = unique("resource", [r.id for r in self.resources])
        regimes = unique("regime", [r.id for r in self.regimes])
        unique("lane", [lane.id for lane in self.lanes])
        for stock in self.stocks:
            where = f"Stock '{stock.label}'"
            must_know(where, "node", stock.node, nodes)
            must_know(where, "SKU", stock.sku, skus)
            for regime in stock.demand_regimes:
                must_know(where, "regime", regime, regimes)
        for lane in self.lanes:
            where = f"Lane '{lane.id}'"
            must_know(where, "node", lane.node, nodes)
            must_know(where, "SKU", lane.sku, skus)
            _must_be_stocked(where, lane.node, lane.sku, pairs)
            for item in lane.inputs:
                must_know(where, "node", item.node, nodes)
                must_know(where, "SKU", item.sku, skus)
                _must_be_stocked(where, item.node, item.sku, pairs)
            at_once = self.timing.receive is Receive.before_order and lane.lead_time.minimum < 1
            if lane.inputs and at_once:
                raise NetworkError(
                    f"{where}: lead_time can be {lane.lead_time.minimum}; expected an integer >= 1 "
                    "for a lane with inputs (only outside supply may arrive in the same period)."
                )
            for use in lane.resources:
                must_know(where, "resource", use.resource, resources)
            for regime in lane.regimes:
                must_know(where, "regime", regime, regimes)
        for resource in self.resources:
            for regime in resource.regimes:
                must_know(f"Resource '{resource.id}'", "regime", regime, regimes)
        supplied = {(lane.node, lane.sku) for lane in self.lanes}
        for stock in self.stocks:
            if (stock.node, stock.sku) not in supplied:
                raise NetworkError(
                    f"Stock '{stock.label}' has no lane that delivers it; expected at least one "
                    "lane with this node and sku."
                )
        _check_bill_of_materials(self.lanes, [s.id for s in self.skus])
        place = {node.id: i for i, node in enumerate(self._nodes_by_kind)}
        by_kind = sorted(self.stocks, key=lambda s: place[s.node])
        object.__setattr__(self, "stocks", tuple(by_kind))

    @property
    def agent_nodes(self) -> tuple[Node, ...]:
        """The nodes that hold stock, in the order of the stocks."""
        holding = {s.node for s in self.stocks}
        return tuple(n for n in self._nodes_by_kind if n.id in holding)

    @property
    def _nodes_by_kind(self) -> list[Node]:
        kinds = list(dict.fromkeys(n.kind for n in self.nodes))
        return sorted(self.nodes, key=lambda n: kinds.index(n.kind))


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
