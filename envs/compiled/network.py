"""A supply network as index arrays: what the kernels loop over.

Letters: N nodes, P stocked pairs, Q lanes, D demand streams (customer-facing pairs), R resources.
The rows P are the network's stocks, in their order: each node kind owns one run of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from envs.compiled.arrays import NetworkArrays
from envs.compiled.calendars import CalendarRows
from envs.compiled.lanes import compile_beliefs, compile_lanes
from envs.compiled.lead_times import LeadTimes, expected_leads, longest_lead, pipeline_slots
from envs.compiled.links import link_parts
from envs.compiled.resources import compile_resources, compile_switches
from envs.compiled.rules import Exposure, compile_exposures, compile_rules
from envs.compiled.stocks import (
    ExpectedDemand,
    compile_nodes,
    compile_stocks,
    expected_demand,
    review_gap,
)
from envs.network.calendar import LaneCalendars
from envs.network.network import Node, SupplyNetwork
from envs.types import Bools, Floats, Ints, Matrix


@dataclass(frozen=True, eq=False)
class CompiledNetwork:
    """The network, its arrays and the facts that policies and forecasts start from."""

    network: SupplyNetwork
    arrays: NetworkArrays
    agent_nodes: tuple[Node, ...]  # nodes that hold stock, in row order
    demand: ExpectedDemand
    leads: LeadTimes
    customer_pair: Ints  # [D] pair
    review: Ints  # [P] periods between orders that an order must also cover
    slots: int  # L pipeline slots
    lead_longest: Ints  # [Q] periods
    order_slots: int  # slots of orders on their way to the sender
    cohorts: int  # M periods of orders that lanes with beliefs remember
    exposures: tuple[Exposure, ...]  # rows V of the trace's factors
    calendars: tuple[LaneCalendars, ...]  # [Q]
    resource_ids: tuple[str, ...]  # [R] declared ones, then the loads of lanes

    @property
    def limit_ids(self) -> tuple[str, ...]:
        """Rows of `Flows.limit_unused`: resources, then the storage of nodes of limited room."""
        rooms = (self.agent_nodes[n].id for n in self.arrays.nodes.capacitated)
        return (*self.resource_ids, *(f"storage of {node}" for node in rooms))

    @property
    def base_share(self) -> Floats:
        """[Q] share of its pair's orders that a lane brings in regular use; 0: a spare lane."""
        inbound, share = self.arrays.stocks.inbound, np.zeros(len(self.network.lanes))
        share[inbound.index] = inbound.value
        return share

    @cached_property
    def brings(self) -> Matrix:
        """[P, Q] 1 where a lane brings goods to a pair."""
        to = self.arrays.lanes.to
        shape = len(self.network.stocks), len(to)
        return sparse.csr_matrix((np.ones(len(to)), (to, np.arange(len(to)))), shape=shape)

    @property
    def echelon_weight(self) -> Matrix:
        """[P, P] units of a pair (row) in one unit at a pair (column), itself included."""
        size = len(self.network.stocks)
        down = self.arrays.stocks.downstream
        below = sparse.csr_matrix((down.value, down.index, down.pointer), shape=(size, size))
        return below + sparse.identity(size, format="csr")

    @cached_property
    def comes_late(self) -> Bools:
        """[Q] whether what a lane brings can come after the period's orders."""
        return self.arrays.lanes.at_once | self.arrays.switches.receive_after_ship

    def open_factors(self, first: int, periods: int) -> Floats:
        """[T, V] 1 where the calendar of a row of factors is open, else 0; first: calendar period,
        counted from the start date."""
        factor = np.ones((periods, len(self.exposures)))
        for v, row in enumerate(self.arrays.factor_rows.calendar):
            if row >= 0:
                factor[:, v] = self.arrays.calendars.open_periods(row, first, periods)
        return factor

    @cached_property
    def leaf_weight(self) -> Matrix:
        """[P, D] units of a pair in one unit that a customer below it buys."""
        leaves = self.arrays.stocks.leaves
        shape = len(self.network.stocks), len(self.customer_pair)
        return sparse.csr_matrix((leaves.value, leaves.index, leaves.pointer), shape=shape)


def compile_network(network: SupplyNetwork) -> CompiledNetwork:
    """Turn a checked network into arrays. Raises NetworkError."""
    links = link_parts(network)
    demand, leads = expected_demand(links), expected_leads(links)
    calendars = CalendarRows()
    exposures, factor_rows = compile_exposures(links, calendars)
    stocks = compile_stocks(links, demand, leads)
    nodes = compile_nodes(links, stocks.volume)
    lanes = compile_lanes(links, nodes, factor_rows)
    rules = compile_rules(links, nodes, lanes, calendars)
    beliefs = compile_beliefs(lanes, factor_rows, leads)
    switches = compile_switches(links, nodes, lanes, rules, factor_rows)
    longest = np.array([longest_lead(network, lane) for lane in network.lanes], np.int64)
    return CompiledNetwork(
        network=network,
        arrays=NetworkArrays(
            stocks=stocks,
            nodes=nodes,
            lanes=lanes,
            resources=compile_resources(links, lanes),
            rules=rules,
            calendars=calendars.arrays(),
            factor_rows=factor_rows,
            beliefs=beliefs,
            switches=switches,
        ),
        agent_nodes=network.agent_nodes,
        demand=demand,
        leads=leads,
        customer_pair=links.customers,
        review=review_gap(links) - int(switches.demand_first),
        slots=pipeline_slots(lanes, longest, switches.receive_after_ship),
        lead_longest=longest,
        order_slots=int(lanes.information_delay.max()) + 1,
        cohorts=2 * int(beliefs.promised.max(initial=0)) + 4,
        exposures=exposures,
        calendars=links.calendars,
        resource_ids=tuple(r.id for r in links.resources),
    )
