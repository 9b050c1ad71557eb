"""The network as the kernels see it: arrays, sparse rows of arrays, and a few switches.

Letters: N nodes, P stocked pairs, Q lanes, R resources, K calendars, C cost columns.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from envs.types import Bools, Floats, Ints


class CostColumn(IntEnum):
    """Every kind of cost, in currency per period; revenue and salvage are negative costs."""

    HOLDING = 0
    IN_TRANSIT = 1
    BACKLOG = 2
    LOST_SALE = 3
    PURCHASE = 4
    FIXED_ORDER = 5
    REVENUE = 6
    SALVAGE = 7
    LOAD = 8


class Csr(NamedTuple):
    """Rows of (index, value) pairs: row i is index[pointer[i]:pointer[i + 1]]."""

    pointer: Ints
    index: Ints  # type: ignore[assignment]  # hides tuple.index, unused here
    value: Floats

    @property
    def rows(self) -> Ints:
        """The row of each entry."""
        return np.repeat(np.arange(len(self.pointer) - 1), np.diff(self.pointer))

    def row(self, i: int | np.integer) -> Ints:
        """The indices of row i."""
        return self.index[self.pointer[i] : self.pointer[i + 1]]


class StockArrays(NamedTuple):
    """Stocked pairs: costs, demand, and what is next to them."""

    holding_cost: Floats  # [P] currency per unit per period
    backlog_cost: Floats  # [P] currency per unit per period
    lost_sale_cost: Floats  # [P] currency per unit
    price: Floats  # [P] currency per unit
    salvage: Floats  # [P] currency per unit left at the horizon
    p_wait: Floats  # [P] share
    serve_limit: Floats  # [P] units per period; whole ones where the SKU comes in those
    whole: Bools  # [P] whether the SKU comes in whole units
    initial_stock: Floats  # [P] units
    volume: Floats  # [P] storage units per unit
    node_of: Ints  # [P] node
    demand_of: Ints  # [P] demand stream, or -1
    demand_rate: Floats  # [P] units per period, own customers and all below; > 0
    allocation: Ints  # [P] how outbound lanes share: 0 proportional, 1 priority, 2 fair share
    shares_simply: Bools  # [P] proportional, and no learned weights
    joint_of: Ints  # [P] resource whose fixed cost or loads the pair shares with others, or -1
    expedite_periods: Ints  # [P] within which expedited goods arrive; -1: no expedite lanes
    inbound: Csr  # [P] -> lanes, value: base share
    outbound: Csr  # [P] -> lanes, value: units of the pair per unit on the lane
    waiting_cost: Floats  # per entry of outbound: currency per unit owed and period
    downstream: Csr  # [P] -> pairs below it, value: units of the pair per unit there
    leaves: Csr  # [P] -> demand streams it serves, value: units of the pair per unit sold


class NodeArrays(NamedTuple):
    """Room at the nodes."""

    capacitated: Ints  # [K] nodes with a finite storage capacity
    storage_capacity: Floats  # [N] volume units
    stored: Csr  # [N] -> pairs, value: volume per unit
    receives: Csr  # [N] -> lanes that bring what takes room, in their turn, value: volume per unit


class LaneArrays(NamedTuple):
    """Lanes: what they connect, cost and take."""

    to: Ints  # [Q] pair
    inputs: Csr  # [Q] -> pairs, value: units per unit on the lane
    uses: Csr  # [Q] -> resources, value: use per unit
    unit_cost: Floats  # [Q] currency per unit
    fixed_cost: Floats  # [Q] currency per order
    seller: Ints  # [Q] pair that earns the lane's price and pays for what it leaves unfilled
    price: Floats  # [Q] currency per unit shipped
    unfilled_cost: Floats  # [Q] currency per unit owed and period, or cancelled; where set
    in_transit_cost: Floats  # [Q] currency per unit per period
    in_transit_payer: Ints  # [Q] pair that pays it
    priority: Floats  # [Q] 0 is served first
    expedite: Bools  # [Q]
    information_delay: Ints  # [Q] periods
    lead_time: Ints  # [Q] periods; used where lead_row is -1
    lead_row: Ints  # [Q] row of the trace's lead times, or -1
    at_once: Bools  # [Q] the lead time can be 0
    plain_receipt: Bools  # [Q] no yield, pause or storage limit: all that is due arrives
    yield_share: Floats  # [Q] of what arrives
    expected_yield: Floats  # [Q] with the mean of its regimes
    split_share: Floats  # [Q] of a shipment that comes later
    split_delay: Ints  # [Q] periods
    step: Floats  # [Q] units that shipments of whole units are multiples of; 0: any quantity
    turn: Ints  # [Q] place by priority and then by name: who comes first where all else is equal


class ResourceArrays(NamedTuple):
    """Resources that lanes share: capacities, budgets, joint costs, loads."""

    users: Csr  # [R] -> lanes, value: use per unit
    capacity: Floats  # [R] per period
    by_priority: Bools  # [R] how the capacity is shared; else in proportion
    limits_orders: Bools  # [R] the capacity is a budget for orders, not a limit on shipments
    joint_cost: Floats  # [R] currency per period of use
    load_size: Floats  # [R] capacity units per load; 0: no loads
    load_cost: Floats  # [R] currency per load
    scarce: Ints  # [J] pairs, and resources (behind the P pairs), that lanes of whole units share
    takers: Csr  # [J] -> lanes of whole units that take of it, in their turn; value: use per unit
    takers_alike: Bools  # [J] they take equally much a step, and of nothing else that is scarce
    least_step: Floats  # [J] of the thing: the least that a step of one of them takes


class OrderRules(NamedTuple):
    """What an order on a lane has to keep to."""

    minimum_order: Floats  # [Q] units
    maximum_order: Floats  # [Q] units
    pack: Floats  # [Q] units that orders are whole multiples of: packs, full loads; 0: divisible
    pack_numerator: Floats  # [Q] of the same as a fraction
    pack_denominator: Floats  # [Q]
    least_packs: Floats  # [Q] of an order that isn't 0
    most_packs: Floats  # [Q]
    rounding: Ints  # [Q] to what an order can be: 0 up, 1 nearest, 2 down
    budgets: Ints  # resources that limit orders
    # [Q] -> what orders share: budgets, then nodes.capacitated; value: use, volume per unit
    takes: Csr
    limited: Ints  # lanes with such a limit, in the order in which they get what is left of it
    calendar_row: Ints  # [Q] row of the calendars, or -1: always open


class CalendarArrays(NamedTuple):
    """Distinct calendars of lanes, nodes and resources; see `envs.network.calendar.Calendar`."""

    is_open: Bools  # [K, periods] by period up to known_until, then one cycle that goes on for ever
    known_until: Ints  # [K] period, a multiple of the cycle
    cycle: Ints  # [K] periods

    def open_periods(self, row: int, first: int, periods: int) -> Bools:
        """[T] whether a calendar is open from the period `first` on, as counted from the network's
        start date."""
        t, until = first + np.arange(periods), self.known_until[row]
        known = (t >= 0) & (t < until)
        is_open: Bools = self.is_open[row, np.where(known, t, until + t % self.cycle[row])]
        return is_open


class FactorRows(NamedTuple):
    """Rows of the trace's factors, -1: always 1. What regimes multiply, and calendars close."""

    availability: Ints  # [Q]
    yield_share: Ints  # [Q]
    cost: Ints  # [Q]
    ordering: Ints  # [Q]
    transit: Ints  # [Q]
    receiving: Ints  # [Q]
    capacity: Ints  # [R]
    calendar: Ints  # [V] row of the calendar that closes (0) the factor, or -1


class BeliefArrays(NamedTuple):
    """Lanes whose service varies: buyers have beliefs about them."""

    row: Ints  # [Q] row of the beliefs, or -1
    lane: Ints  # [K] lane of each row
    promised: Ints  # [K] periods from order to receipt, mean + one standard deviation


class Switches(NamedTuple):
    """What holds for the whole network."""

    column_used: Bools  # [C] cost columns that can differ from 0
    ship_rounds: int  # passes of joint allocation
    receive_after_ship: bool
    demand_first: bool
    cancel_unfilled: bool
    has_order_rules: bool  # calendars, pauses, storage or budgets limit orders
    has_use_costs: bool  # joint fixed costs or loads
    has_lane_terms: bool  # prices or costs of unfilled orders on some lane
    has_whole_units: bool  # of some SKU


class NetworkArrays(NamedTuple):
    """The network for the kernels."""

    stocks: StockArrays
    nodes: NodeArrays
    lanes: LaneArrays
    resources: ResourceArrays
    rules: OrderRules
    calendars: CalendarArrays
    factor_rows: FactorRows
    beliefs: BeliefArrays
    switches: Switches
