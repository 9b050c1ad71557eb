"""How the parts of a network hang together, and how goods flow through it in regular use."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from envs.compiled.arrays import Csr
from envs.compiled.calendars import lane_calendars
from envs.compiled.sparse import csr
from envs.errors import NetworkError
from envs.network.calendar import LaneCalendars
from envs.network.lane import Lane, Resource, Speed
from envs.network.network import SupplyNetwork
from envs.network.whole_units import whole_skus
from envs.types import Floats, Ints, Matrix


class Links(NamedTuple):
    """The network's parts by number; everything else is compiled from it."""

    network: SupplyNetwork
    resources: tuple[Resource, ...]  # [R] declared ones, then the loads of lanes
    node_of: Ints  # [P] index into the agent nodes
    lane_to: Ints  # [Q] pair
    inputs: Csr  # [Q] -> pairs, value: units per unit on the lane
    uses: Csr  # [Q] -> resources, value: use per unit
    share: Floats  # [Q] of the lanes of one speed to a pair
    regular: Floats  # [Q] of regular flow
    weight: Matrix  # [P, P] units of a pair (row) in one unit at a pair (column), itself included
    customers: Ints  # [D] pairs that sell to customers
    whole: frozenset[str]  # SKUs that come in whole units
    calendars: tuple[LaneCalendars, ...]  # [Q]

    @property
    def pairs(self) -> int:
        """P"""
        return len(self.network.stocks)

    @property
    def to_leaves(self) -> Matrix:
        """[P, D] units of a pair in one unit that a customer below it buys."""
        return self.weight[:, self.customers]


def link_parts(network: SupplyNetwork) -> Links:
    """Number the parts and follow the flows. Raises NetworkError."""
    stocks, lanes = network.stocks, network.lanes
    if not stocks:
        raise NetworkError("The network stocks nothing; expected at least one stocked pair.")
    pair = {(s.node, s.sku): p for p, s in enumerate(stocks)}
    node = {n.id: i for i, n in enumerate(network.agent_nodes)}
    resources, uses = _with_lane_loads(network)
    lane_to = np.array([pair[lane.node, lane.sku] for lane in lanes], np.int64)
    inputs = csr([[(pair[i.node, i.sku], i.quantity) for i in lane.inputs] for lane in lanes])
    share = _base_share(lanes, lane_to, len(stocks))
    regular = np.where([q.speed is Speed.expedite for q in lanes], 0.0, share)
    return Links(
        network=network,
        resources=resources,
        node_of=np.array([node[s.node] for s in stocks], np.int64),
        lane_to=lane_to,
        inputs=inputs,
        uses=uses,
        share=share,
        regular=regular,
        weight=_echelon_weight(lane_to, regular, inputs, len(stocks)),
        customers=np.array([p for p, s in enumerate(stocks) if s.demand is not None], np.int64),
        whole=whole_skus(network),
        calendars=lane_calendars(network),
    )


def turns(lanes: tuple[Lane, ...]) -> Ints:
    """[Q] each lane's place by priority, then by name."""
    turn = np.zeros(len(lanes), np.int64)
    turn[sorted(range(len(lanes)), key=lambda q: (lanes[q].priority, lanes[q].id))] = np.arange(
        len(lanes)
    )
    return turn


def _with_lane_loads(network: SupplyNetwork) -> tuple[tuple[Resource, ...], Csr]:
    """Return all resources and which lanes use them: a lane's own loads are a resource of its
    own, behind the declared ones, so that there is one kind of load."""
    resources = list(network.resources)
    index = {r.id: i for i, r in enumerate(resources)}
    uses: list[list[tuple[int, float]]] = []
    for lane in network.lanes:
        used = [(index[u.resource], u.per_unit) for u in lane.resources]
        if lane.load_cost > 0.0:
            used.append((len(resources), 1.0))
            resources.append(
                Resource(f"{lane.id} loads", load_size=lane.load_size, load_cost=lane.load_cost)
            )
        uses.append(used)
    return tuple(resources), csr(uses)


def _base_share(lanes: tuple[Lane, ...], lane_to: Ints, pairs: int) -> Floats:
    """[Q] shares that sum to 1 over the lanes of one speed to a pair. Raises NetworkError."""
    share = np.array([q.base_share for q in lanes], float)
    fast = np.array([q.speed is Speed.expedite for q in lanes], bool)
    slow = np.bincount(lane_to[~fast], share[~fast], minlength=pairs)
    if (slow[lane_to] <= 0).any():
        bad = lanes[int(np.flatnonzero(slow[lane_to] <= 0)[0])]
        raise NetworkError(
            f"Lane '{bad.id}': the base shares of all regular lanes to {bad.sku}@{bad.node} are 0; "
            "expected at least one above 0."
        )
    total = np.where(
        fast, np.bincount(lane_to[fast], share[fast], minlength=pairs)[lane_to], slow[lane_to]
    )
    return share / np.maximum(total, 1e-300)


def _flow(lane_to: Ints, share: Floats, inputs: Csr, pairs: int) -> Matrix:
    """[P, P] units of a pair (row) that ordering one unit at a pair (column) consumes."""
    lane = inputs.rows
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
