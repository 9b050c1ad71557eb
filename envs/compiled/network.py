"""A supply network as index arrays: what the kernels loop over.

Letters: N nodes, P stocked pairs, Q lanes, D demand streams (customer-facing pairs), R resources.
The rows P are the network's stocks, in their order: each node kind owns one run of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from envs.compiled import parts
from envs.compiled.arrays import Csr, NetworkArrays
from envs.compiled.rules import Exposure, compile_exposures, compile_lane_rules, with_lane_loads
from envs.errors import NetworkError
from envs.network.network import (
    Allocation,
    Limits,
    Node,
    Receive,
    ServeOrder,
    SupplyNetwork,
    Unfilled,
)

__all__ = ["CompiledNetwork", "Csr", "NetworkArrays", "compile_network"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Matrix = Any  # SciPy's sparse matrices


@dataclass(frozen=True, eq=False)
class CompiledNetwork:
    """The network, its arrays and the facts that policies and forecasts start from."""

    network: SupplyNetwork
    arrays: NetworkArrays
    agent_nodes: tuple[Node, ...]  # nodes that hold stock, in row order
    node_of_pair: Ints  # [P] index into agent_nodes
    customer_pair: Ints  # [D] pair
    customer_mean: Floats  # [D] units per period at multiplier 1, regimes averaged
    customer_sd: Floats  # [D]
    demand_mean: Floats  # [P] units per period, own customers and everything below
    demand_sd: Floats  # [P] units per period
    lead_mean: Floats  # [P] periods, from ordering on
    lead_sd: Floats  # [P] periods
    review: Ints  # [P] periods between orders that an order must also cover
    lane_lead: Floats  # [Q] periods, mean, from ordering on
    lane_lead_sd: Floats  # [Q]
    expedite_lead: Floats  # [P] periods, the longest mean of its expedite lanes; -1: none
    path_lead: Floats  # [P] periods from ordering here to the customer, the longest way down
    path_lead_sd: Floats  # [P] periods
    multiplier: Floats | None  # [D, C] factors known ahead, or None: no calendar
    calendar_length: int  # C
    slots: int  # L pipeline slots
    lead_longest: Ints  # [Q] periods
    order_slots: int  # slots of orders on their way to the sender
    cohorts: int  # M periods of orders that lanes with beliefs remember
    exposures: tuple[Exposure, ...]  # rows V of the trace's factors
    resource_ids: tuple[str, ...]  # [R] declared ones, then the loads of lanes

    @property
    def echelon_weight(self) -> Matrix:
        """[P, P] units of a pair (row) in one unit at a pair (column), itself included."""
        size = len(self.network.stocks)
        down = self.arrays.downstream
        below = sparse.csr_matrix((down.value, down.index, down.pointer), shape=(size, size))
        return below + sparse.identity(size, format="csr")

    @cached_property
    def leaf_weight(self) -> Matrix:
        """[P, D] units of a pair in one unit that a customer below it buys."""
        leaves, shape = self.arrays.leaves, (len(self.network.stocks), len(self.customer_pair))
        return sparse.csr_matrix((leaves.value, leaves.index, leaves.pointer), shape=shape)


def compile_network(network: SupplyNetwork) -> CompiledNetwork:
    """Turn a checked network into arrays. Raises NetworkError."""
    stocks, lanes, agent_nodes = network.stocks, network.lanes, network.agent_nodes
    if not stocks:
        raise NetworkError("The network stocks nothing; expected at least one stocked pair.")
    pair = {(s.node, s.sku): p for p, s in enumerate(stocks)}
    skus = {s.id: s for s in network.skus}
    node_index = {n.id: i for i, n in enumerate(agent_nodes)}
    node_of = np.array([node_index[s.node] for s in stocks], np.int64)
    resources, uses = with_lane_loads(network)
    lane_to = np.array([pair[lane.node, lane.sku] for lane in lanes], np.int64)
    inputs = parts.csr([[(pair[i.node, i.sku], i.quantity) for i in lane.inputs] for lane in lanes])
    share = parts.base_share(lanes, lane_to, len(stocks))
    regular = parts.regular_share(lanes, share)
    inbound = parts.grouped(lane_to, np.arange(len(lanes)), share, len(stocks))
    lane_of_input = np.repeat(np.arange(len(lanes)), np.diff(inputs.pointer))
    lane_of_use = np.repeat(np.arange(len(lanes)), np.diff(uses.pointer))
    outbound = parts.grouped(inputs.index, lane_of_input, inputs.value, len(stocks))
    weight = parts.echelon_weight(lane_to, regular, inputs, len(stocks))
    customers = np.array([p for p, s in enumerate(stocks) if s.demand is not None], np.int64)
    to_leaves = weight[:, customers]
    customer_mean, customer_sd = parts.customer_demand(network, customers)
    mean = np.asarray(to_leaves @ customer_mean)
    sd = np.asarray(np.sqrt(to_leaves.power(2) @ customer_sd**2))
    demand_of = np.full(len(stocks), -1, np.int64)
    demand_of[customers] = np.arange(len(customers))
    multiplier, length = parts.calendar(stocks, customers)
    longest = np.array([parts.longest(network, lane) for lane in lanes], np.int64)
    terms = parts.lane_terms(network, lane_to, inputs, outbound)
    payer, rate = parts.in_transit(network, lane_to, inputs)
    lane_lead, lane_lead_sd = parts.lane_lead(network)
    expedite_lead = parts.expedite_lead(lanes, lane_lead, lane_to, len(stocks))
    lead_mean, lead_sd = parts.pair_lead(lane_lead, lane_lead_sd, lane_to, regular, len(stocks))
    path, path_sd = parts.path_lead(lane_to, inputs, regular, lead_mean, lead_sd)
    exposures, rows = compile_exposures(network, resources)
    demand_first = network.timing.demand is ServeOrder.first
    capacity = np.array([n.storage_capacity for n in agent_nodes], float)
    volume = np.array([skus[s.sku].volume for s in stocks], float)
    lead_row = parts.rows([parts.is_stochastic(network, lane) for lane in lanes])
    rules = compile_lane_rules(network, node_index, capacity, lead_row, rows)
    belief_lane = np.flatnonzero(rules["belief_row"] >= 0)
    promised = np.ceil((lane_lead + lane_lead_sd)[belief_lane] - 1e-9).astype(np.int64)
    served = mean[mean > 0]
    typical = float(np.median(served)) if served.size else 1.0

    def of_stocks(name: str) -> Floats:
        return np.array([getattr(s, name) for s in stocks], float)

    def of_lanes(name: str) -> Floats:
        return np.array([getattr(q, name) for q in lanes], float)

    arrays = NetworkArrays(
        holding_cost=of_stocks("holding_cost"),
        backlog_cost=of_stocks("backlog_cost"),
        lost_sale_cost=of_stocks("lost_sale_cost"),
        price=of_stocks("price"),
        salvage=np.array([skus[s.sku].value for s in stocks], float),
        p_wait=of_stocks("p_wait"),
        serve_limit=of_stocks("serve_limit"),
        initial_stock=of_stocks("initial_stock"),
        volume=volume,
        node_of=node_of,
        allocation=np.array([list(Allocation).index(s.allocation) for s in stocks], np.int64),
        shares_simply=np.array(
            [s.allocation is Allocation.proportional and not s.learned_allocation for s in stocks],
            bool,
        ),
        demand_rate=np.where(mean > 0, mean, typical),
        expedite_periods=np.round(expedite_lead).astype(np.int64),
        joint_of=parts.joint_resource(lane_to, uses, resources, len(stocks)),
        capacitated=np.flatnonzero(np.isfinite(capacity)).astype(np.int64),
        storage_capacity=capacity,
        stored=parts.grouped(node_of, np.arange(len(stocks)), volume, len(agent_nodes)),
        demand_of=demand_of,
        inbound=inbound,
        outbound=outbound,
        downstream=parts.from_matrix(weight - sparse.identity(len(stocks), format="csr")),
        leaves=parts.from_matrix(to_leaves),
        lane_to=lane_to,
        inputs=inputs,
        resources=uses,
        users=parts.grouped(uses.index, lane_of_use, uses.value, len(resources)),
        unit_cost=of_lanes("unit_cost"),
        fixed_cost=of_lanes("fixed_cost"),
        minimum_order=of_lanes("minimum_order"),
        maximum_order=of_lanes("maximum_order"),
        order_multiple=of_lanes("order_multiple"),
        information_delay=np.array([q.information_delay for q in lanes], np.int64),
        lead_time=np.array([q.lead_time.minimum for q in lanes], np.int64),
        lead_row=lead_row,
        **rules,
        belief_lane=belief_lane,
        promised=promised,
        **terms,
        in_transit_cost=rate,
        in_transit_payer=payer,
        capacity=np.array([r.capacity for r in resources], float),
        capacity_row=rows["capacity"],
        capacity_by_priority=np.array(
            [r.allocation is Allocation.priority for r in resources], bool
        ),
        limits_orders=np.array([r.limits is Limits.orders for r in resources], bool),
        joint_cost=np.array([r.fixed_cost for r in resources], float),
        load_size=np.array([r.load_size or 0.0 for r in resources], float),
        load_cost=np.array([r.load_cost for r in resources], float),
        column_used=parts.columns_used(network, rate, resources),
        ship_rounds=parts.ship_rounds(inputs, uses, resources),
        receive_after_ship=network.timing.receive is Receive.after_ship,
        demand_first=demand_first,
        cancel_unfilled=network.timing.unfilled is Unfilled.cancel,
        has_order_rules=bool(
            np.isfinite(capacity).any()
            or any(r.limits is Limits.orders for r in resources)
            or (rules["calendar_row"] >= 0).any()
            or (rules["ordering_row"] >= 0).any()
        ),
        has_use_costs=any(r.fixed_cost > 0 or r.load_cost > 0 for r in resources),
    )
    return CompiledNetwork(
        network=network,
        arrays=arrays,
        agent_nodes=agent_nodes,
        node_of_pair=node_of,
        customer_pair=customers,
        customer_mean=customer_mean,
        customer_sd=customer_sd,
        demand_mean=mean,
        demand_sd=sd,
        lead_mean=lead_mean,
        lead_sd=lead_sd,
        review=parts.review_gap(network, lane_to, regular) - int(demand_first),
        lane_lead=lane_lead,
        lane_lead_sd=lane_lead_sd,
        expedite_lead=expedite_lead,
        path_lead=path,
        path_lead_sd=path_sd,
        multiplier=multiplier,
        calendar_length=length,
        slots=parts.pipeline_slots(network, longest, arrays),
        lead_longest=longest,
        order_slots=max(q.information_delay for q in lanes) + 1,
        cohorts=2 * int(promised.max(initial=0)) + 4,
        exposures=exposures,
        resource_ids=tuple(r.id for r in resources),
    )
