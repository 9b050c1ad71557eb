"""What an agent's action means: the heads of every node kind, and how far each can move.

Every head is a residual in [-1, 1] on what the base policy does; zero is the base policy. A kind
has the heads it can use and no others: `level` always; `expedite` where it has expedite lanes and
the policy uses them; `cap` and the gates where the policy or fixed costs give them a meaning;
`share_i` where there is a choice between lanes of one speed; `weight_i` where the agent shares out
what is scarce.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.types import Bools, Floats, Ints

LEVEL = 0  # the head that every pair has, and where it stands in an action
LEVEL_RANGE = 2.0  # forecast standard deviations that action 1 adds to a level
CAP_RANGE = 1.5  # log factor on the cap
SHARE_RANGE = 3.0  # log-odds that action 1 adds to a lane's base share, and to a weight
SMOOTHING_BOUNDS = (0.2, 1.2)  # share of the gap ordered at action -1 and 1
NEGLIGIBLE_SHARE = 0.05  # lane shares below this are dropped
LEAST_SHARE = 0.02  # what a lane of base share 0 counts as: dropped, unless the action raises it


class HeadArrays(NamedTuple):
    """Where each head stands in a pair's action row, -1: absent. The level is at `LEVEL`."""

    simple: Bools  # [P] one lane, and nothing but the level: the fast path
    expedite: Ints  # [P]
    cap: Ints  # [P]
    smoothing: Ints  # [P]
    gate: Ints  # [P]
    can_gate: Ints  # [P]
    share_head: Ints  # [Q]
    weight_head: Ints  # one for every entry of NetworkArrays.outbound.index
    expedite_scale: Floats  # [P] expedite spread / regular spread
    yields: Floats  # [Q] an order is divided by this, so that what is wanted arrives
    by_rule: bool  # the policy sets gates
    joint: bool  # pairs are ordered together


class Decision(NamedTuple):
    """What the base policy decides beyond its order; size 0 where it doesn't. See `Target`."""

    expedite: Floats  # [P, B]
    cap: Floats  # [P, B]
    smoothing: Floats  # [P, B]
    gate: Floats  # [P, B]
    can_gate: Floats  # [P, B]
    lane_share: Floats  # [Q, B]

    @classmethod
    def empty(cls, net: CompiledNetwork, decides: Collection[str], batch_size: int) -> Decision:
        """Allocate what the policy decides."""
        rows = {"lane_share": len(net.network.lanes)}
        pairs = len(net.network.stocks)
        return cls(
            *(
                np.zeros((rows.get(name, pairs), batch_size) if name in decides else (0, 0))
                for name in cls._fields
            )
        )


@dataclass(frozen=True, eq=False)
class Group:
    """The nodes of one kind; they share one network."""

    name: str
    start: int  # rows start..stop-1 of P
    stop: int
    heads: tuple[str, ...]  # names of the kind's action heads, in order
    node_of_row: Ints  # [rows] index into the network's agent nodes

    @property
    def action_size(self) -> int:
        """Heads the kind uses."""
        return len(self.heads)


def compile_heads(
    net: CompiledNetwork, decides: Collection[str] = (), extra: Collection[str] = ()
) -> tuple[HeadArrays, tuple[Group, ...]]:
    """Number the heads of every pair, node kind by node kind.

    decides: fields of `Target` that the base policy sets. extra: heads a scenario asks for
    (smoothing).
    """
    arrays = net.arrays
    pairs, lanes = len(net.network.stocks), len(net.network.lanes)
    none = np.full(pairs, -1, np.int64)
    place = {name: none.copy() for name in ("expedite", "cap", "smoothing", "gate", "can_gate")}
    share = np.full(lanes, -1, np.int64)
    weight = np.full(arrays.stocks.outbound.index.size, -1, np.int64)
    expedites = arrays.stocks.expedite_periods >= 0
    fixed = np.bincount(arrays.lanes.to, arrays.lanes.fixed_cost, minlength=pairs) > 0
    joint = arrays.stocks.joint_of >= 0
    learned = np.array([s.learned_allocation for s in net.network.stocks], bool)
    node_of = arrays.stocks.node_of
    kinds = np.array([net.agent_nodes[n].kind for n in node_of])
    uses = {
        "expedite": expedites & ("expedite" in decides),
        "cap": np.full(pairs, "cap" in decides),
        "smoothing": np.full(pairs, "smoothing" in decides or "smoothing" in extra),
        "gate": fixed | joint | ("gate" in decides),
        "can_gate": joint & ("can_gate" in decides),
    }
    groups = []
    for kind in dict.fromkeys(kinds):
        rows = np.flatnonzero(kinds == kind)
        names = ["level"]
        for name, used in uses.items():
            if used[rows].any():
                place[name][rows] = len(names)
                names.append(name)
        names += _number_shares(net, rows, share, len(names))
        names += _number_weights(net, rows[learned[rows]], weight, len(names))
        start, stop = int(rows[0]), int(rows[-1]) + 1
        groups.append(Group(str(kind), start, stop, tuple(names), node_of[start:stop]))
    place["expedite"][~expedites] = -1  # though others of the kind have the head
    alone = np.diff(arrays.stocks.inbound.pointer) == 1
    plain = np.all([place[name] < 0 for name in place], axis=0)
    full = np.bincount(arrays.lanes.to, arrays.lanes.expected_yield < 1.0, minlength=pairs) == 0
    any_decided = bool(set(decides) - {"order"})
    simple = alone & plain & full & (not any_decided)
    expedite_lead = np.maximum(net.leads.expedite, 0.0)
    scale = np.sqrt((expedite_lead + 1.0) / np.maximum(net.leads.pair + net.review, 1.0))
    return HeadArrays(
        simple=simple,
        **place,
        share_head=share,
        weight_head=weight,
        expedite_scale=scale,
        yields=arrays.lanes.expected_yield,
        by_rule="gate" in decides,
        joint="can_gate" in decides,
    ), tuple(groups)


def _number_shares(net: CompiledNetwork, rows: Ints, share: Ints, first: int) -> list[str]:
    """Heads for the lanes of one speed to a pair, where there are several."""
    inbound, expedite = net.arrays.stocks.inbound, net.arrays.lanes.expedite
    most = 0
    for p in rows:
        lanes = inbound.row(p)
        count = 0
        for speed in (False, True):
            several = lanes[expedite[lanes] == speed]
            if several.size > 1:
                share[several] = first + count + np.arange(several.size)
                count += several.size
        most = max(most, count)
    return [f"share_{i}" for i in range(most)]


def _number_weights(net: CompiledNetwork, rows: Ints, weight: Ints, first: int) -> list[str]:
    """Heads for the outbound lanes of a pair that compete for its stock."""
    pointer = net.arrays.stocks.outbound.pointer
    most = 0
    for p in rows:
        count = int(pointer[p + 1] - pointer[p])
        if count > 1:
            weight[pointer[p] : pointer[p + 1]] = first + np.arange(count)
            most = max(most, count)
    return [f"weight_{i}" for i in range(most)]
