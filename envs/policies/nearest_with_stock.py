"""Order fulfilment: customers' orders go to the cheapest node that has the goods.

Pairs that customers order at and that several stocked nodes can serve are fulfilled order by
order: they order what waits, filling up from the cheapest lane on as far as its sender's stock
goes; what no sender has is ordered once one has it. All other pairs follow base-stock. Zones
compete for the same stock, so they are assigned together: all of them first order from the cheapest
sender, whose stock is shared in proportion; then from the second, for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import sparse

from envs.compiled.network import CompiledNetwork
from envs.policies.base import Parameter, Target, View, only_if_named
from envs.policies.base_stock import BaseStock, newsvendor, orders_multiples
from envs.types import Bools, Floats, Ints, Matrix


def fulfilling_pairs(net: CompiledNetwork) -> Bools:
    """[P] pairs with customers and a choice of senders, all of them stocked."""
    arrays = net.arrays
    lanes = np.diff(arrays.stocks.inbound.pointer)
    from_stock = np.diff(arrays.lanes.inputs.pointer) > 0
    stocked = np.bincount(arrays.lanes.to, from_stock, minlength=len(lanes))
    result: Bools = (arrays.stocks.demand_of >= 0) & (lanes > 1) & (stocked == lanes)
    return result


class NearestAlways(BaseStock):
    """order = level - IP; where orders are fulfilled the level is 0. Lanes by their base shares."""

    name = "nearest_always"
    suits = staticmethod(only_if_named)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        start, scale = np.where(fulfilling_pairs(net), 0.0, newsvendor(net))
        return {"level": Parameter(start, scale, whole=orders_multiples(net))}


class NearestWithStock(NearestAlways):
    """The same, from the cheapest lanes whose senders have stock."""

    name = "nearest_with_stock"
    decides = frozenset({"lane_share"})
    approximate = "orders and lanes follow what the senders have"

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        super().__init__(net, parameters)
        self._ranks, self._base = _lanes_by_cost(net), net.base_share[:, None]
        # Parts of units would be rounded up as often as down, and arrive without a customer.
        self._whole = orders_multiples(net)

    def target(self, view: View) -> Target:
        order = self._parameters["level"] - view.state.inventory_position
        there = view.state.on_hand.copy()
        share = np.repeat(self._base, there.shape[1], axis=1)
        wanted = np.maximum(order, 0.0)
        for rank in self._ranks:
            ordered = wanted[rank.to]
            filled = np.minimum(there / np.maximum(rank.takes @ ordered, 1e-12), 1.0)
            part = ordered * filled[rank.sender]
            part = np.floor(part + 1e-9) if self._whole else part
            there -= rank.takes @ part
            share[rank.lanes], wanted[rank.to] = part, ordered - part
        if self._ranks:  # what no sender has is ordered later
            cheapest = self._ranks[0]
            share[cheapest.lanes] += 1e-9
            order[cheapest.to] -= wanted[cheapest.to]
        return Target(order, lane_share=share)


class _Rank(NamedTuple):
    """Lanes, at most one to a pair."""

    lanes: Ints  # [L]
    to: Ints  # [L] pairs
    sender: Ints  # [L] pairs
    takes: Matrix  # [P, L] units of a pair in one unit on a lane


def _lanes_by_cost(net: CompiledNetwork) -> list[_Rank]:
    """Of the pairs that fulfil orders: their cheapest lanes, their second cheapest, ..."""
    arrays = net.arrays
    through = fulfilling_pairs(net)
    ranks: list[list[int]] = []
    for p in np.flatnonzero(through):
        lanes = arrays.stocks.inbound.row(p)
        for rank, q in enumerate(lanes[np.argsort(arrays.lanes.unit_cost[lanes], kind="stable")]):
            if rank == len(ranks):
                ranks.append([])
            ranks[rank].append(int(q))
    return [_rank(net, np.array(lanes)) for lanes in ranks]


def _rank(net: CompiledNetwork, lanes: Ints) -> _Rank:
    inputs = net.arrays.lanes.inputs
    first = inputs.pointer[lanes]
    sender, shape = inputs.index[first], (len(net.network.stocks), len(lanes))
    takes = sparse.csr_matrix((inputs.value[first], (sender, np.arange(len(lanes)))), shape=shape)
    return _Rank(lanes, net.arrays.lanes.to[lanes], sender, takes)
