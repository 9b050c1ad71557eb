"""Compile stocked pairs: costs, the demand they serve, their neighbours; and room at nodes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from envs.compiled.arrays import NodeArrays, StockArrays
from envs.compiled.lead_times import LeadTimes
from envs.compiled.links import Links, turns
from envs.compiled.sparse import from_matrix, grouped
from envs.errors import NetworkError
from envs.network.lane import Allocation
from envs.network.network import SupplyNetwork
from envs.types import Floats, Ints


class Seasons(NamedTuple):
    """The different multipliers of demand: most streams have one in common."""

    of: Ints  # [D]
    multiplier: Floats  # [U, C]
    sums: Floats  # [U, C + longest + 3] up to each period of the calendar, wrapped


class ExpectedDemand(NamedTuple):
    """Customer demand and what it means for each pair; regimes averaged."""

    customer_mean: Floats  # [D] units per period at multiplier 1
    customer_sd: Floats  # [D]
    mean: Floats  # [P] units per period, own customers and everything below
    sd: Floats  # [P] units per period
    multiplier: Floats | None  # [D, C] factors known ahead, or None: no calendar
    calendar_length: int  # C

    def seasons(self, longest: int) -> Seasons:
        """Return the multipliers with sums over up to so many periods ahead of any; without a
        calendar 1."""
        every = self.multiplier
        if every is None:
            every = np.ones((len(self.customer_mean), 1))
        multiplier, of = np.unique(every, axis=0, return_inverse=True)
        periods = np.arange(multiplier.shape[1] + longest + 2) % multiplier.shape[1]
        sums = np.cumsum(multiplier[:, periods], axis=1)
        return Seasons(of.ravel(), multiplier, np.pad(sums, ((0, 0), (1, 0))))


def expected_demand(links: Links) -> ExpectedDemand:
    """Expect demand of customers, and of pairs from what is below them. Raises NetworkError."""
    customer_mean, customer_sd = _customer_demand(links.network, links.customers)
    mean = np.asarray(links.to_leaves @ customer_mean)
    sd = np.asarray(np.sqrt(links.to_leaves.power(2) @ customer_sd**2))
    return ExpectedDemand(customer_mean, customer_sd, mean, sd, *_calendar(links))


def compile_stocks(links: Links, demand: ExpectedDemand, leads: LeadTimes) -> StockArrays:
    """Compile what kernels read of stocked pairs."""
    stocks, pairs = links.network.stocks, links.pairs
    skus = {s.id: s for s in links.network.skus}
    served = demand.mean[demand.mean > 0]
    typical = float(np.median(served)) if served.size else 1.0
    demand_of = np.full(pairs, -1, np.int64)
    demand_of[links.customers] = np.arange(len(links.customers))
    lanes = np.arange(len(links.lane_to))
    outbound = grouped(links.inputs.index, links.inputs.rows, links.inputs.value, pairs)
    own_cost = np.array([q.unfilled_cost is not None for q in links.network.lanes], bool)

    def of(name: str) -> Floats:
        return np.array([getattr(s, name) for s in stocks], float)

    whole = np.array([s.sku in links.whole for s in stocks], bool)
    waiting_cost = of("backlog_cost")[outbound.rows] * outbound.value
    return StockArrays(
        holding_cost=of("holding_cost"),
        backlog_cost=of("backlog_cost"),
        lost_sale_cost=of("lost_sale_cost"),
        price=of("price"),
        salvage=np.array([skus[s.sku].value for s in stocks], float),
        p_wait=of("p_wait"),
        serve_limit=np.where(whole, np.floor(of("serve_limit") + 1e-9), of("serve_limit")),
        whole=whole,
        initial_stock=of("initial_stock"),
        volume=np.array([skus[s.sku].volume for s in stocks], float),
        node_of=links.node_of,
        demand_of=demand_of,
        demand_rate=np.where(demand.mean > 0, demand.mean, typical),
        allocation=np.array([list(Allocation).index(s.allocation) for s in stocks], np.int64),
        shares_simply=np.array(
            [s.allocation is Allocation.proportional and not s.learned_allocation for s in stocks],
            bool,
        ),
        joint_of=_joint_resource(links),
        expedite_periods=np.round(leads.expedite).astype(np.int64),
        inbound=grouped(links.lane_to, lanes, links.share, pairs),
        outbound=outbound,
        waiting_cost=np.where(own_cost[outbound.index], 0.0, waiting_cost),
        downstream=from_matrix(links.weight - sparse.identity(pairs, format="csr")),
        leaves=from_matrix(links.to_leaves),
    )


def compile_nodes(links: Links, volume: Floats) -> NodeArrays:
    """Compile the room at nodes; volume [P]: storage units per unit."""
    nodes, to = links.network.agent_nodes, links.lane_to
    takes = np.argsort(turns(links.network.lanes))
    takes = takes[volume[to[takes]] > 0.0]
    capacity = np.array([n.storage_capacity for n in nodes], float)
    return NodeArrays(
        capacitated=np.flatnonzero(np.isfinite(capacity)).astype(np.int64),
        storage_capacity=capacity,
        stored=grouped(links.node_of, np.arange(links.pairs), volume, len(nodes)),
        receives=grouped(links.node_of[to[takes]], takes, volume[to[takes]], len(nodes)),
    )


def review_gap(links: Links) -> Ints:
    """[P] periods between two chances to order, on the lane in regular use that waits longest."""
    gap = np.ones(links.pairs, np.int64)
    for q, met in enumerate(links.calendars):
        if links.regular[q] > 0 and met.ordering is not None:
            to = links.lane_to[q]
            gap[to] = max(gap[to], met.ordering.longest_gap)
    return gap


def _customer_demand(network: SupplyNetwork, customers: Ints) -> tuple[Floats, Floats]:
    """[D] mean and standard deviation of demand [units per period], its regimes averaged."""
    means, sds = [], []
    for p in customers:
        stock = network.stocks[p]
        assert stock.demand is not None
        factor = square = 1.0
        for regime in network.regimes:
            if regime.id in stock.demand_regimes:
                factor *= regime.mean("demand")
                square *= regime.mean_square("demand")
        mean, variance = stock.demand.mean, stock.demand.standard_deviation**2
        means.append(mean * factor)
        sds.append(np.sqrt(variance * factor + mean**2 * max(0.0, square - factor**2)))
    return np.array(means, float), np.array(sds, float)


def _calendar(links: Links) -> tuple[Floats | None, int]:
    demands = [links.network.stocks[p].demand for p in links.customers]
    if any(demand is not None and demand.season is not None for demand in demands):
        raise NetworkError("Seasons of demand count by date; compile a Scenario, which has dates.")
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


def _joint_resource(links: Links) -> Ints:
    """[P] the first resource that a lane to the pair uses and whose cost is borne together, or -1:
    a fixed cost, or the loads of several pairs."""
    uses, resources, pairs = links.uses, links.resources, links.pairs
    to = links.lane_to[uses.rows]
    users = np.bincount(np.unique(uses.index * pairs + to) // pairs, minlength=len(resources))
    joint = np.full(pairs, -1, np.int64)
    for p, r in zip(to, uses.index, strict=True):
        is_joint = resources[r].fixed_cost > 0 or (resources[r].load_cost > 0 and users[r] > 1)
        if is_joint and joint[p] < 0:
            joint[p] = r
    return joint
