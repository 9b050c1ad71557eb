"""What the reverse pass works on: how the loss moves with everything in a period.

A period runs backwards as it runs forwards: each event has its reverse beside it
(`envs/simulation/events`), which takes how the loss moves with what the event leaves behind, and
gives how it moves with what the event found (reverse accumulation: Griewank and Walther 2008,
"Evaluating derivatives", chapter 3). Without a slope: rounding to packs, loads and whole units
(passed straight through, so that an order that was rounded to nothing still learns), fees per
order, and whether to order at all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.simulation.state import shapes_of
from envs.types import Bytes, Floats

CRUMB_UNITS = 1e-6  # shares of less have no slope: it has no bound


class Slopes(NamedTuple):
    """How the loss moves, per unit more of each; as in `State`, `Flows` and `Decision`."""

    on_hand: Floats  # [P, B]
    backorders: Floats  # [P, B]
    owed: Floats  # [Q, B]
    in_transit: Floats  # [Q, L, B]; beside the part that in_transit_total has
    in_transit_total: Floats  # [Q, B]
    orders_on_way: Floats  # [Q, slots, B]; beside the part that orders_on_way_total has
    orders_on_way_total: Floats  # [Q, B]
    # Positions, when agents order.
    owed_to_lanes: Floats  # [P, B]
    inventory_level: Floats  # [P, B]
    on_order: Floats  # [P, B]
    inventory_position: Floats  # [P, B]
    echelon_inventory_position: Floats  # [P, B]
    expedite_position: Floats  # [P, B]
    # What happens in the period.
    sold: Floats  # [P, B]
    backlog_served: Floats  # [P, B]
    lost: Floats  # [P, B]
    shipped: Floats  # [Q, B]
    cancelled: Floats  # [Q, B]
    raw_order: Floats  # [Q, B]
    # What the base policy and the agents decide.
    order: Floats  # [P, B]
    expedite: Floats  # [P, B]
    action: Floats  # [P, A, B] per 1 more

    @classmethod
    def empty(cls, net: CompiledNetwork, heads: int, batch_size: int) -> Slopes:
        """Allocate zeros. heads: A, of an action."""
        shapes = shapes_of(net)
        lanes = ("owed", "in_transit_total", "orders_on_way_total", "shipped", "cancelled")
        odd = {
            **dict.fromkeys((*lanes, "raw_order"), (shapes["Q"],)),
            "in_transit": (shapes["Q"], net.slots),
            "orders_on_way": (shapes["Q"], net.order_slots),
            "action": (shapes["P"], heads),
        }
        return cls(*(np.zeros((*odd.get(n, (shapes["P"],)), batch_size)) for n in cls._fields))


class Marks(NamedTuple):
    """Which way a period took where its events branch: written while it is played, since the last
    digit of a sum can decide it."""

    moves: Bytes  # [Q, B] whether the order moves with what was wanted
    served: Bytes  # [P, B] what limited sales, see `envs.simulation.events.serve.note_served`
    short: Bytes  # [P, B] whether the inventory position was below the forecast
    # Empty where no node's room is limited: units due, and the share of them that was let in; -1
    # where none was due and the first unit would have been kept out.
    due: Floats  # [Q, B] when the period opened or, if goods come after shipping, closed
    let_in: Floats  # [N, B]
    due_at_once: Floats  # [Q, B] of what was shipped with lead time 0
    let_in_at_once: Floats  # [N, B]

    @classmethod
    def empty(cls, net: CompiledNetwork, batch_size: int) -> Marks:
        """Allocate zeros."""
        shapes = shapes_of(net)
        has_limits = net.arrays.nodes.capacitated.size > 0
        at_once = has_limits and bool(net.arrays.lanes.at_once.any())
        rows = {
            "due": shapes["Q"] * has_limits,
            "let_in": shapes["N"] * has_limits,
            "due_at_once": shapes["Q"] * at_once,
            "let_in_at_once": shapes["N"] * at_once,
        }
        return cls(
            np.zeros((shapes["Q"], batch_size), np.uint8),
            np.zeros((shapes["P"], batch_size), np.uint8),
            np.zeros((shapes["P"], batch_size), np.uint8),
            **{name: np.zeros((count, batch_size)) for name, count in rows.items()},
        )


class Rounds(NamedTuple):
    """What each round of sharing began with and gave: working memory of `reverse_ship`."""

    want: Floats  # [rounds, Q, B] units
    shipped: Floats  # [rounds, Q, B] units of earlier rounds
    share: Floats  # [rounds, Q, B] units
    on_hand: Floats  # [rounds, P, B] units
    need: Floats  # [rounds, P, B] units
    left: Floats  # [rounds, R, B] capacity
    resource_need: Floats  # [rounds, R, B]
    by_share: Floats  # [Q, B] slopes by what a lane gets in a round
    by_want: Floats  # [Q, B] by what it wants in it
    by_full: Floats  # [Q, B] by what it wants in the first one
    by_need: Floats  # [P, B]
    by_resource_need: Floats  # [R, B]
    by_left: Floats  # [R, B]
    by_weight: Floats  # [Q, B] see `envs.simulation.events.allocate`; empty where all is simple
    by_offset: Floats  # [Q, B] the same

    @classmethod
    def empty(cls, net: CompiledNetwork, ruled: int, batch_size: int) -> Rounds:
        """Allocate zeros. ruled: rows of `Flows.limit`."""
        shapes, rounds = shapes_of(net), net.arrays.switches.ship_rounds
        q, p, r = shapes["Q"], shapes["P"], shapes["R"]
        sizes: list[tuple[int, ...]] = [(rounds, rows) for rows in (q, q, q, p, p, r, r)]
        sizes += [(rows,) for rows in (q, q, q, p, r, r, ruled, ruled)]
        return cls(*(np.zeros((*size, batch_size)) for size in sizes))
