"""What carries over between periods (`State`), what happened in one (`Flows`), and the events'
working memory (`Scratch`).

Letters, fixed here once: **B** replications, **N** nodes, **P** stocked (node, SKU) pairs,
**Q** lanes, **R** resources, **D** demand streams, **L** pipeline slots, **K** lanes with beliefs,
**M** order cohorts, **T** periods, **C** cost columns, **F** features. The batch is innermost
everywhere: loops over it vectorise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from envs.compiled.arrays import CostColumn
from envs.types import Bools, Floats

if TYPE_CHECKING:
    from envs.compiled.network import CompiledNetwork


class State(NamedTuple):
    """The system between two events, and what agents may know of it."""

    on_hand: Floats  # [P, B] units
    backorders: Floats  # [P, B] units that customers wait for
    owed: Floats  # [Q, B] units ordered, known to the sender, not shipped
    in_transit: Floats  # [Q, L, B] units by arrival slot (period modulo L)
    in_transit_total: Floats  # [Q, B] units
    orders_on_way: Floats  # [Q, slots, B] units of orders the sender doesn't know yet
    orders_on_way_total: Floats  # [Q, B] units
    # What is known or believed when agents order; written by the observe event.
    owed_to_lanes: Floats  # [P, B] units of the pair that outbound lanes wait for
    inventory_level: Floats  # [P, B] on_hand - backorders - owed_to_lanes
    on_order: Floats  # [P, B] in transit + owed by suppliers + orders on the way
    inventory_position: Floats  # [P, B] inventory_level + on_order
    echelon_inventory_position: Floats  # [P, B] with all stock below, customers' backorders off
    expedite_position: Floats  # [P, B] of inventory_position what expedited goods find; else 0
    incoming: Floats  # [P, B] units asked of the pair since the last observation
    demand_level: Floats  # [D, B] smoothed demand at multiplier 1
    demand_variance: Floats  # [D, B] of one period at multiplier 1
    forecast_mean: Floats  # [P, B] demand over the pair's own lead time and review
    forecast_sd: Floats  # [P, B]
    echelon_forecast_mean: Floats  # [P, B] demand over the whole way down to customers
    echelon_forecast_sd: Floats  # [P, B]
    mean_7: Floats  # [P, B] exponentially weighted incoming, 7-period span
    mean_28: Floats  # [P, B]
    square_28: Floats  # [P, B] of incoming squared
    zero_share_28: Floats  # [P, B] share of periods without demand
    history: Floats  # [P, memory, B] incoming of the last periods, by period modulo memory
    # Of lanes whose service varies, from what was ordered and received; see events/believe.py.
    cohorts: Floats  # [K, M, B] units ordered in a period (modulo M) and not received
    asked: Floats  # [K, M, B] units ordered in a period
    oldest: Floats  # [K, B] a period before which nothing is missing: receipts are matched from it
    lead_belief: Floats  # [K, B] periods from order to receipt
    lead_square: Floats  # [K, B] its square
    on_time: Floats  # [K, B] share of received units that came within the promised time
    in_full: Floats  # [K, B] share of an order that is there when the promised time is over
    overdue: Floats  # [K, B] units ordered longer ago than promised, and not received

    @classmethod
    def empty(cls, net: CompiledNetwork, batch_size: int, memory: int = 0) -> State:
        """Allocate the arrays; `envs.simulation.simulator.reset` fills them. memory: periods of
        history."""
        shapes = shapes_of(net)
        odd = {
            "history": (shapes["P"], memory),
            "in_transit": (shapes["Q"], net.slots),
            "orders_on_way": (shapes["Q"], net.order_slots),
            **dict.fromkeys(("owed", "in_transit_total", "orders_on_way_total"), (shapes["Q"],)),
            **dict.fromkeys(("demand_level", "demand_variance"), (shapes["D"],)),
            **dict.fromkeys(("cohorts", "asked"), (shapes["K"], net.cohorts)),
            **dict.fromkeys(
                ("oldest", "lead_belief", "lead_square", "on_time", "in_full", "overdue"),
                (shapes["K"],),
            ),
        }
        return cls(*(np.zeros((*odd.get(n, (shapes["P"],)), batch_size)) for n in cls._fields))


# What the observe event works out of the rest alone.
DERIVED = frozenset({
    "owed_to_lanes", "inventory_level", "on_order", "inventory_position",
    "echelon_inventory_position", "expedite_position", "forecast_mean", "forecast_sd",
    "echelon_forecast_mean", "echelon_forecast_sd",
})  # fmt: skip


class Flows(NamedTuple):
    """What happened in the current period. Overwritten by the next one."""

    raw_order: Floats  # [Q, B] units asked for, before the feasibility layer
    ordered: Floats  # [Q, B] units, executed
    shipped: Floats  # [Q, B] units
    cancelled: Floats  # [Q, B] units
    received: Floats  # [Q, B] units, without the defective ones
    # [Q, B] units of these that came in after the period's customers; empty where all or none do
    received_late: Floats
    scrapped: Floats  # [Q, B] units that arrived defective
    demand: Floats  # [P, B] units, of customers
    sold: Floats  # [P, B] units of today's demand served from stock
    backlog_served: Floats  # [P, B] units of older demand served
    lost: Floats  # [P, B] units
    requested: Floats  # [P, B] units asked by outbound lanes
    cost: Floats  # [C, P, B] currency
    total_cost: Floats  # [P, B] currency
    resource_left: Floats  # [R, B] capacity left in the period
    resource_used: Floats  # [R, B] used in the period by shipments, or orders if it limits those
    # [U, B] left though lanes wanted more of it than there was, else 0: of resources, then of the
    # room at nodes.capacitated
    limit_unused: Floats
    limit: Floats  # [Q, B] units that sharing by rule left at most; empty where all is simple

    @classmethod
    def empty(cls, net: CompiledNetwork, batch_size: int) -> Flows:
        """Allocate the arrays."""
        shapes = shapes_of(net)
        lane_fields = ("raw_order", "ordered", "shipped", "cancelled", "received", "scrapped")
        odd = {
            **dict.fromkeys(lane_fields, (shapes["Q"],)),
            **dict.fromkeys(("resource_left", "resource_used"), (shapes["R"],)),
            "limit_unused": (len(net.limit_ids),),
            "limit": (_ruled_lanes(net),),
            "received_late": (_late_lanes(net),),
            "cost": (len(CostColumn), shapes["P"]),
        }
        return cls(*(np.zeros((*odd.get(n, (shapes["P"],)), batch_size)) for n in cls._fields))


# What the other half of a period reads: of customers and receipts, whenever they come in it.
SEEN_FLOWS = (
    "received", "received_late", "scrapped", "demand", "sold", "backlog_served", "lost",
    "requested",
)  # fmt: skip


class Scratch(NamedTuple):
    """Working memory of the events: nothing in it outlives the event that writes it."""

    triggered: Floats  # [R, B] decide: 1 where a joint order is due
    wanted: Floats  # [Q, B] order: units, before each rule; empty where no rule limits orders
    limit_left: Floats  # [budgets and nodes of limited room, B] order: what is left of them
    limit_need: Floats  # [the same, B] order: what orders take of them
    need: Floats  # [P, B] ship: units that lanes want of a pair
    resource_need: Floats  # [R, B] ship: use that lanes want of a resource
    share: Floats  # [Q, B] ship: units in one round; empty where there is only one
    weight: Floats  # [Q, B] ship: see `allocate`; empty where all sharing is simple
    offset: Floats  # [Q, B] ship: the same
    row: Floats  # [B] ship: units a lane wants
    is_short: Bools  # [Q] ship: lanes of whole units that ship less than is owed
    rest: Floats  # [Q, B] ship: parts of whole units
    rows: Floats  # [3, B] ship: what whole units are shared by
    let_in: Floats  # [N, B] receive: share of what is due that fits
    is_full: Floats  # [N, B] receive: 1 where nothing is due that needs room, and there is none
    due: Floats  # [Q, B] receive: units that take room; empty where no room is limited
    comes_in: Floats  # [Q, B] receive: units of what is due, where whole ones meet limited room

    @classmethod
    def empty(cls, net: CompiledNetwork, batch_size: int) -> Scratch:
        """Allocate the arrays."""
        shapes, arrays = shapes_of(net), net.arrays
        lanes, ruled = shapes["Q"], _ruled_lanes(net)
        limits = len(arrays.rules.budgets) + len(arrays.nodes.capacitated)
        rows = {
            "triggered": shapes["R"],
            "wanted": lanes if arrays.switches.has_order_rules else 0,
            "limit_left": limits,
            "limit_need": limits,
            "need": shapes["P"],
            "resource_need": shapes["R"],
            "share": lanes if arrays.switches.ship_rounds > 1 else 0,
            "weight": ruled,
            "offset": ruled,
            "rest": lanes if arrays.switches.has_whole_units else 0,
            "rows": 3,
            "let_in": shapes["N"],
            "is_full": shapes["N"],
            "due": lanes if arrays.nodes.capacitated.size > 0 else 0,
            "comes_in": lanes if arrays.switches.has_whole_units else 0,
        }
        fields = {name: np.zeros((count, batch_size)) for name, count in rows.items()}
        return cls(**fields, row=np.zeros(batch_size), is_short=np.zeros(lanes, bool))


def _ruled_lanes(net: CompiledNetwork) -> int:
    """All lanes where some of them share by a rule, else none."""
    arrays = net.arrays
    is_simple = arrays.stocks.shares_simply.all() and not arrays.resources.by_priority.any()
    return 0 if is_simple else len(arrays.lanes.to)


def _late_lanes(net: CompiledNetwork) -> int:
    """All lanes where some goods arrive before the period's customers and some after, else none."""
    arrays = net.arrays
    comes_first = arrays.switches.demand_first and not arrays.switches.receive_after_ship
    return len(arrays.lanes.to) if comes_first and arrays.lanes.at_once.any() else 0


def shapes_of(net: CompiledNetwork) -> dict[str, int]:
    """Return the length of each dimension, by its letter."""
    return {
        "P": len(net.network.stocks),
        "Q": len(net.network.lanes),
        "R": len(net.resource_ids),
        "N": len(net.agent_nodes),
        "D": len(net.customer_pair),
        "K": len(net.arrays.beliefs.lane),
    }
