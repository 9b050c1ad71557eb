"""A supply network as index arrays: what the kernels loop over.

Letters: N nodes, P stocked pairs, Q lanes, D demand streams (customer-facing pairs), R resources.
The rows P are the network's stocks, in their order: each node kind owns one run of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from envs.compiled.arrays import Csr, NetworkArrays
from envs.compiled.lanes import compile_beliefs, compile_lanes
from envs.compiled.lead_times import expected_leads, longest_lead, pipeline_slots
from envs.compiled.links import link_parts
from envs.compiled.resources import compile_resources, compile_switches
from envs.compiled.rules import Exposure, compile_exposures, compile_rules
from envs.compiled.sparse import Matrix
from envs.compiled.stocks import compile_nodes, compile_stocks, expected_demand, review_gap
from envs.network.network import Node, SupplyNetwork
from envs.types import Floats, Ints

__all__ = ["CompiledNetwork", "Csr", "NetworkArrays", "compile_network"]


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
    def base_share(self) -> Floats:
        """[Q] share of its pair's orders that a lane brings in regular use; 0: a spare lane."""
        inbound, share = self.arrays.stocks.inbound, np.zeros(len(self.network.lanes))
        share[inbound.index] = inbound.value
        return share

    @property
    def echelon_weight(self) -> Matrix:
        """[P, P] units of a pair (row) in one unit at a pair (column), itself included."""
        size = len(self.network.stocks)
        down = self.arrays.stocks.downstream
        below = sparse.csr_matrix((down.value, down.index, down.pointer), shape=(size, size))
        return below + sparse.identity(size, format="csr")

    @cached_property
    def leaf_weight(self) -> Matrix:
        """[P, D] units of a pair in one unit that a customer below it buys."""
        leaves, shape = (
            self.arrays.stocks.leaves,
            (len(self.network.stocks), len(self.customer_pair)),
        )
        return sparse.csr_matrix((leaves.value, leaves.index, leaves.pointer), shape=shape)


def compile_network(network: SupplyNetwork) -> CompiledNetwork:
    """Turn a checked network into arrays. Raises NetworkError."""
    links = link_parts(network)
    demand, leads = expected_demand(links), expected_leads(links)
    exposures, factor_rows = compile_exposures(links)
    stocks = compile_stocks(links, demand, leads)
    nodes = compile_nodes(links, stocks.volume)
    lanes = compile_lanes(links, nodes, factor_rows)
    rules = compile_rules(network)
    beliefs = compile_beliefs(lanes, factor_rows, leads)
    switches = compile_switches(links, nodes, lanes, rules, factor_rows)
    longest = np.array([longest_lead(network, lane) for lane in network.lanes], np.int64)
    return CompiledNetwork(
        network=network,
        arrays=NetworkArrays(
            stocks=stocks,
            nodes=nodes,
            lanes=lanes,
            resources=compile_resources(links),
            rules=rules,
            factor_rows=factor_rows,
            beliefs=beliefs,
            switches=switches,
        ),
        agent_nodes=network.agent_nodes,
        node_of_pair=links.node_of,
        customer_pair=links.customers,
        customer_mean=demand.customer_mean,
        customer_sd=demand.customer_sd,
        demand_mean=demand.mean,
        demand_sd=demand.sd,
        lead_mean=leads.pair,
        lead_sd=leads.pair_sd,
        review=review_gap(links) - int(switches.demand_first),
        lane_lead=leads.lane,
        lane_lead_sd=leads.lane_sd,
        expedite_lead=leads.expedite,
        path_lead=leads.path,
        path_lead_sd=leads.path_sd,
        multiplier=demand.multiplier,
        calendar_length=demand.calendar_length,
        slots=pipeline_slots(lanes, longest, switches.receive_after_ship),
        lead_longest=longest,
        order_slots=int(lanes.information_delay.max()) + 1,
        cohorts=2 * int(beliefs.promised.max(initial=0)) + 4,
        exposures=exposures,
        resource_ids=tuple(r.id for r in links.resources),
    )
