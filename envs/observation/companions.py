"""What a row sees of others: the features of a few companion rows, and its own number.

Rows stay independent: all that a network needs stands in the row's own observation, so that
training on shuffled rows, serving and other networks need no knowledge of who is whose neighbour.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.observation.features import FLOW_FEATURES
from envs.types import Floats32, Ints

COMPANION_FLAGS = ("is_supplier", "is_customer", "same_node")  # all zero: an empty place
IDENTITY = "row_of_kind"


class CompanionsOf(StrEnum):
    """Who a row's companions are: neighbours along internal lanes, other SKUs of its node."""

    lanes = "lanes"
    node = "node"
    lanes_and_node = "lanes_and_node"


class CompanionArrays(NamedTuple):
    """Who sees whom. The features begin at `first`: K companions one by one, then the identity."""

    first: int
    seen: Ints  # [S] columns of a companion's own features that are seen
    row: Ints  # [P, K] row of the companion, -1: an empty place
    flags: Floats32  # [P, K, 3]
    row_of_kind: Floats32 | None  # [P] number of the row within its node kind


def companion_names(count: int) -> tuple[str, ...]:
    """Names of `count` companions' features, in order."""
    return tuple(
        f"companion_{place}_{name}"
        for place in range(1, count + 1)
        for name in (*FLOW_FEATURES, *COMPANION_FLAGS)
    )


def compile_companions(
    net: CompiledNetwork, own: tuple[str, ...], count: int, of: CompanionsOf, identity: bool
) -> tuple[CompanionArrays, tuple[str, ...]]:
    """Choose each row's companions; returns the arrays and the names in order.

    own: names of a row's own features; those of FLOW_FEATURES are seen of a companion.
    count: companions at most [K]; neighbours along lanes come first, the largest mean demand first.
    """
    pairs = len(net.network.stocks)
    row = np.full((pairs, count), -1, np.int64)
    flags = np.zeros((pairs, count, len(COMPANION_FLAGS)), np.float32)
    if count:
        for p, known in enumerate(_companions(net, of)):
            for place, other in enumerate(list(known)[:count]):
                row[p, place] = other
                flags[p, place] = [flag in known[other] for flag in COMPANION_FLAGS]
    numbers = _row_of_kind(net) if identity else None
    names = companion_names(count) + ((IDENTITY,) if identity else ())
    seen = np.array([own.index(name) for name in FLOW_FEATURES], np.int64)
    return CompanionArrays(len(own), seen, row, flags, numbers), names


def _companions(net: CompiledNetwork, of: CompanionsOf) -> list[dict[int, list[str]]]:
    """All companions of each row with their flags, the first to be seen first."""
    arrays, pairs = net.arrays, len(net.network.stocks)
    along_lanes: list[dict[int, list[str]]] = [{} for _ in range(pairs)]
    same_node: list[dict[int, list[str]]] = [{} for _ in range(pairs)]
    if of is not CompanionsOf.node:
        inputs = arrays.lanes.inputs
        links = zip(inputs.index, arrays.lanes.to[inputs.rows], strict=True)
        for supplier, customer in dict.fromkeys((int(s), int(c)) for s, c in links):
            along_lanes[customer].setdefault(supplier, []).append("is_supplier")
            along_lanes[supplier].setdefault(customer, []).append("is_customer")
    if of is not CompanionsOf.lanes:
        for p in range(pairs):
            others = np.flatnonzero(net.arrays.stocks.node_of == net.arrays.stocks.node_of[p])
            same_node[p] = {int(other): ["same_node"] for other in others if other != p}
    result = []
    for lanes, node in zip(along_lanes, same_node, strict=True):
        known: dict[int, list[str]] = {}
        for part in (lanes, node):
            for other in sorted(part, key=lambda row: (-net.demand.mean[row], row)):
                known[other] = known.get(other, []) + part[other]
        result.append(known)
    return result


def _row_of_kind(net: CompiledNetwork) -> Floats32:
    """[P] Rows are sorted by node kind."""
    kinds = np.array([net.agent_nodes[node].kind for node in net.arrays.stocks.node_of])
    first = {kind: int(np.flatnonzero(kinds == kind)[0]) for kind in set(kinds)}
    return (np.arange(len(kinds)) - [first[kind] for kind in kinds]).astype(np.float32)


def write_static_companions(arrays: CompanionArrays, observation: Floats32) -> None:
    """Fill what never changes in observation [P, F, B]: flags and identity."""
    count = arrays.row.shape[1]
    for place in range(count):
        end = _place(arrays, place).stop
        columns = slice(end, end + len(COMPANION_FLAGS))
        observation[:, columns] = arrays.flags[:, place, :, None]
    if arrays.row_of_kind is not None:
        observation[:, _place(arrays, count).start] = arrays.row_of_kind[:, None]


def write_companions(arrays: CompanionArrays, observation: Floats32) -> None:
    """Copy what companions see of themselves to where it is seen; empty places stay zero."""
    for place in range(arrays.row.shape[1]):
        rows = np.flatnonzero(arrays.row[:, place] >= 0)
        others = arrays.row[rows, place]
        observation[rows, _place(arrays, place)] = observation[others[:, None], arrays.seen]


def _place(arrays: CompanionArrays, place: int) -> slice:
    """Columns of a companion's features; its flags follow."""
    seen = len(arrays.seen)
    start = arrays.first + place * (seen + len(COMPANION_FLAGS))
    return slice(start, start + seen)
