"""A supply network as index arrays: what the kernels loop over.

Letters: P stocked pairs, Q lanes, D demand streams (customer-facing pairs), R resources.
Pairs are sorted by node kind, then node, so that each kind owns one run of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from envs.errors import NetworkError
from envs.network import (
    InTransitPayer,
    Lane,
    Node,
    Receive,
    ServeOrder,
    Stock,
    SupplyNetwork,
    Unfilled,
)
from envs.state import CostColumn

__all__ = ["CompiledNetwork", "Csr", "NetworkArrays", "compile_network"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Matrix = Any  # SciPy's sparse matrices


class Csr(NamedTuple):
    """Rows of (index, value) pairs: row i is index[pointer[i]:pointer[i + 1]]."""

    pointer: Ints
    index: Ints  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    value: Floats


class NetworkArrays(NamedTuple):
    """The network for the kernels."""

    holding_cost: Floats  # [P] currency per unit per period
    backlog_cost: Floats  # [P] currency per unit per period
    lost_sale_cost: Floats  # [P] currency per unit
    price: Floats  # [P] currency per unit
    salvage: Floats  # [P] currency per unit left at the horizon
    p_wait: Floats  # [P] share
    serve_limit: Floats  # [P] units per period
    initial_stock: Floats  # [P] units
    demand_of: Ints  # [P] demand stream, or -1
    inbound: Csr  # [P] -> lanes, value: base share
    outbound: Csr  # [P] -> lanes, value: units of the pair per unit on the lane
    downstream: Csr  # [P] -> pairs below it, value: units of the pair per unit there
    leaves: Csr  # [P] -> demand streams it serves, value: units of the pair per unit sold
    lane_to: Ints  # [Q] pair
    inputs: Csr  # [Q] -> pairs, value: units per unit on the lane
    resources: Csr  # [Q] -> resources, value: use per unit
    unit_cost: Floats  # [Q] currency per unit
    fixed_cost: Floats  # [Q] currency per order
    minimum_order: Floats  # [Q] units
    maximum_order: Floats  # [Q] units
    order_multiple: Floats  # [Q] units, 0: divisible
    information_delay: Ints  # [Q] periods
    lead_time: Ints  # [Q] periods; used where lead_row is -1
    lead_row: Ints  # [Q] row of the trace's lead times, or -1
    availability_row: Ints  # [Q] row of the trace's availability, or -1
    in_transit_cost: Floats  # [Q] currency per unit per period
    in_transit_payer: Ints  # [Q] pair that pays it
    share_head: Ints  # [Q] action head of the lane's share, or -1
    capacity: Floats  # [R] per period
    column_used: NDArray[np.bool_]  # [C] cost columns that can differ from 0
    ship_rounds: int  # passes of joint allocation
    receive_after_ship: bool
    demand_first: bool
    cancel_unfilled: bool


@dataclass(frozen=True, eq=False)
class CompiledNetwork:
    """The network, its arrays and the facts that policies and forecasts start from.

    `network` has its stocks sorted as the rows P are.
    """

    network: SupplyNetwork
    arrays: NetworkArrays
    agent_nodes: tuple[Node, ...]  # nodes that hold stock, in row order
    node_of_pair: Ints  # [P] index into agent_nodes
    customer_pair: Ints  # [D] pair
    demand_mean: Floats  # [P] units per period, own customers and everything below
    demand_sd: Floats  # [P] units per period
    lead_mean: Floats  # [P] periods, information delay included
    lead_sd: Floats  # [P] periods
    path_lead: Floats  # [P] periods from ordering here to the customer, the longest way down
    path_lead_sd: Floats  # [P] periods
    multiplier: Floats | None  # [D, C] factors known ahead, or None: no calendar
    calendar_length: int  # C
    slots: int  # L pipeline slots
    lead_longest: Ints  # [Q] periods
    order_slots: int  # slots of orders on their way to the sender
    share_heads: int  # action heads for lane shares

    @property
    def echelon_weight(self) -> Matrix:
        """[P, P] units of a pair (row) in one unit at a pair (column), itself included."""
        size = len(self.network.stocks)
        down = self.arrays.downstream
        below = sparse.csr_matrix((down.value, down.index, down.pointer), shape=(size, size))
        return below + sparse.identity(size, format="csr")


def compile_network(network: SupplyNetwork) -> CompiledNetwork:
    """Turn a checked network into arrays. Raises NetworkError."""
    network, agent_nodes = _sorted_by_kind(network)
    stocks, lanes = network.stocks, network.lanes
    pair = {(s.node, s.sku): p for p, s in enumerate(stocks)}
    resource = {r.id: r_ for r_, r in enumerate(network.resources)}
    node_index = {n.id: i for i, n in enumerate(agent_nodes)}
    lane_to = np.array([pair[lane.node, lane.sku] for lane in lanes], np.int64)
    inputs = _csr([[(pair[i.node, i.sku], i.quantity) for i in lane.inputs] for lane in lanes])
    uses = _csr([[(resource[u.resource], u.per_unit) for u in lane.resources] for lane in lanes])
    share = _base_share(lanes, lane_to, len(stocks))
    inbound = _inverse(lane_to, share, len(stocks))
    lane_of_input = np.repeat(np.arange(len(lanes)), np.diff(inputs.pointer))
    outbound = _grouped(inputs.index, lane_of_input, inputs.value, len(stocks))
    weight = _echelon_weight(lane_to, share, inputs, len(stocks))
    customers = np.array([p for p, s in enumerate(stocks) if s.demand is not None], np.int64)
    demands = [s.demand for s in stocks if s.demand is not None]
    to_leaves = weight[:, customers]
    mean = to_leaves @ np.array([d.mean for d in demands])
    sd = np.sqrt(to_leaves.power(2) @ np.array([d.standard_deviation**2 for d in demands]))
    demand_of = np.full(len(stocks), -1, np.int64)
    demand_of[customers] = np.arange(len(customers))
    multiplier, length = _calendar(stocks, customers)
    longest = np.array([_longest(network, lane) for lane in lanes], np.int64)
    stochastic = [not q.lead_time.constant or _lead_regime(network, q) for q in lanes]
    payer, rate = _in_transit(network, lane_to, inputs)
    heads, share_heads = _share_heads(inbound, len(lanes))
    lead_mean, lead_sd = _pair_lead(lanes, inbound)
    path, path_sd = _path_lead(lane_to, inputs, share, lead_mean, lead_sd)
    values = {s.id: s.value for s in network.skus}

    def of_stocks(name: str) -> Floats:
        return np.array([getattr(s, name) for s in stocks], float)

    def of_lanes(name: str) -> Floats:
        return np.array([getattr(q, name) for q in lanes], float)

    arrays = NetworkArrays(
        holding_cost=of_stocks("holding_cost"),
        backlog_cost=of_stocks("backlog_cost"),
        lost_sale_cost=of_stocks("lost_sale_cost"),
        price=of_stocks("price"),
        salvage=np.array([values[s.sku] for s in stocks], float),
        p_wait=of_stocks("p_wait"),
        serve_limit=of_stocks("serve_limit"),
        initial_stock=of_stocks("initial_stock"),
        demand_of=demand_of,
        inbound=inbound,
        outbound=outbound,
        downstream=_from_matrix(weight - sparse.identity(len(stocks), format="csr")),
        leaves=_from_matrix(to_leaves),
        lane_to=lane_to,
        inputs=inputs,
        resources=uses,
        unit_cost=of_lanes("unit_cost"),
        fixed_cost=of_lanes("fixed_cost"),
        minimum_order=of_lanes("minimum_order"),
        maximum_order=of_lanes("maximum_order"),
        order_multiple=of_lanes("order_multiple"),
        information_delay=np.array([q.information_delay for q in lanes], np.int64),
        lead_time=np.array([q.lead_time.minimum for q in lanes], np.int64),
        lead_row=_rows(stochastic),
        availability_row=_rows([bool(q.regimes) for q in lanes]),
        in_transit_cost=rate,
        in_transit_payer=payer,
        share_head=heads,
        capacity=np.array([r.capacity for r in network.resources], float),
        column_used=_columns_used(network, rate),
        ship_rounds=1 if all(len(q.inputs) + len(q.resources) < 2 for q in lanes) else 3,
        receive_after_ship=network.timing.receive is Receive.after_ship,
        demand_first=network.timing.demand is ServeOrder.first,
        cancel_unfilled=network.timing.unfilled is Unfilled.cancel,
    )
    return CompiledNetwork(
        network=network,
        arrays=arrays,
        agent_nodes=agent_nodes,
        node_of_pair=np.array([node_index[s.node] for s in stocks], np.int64),
        customer_pair=customers,
        demand_mean=np.asarray(mean),
        demand_sd=np.asarray(sd),
        lead_mean=lead_mean,
        lead_sd=lead_sd,
        path_lead=path,
        path_lead_sd=path_sd,
        multiplier=multiplier,
        calendar_length=length,
        slots=int(longest.max()) + 1,
        lead_longest=longest,
        order_slots=max(q.information_delay for q in lanes) + 1,
        share_heads=share_heads,
    )


def _sorted_by_kind(network: SupplyNetwork) -> tuple[SupplyNetwork, tuple[Node, ...]]:
    kinds = list(dict.fromkeys(n.kind for n in network.nodes))
    order = sorted(range(len(network.nodes)), key=lambda i: (kinds.index(network.nodes[i].kind), i))
    place = {network.nodes[i].id: rank for rank, i in enumerate(order)}
    stocks = tuple(sorted(network.stocks, key=lambda s: place[s.node]))
    if not stocks:
        raise NetworkError("The network stocks nothing; expected at least one stocked pair.")
    holding = {s.node for s in stocks}
    nodes = tuple(network.nodes[i] for i in order if network.nodes[i].id in holding)
    fields = {name: getattr(network, name) for name in network.__dataclass_fields__}
    return SupplyNetwork(**{**fields, "stocks": stocks}), nodes


def _csr(rows: list[list[tuple[int, float]]]) -> Csr:
    flat = [entry for row in rows for entry in row]
    return Csr(
        np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64),
        np.array([i for i, _ in flat], np.int64),
        np.array([v for _, v in flat], float),
    )


def _grouped(group: Ints, index: Ints, value: Floats, groups: int) -> Csr:
    order = np.argsort(group, kind="stable")
    pointer = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=groups))])
    return Csr(pointer.astype(np.int64), index[order].astype(np.int64), value[order])


def _inverse(lane_to: Ints, share: Floats, pairs: int) -> Csr:
    return _grouped(lane_to, np.arange(len(lane_to)), share, pairs)


def _from_matrix(matrix: Matrix) -> Csr:
    csr = sparse.csr_matrix(matrix)
    csr.eliminate_zeros()
    csr.sort_indices()
    return Csr(csr.indptr.astype(np.int64), csr.indices.astype(np.int64), csr.data.astype(float))


def _rows(used: list[bool]) -> Ints:
    flags = np.array(used, bool)
    return np.where(flags, np.cumsum(flags) - 1, -1).astype(np.int64)


def _base_share(lanes: tuple[Lane, ...], lane_to: Ints, pairs: int) -> Floats:
    share = np.array([q.base_share for q in lanes], float)
    total = np.bincount(lane_to, share, minlength=pairs)
    if (total[lane_to] <= 0).any():
        bad = lanes[int(np.flatnonzero(total[lane_to] <= 0)[0])]
        raise NetworkError(
            f"Lane '{bad.id}': the base shares of all lanes to {bad.sku}@{bad.node} are 0; "
            "expected at least one above 0."
        )
    return share / total[lane_to]


def _flow(lane_to: Ints, share: Floats, inputs: Csr, pairs: int) -> Matrix:
    """[P, P] units of a pair (row) that ordering one unit at a pair (column) consumes."""
    lane = np.repeat(np.arange(len(lane_to)), np.diff(inputs.pointer))
    entries = inputs.value * share[lane]
    return sparse.csr_matrix((entries, (inputs.index, lane_to[lane])), shape=(pairs, pairs))


def _echelon_weight(lane_to: Ints, share: Floats, inputs: Csr, pairs: int) -> Matrix:
    """[P, P] (I - A)^-1 of the flow matrix A, as a series (it ends in a network without loops)."""
    flow = _flow(lane_to, share, inputs, pairs)
    total = power = sparse.identity(pairs, format="csr")
    for _ in range(200):
        power = power @ flow
        power.data[power.data < 1e-9] = 0.0
        power.eliminate_zeros()
        if power.nnz == 0:
            return total
        total = total + power
    raise NetworkError(
        "The base shares of the lanes send goods round in a circle; give transshipment lanes a "
        "base_share of 0."
    )


def _calendar(stocks: tuple[Stock, ...], customers: Ints) -> tuple[Floats | None, int]:
    demands = [stocks[p].demand for p in customers]
    lengths = {
        values.size
        for demand in demands
        if demand is not None
        for values in (demand.history, demand.multiplier)
        if values is not None
    }
    if len(lengths) > 1:
        raise NetworkError(
            f"Demand histories and multipliers have {sorted(lengths)} periods; expected the same "
            "number everywhere."
        )
    length = lengths.pop() if lengths else 1
    if not any(d is not None and d.multiplier is not None for d in demands):
        return None, length
    rows = [np.ones(length) if d is None or d.multiplier is None else d.multiplier for d in demands]
    return np.array(rows, float), length


def _lead_regime(network: SupplyNetwork, lane: Lane) -> bool:
    return any(
        state.lead_time != 1.0
        for regime in network.regimes
        if regime.id in lane.regimes
        for state in regime.states
    )


def _longest(network: SupplyNetwork, lane: Lane) -> int:
    factor = 1.0
    for regime in network.regimes:
        if regime.id in lane.regimes:
            factor *= max(1.0, *(state.lead_time for state in regime.states))
    return int(np.ceil(lane.lead_time.maximum * factor))


def _in_transit(network: SupplyNetwork, lane_to: Ints, inputs: Csr) -> tuple[Ints, Floats]:
    payer = lane_to.copy()
    rate = np.zeros(len(lane_to))
    holding = np.array([s.holding_cost for s in network.stocks])
    who = network.timing.in_transit_payer
    for q in range(len(lane_to)):
        rows = slice(inputs.pointer[q], inputs.pointer[q + 1])
        if who is InTransitPayer.receiver:
            rate[q] = holding[lane_to[q]]
        elif who is InTransitPayer.sender and rows.stop > rows.start:
            payer[q] = inputs.index[rows.start]
            rate[q] = float(holding[inputs.index[rows]] @ inputs.value[rows])
    return payer, rate


def _columns_used(network: SupplyNetwork, in_transit_rate: Floats) -> NDArray[np.bool_]:
    stocks, lanes = network.stocks, network.lanes
    used = {
        CostColumn.HOLDING: any(s.holding_cost for s in stocks),
        CostColumn.IN_TRANSIT: bool(in_transit_rate.any()),
        CostColumn.BACKLOG: any(s.backlog_cost for s in stocks),
        CostColumn.LOST_SALE: any(s.lost_sale_cost for s in stocks),
        CostColumn.PURCHASE: any(q.unit_cost for q in lanes),
        CostColumn.FIXED_ORDER: any(q.fixed_cost for q in lanes),
        CostColumn.REVENUE: any(s.price for s in stocks),
        CostColumn.SALVAGE: any(s.value for s in network.skus),
    }
    return np.array([used[column] for column in CostColumn], bool)


def _share_heads(inbound: Csr, lanes: int) -> tuple[Ints, int]:
    """Number the lanes of every pair that has a choice: heads 1, 2, ... (0 is the level)."""
    head = np.full(lanes, -1, np.int64)
    most = 0
    for p in range(inbound.pointer.size - 1):
        rows = inbound.index[inbound.pointer[p] : inbound.pointer[p + 1]]
        if rows.size > 1:
            head[rows] = 1 + np.arange(rows.size)
            most = max(most, rows.size)
    return head, most


def _pair_lead(lanes: tuple[Lane, ...], inbound: Csr) -> tuple[Floats, Floats]:
    mean = np.array([q.lead_time.mean() + q.information_delay for q in lanes])
    variance = np.array([q.lead_time.sd() ** 2 for q in lanes])
    pairs = inbound.pointer.size - 1
    shape = (pairs, len(lanes))
    share: Matrix = sparse.csr_matrix((inbound.value, inbound.index, inbound.pointer), shape=shape)
    return share @ mean, np.sqrt(share @ variance)


def _path_lead(
    lane_to: Ints, inputs: Csr, share: Floats, lead_mean: Floats, lead_sd: Floats
) -> tuple[Floats, Floats]:
    """Longest lead time from ordering at a pair down to customers, over lanes in regular use."""
    lane = np.repeat(np.arange(len(lane_to)), np.diff(inputs.pointer))
    edges = [(inputs.index[i], lane_to[q]) for i, q in enumerate(lane) if share[q] > 0]
    mean, variance = lead_mean.copy(), lead_sd**2
    for _ in range(len(lead_mean)):
        before = mean.copy()
        for upper, lower in edges:
            if lead_mean[upper] + mean[lower] > mean[upper] + 1e-12:
                mean[upper] = lead_mean[upper] + mean[lower]
                variance[upper] = lead_sd[upper] ** 2 + variance[lower]
        if np.array_equal(before, mean):
            break
    return mean, np.sqrt(variance)
