"""(s, S): at the reorder point s or below it, order up to S.

Optimal for one item with a fixed cost per order and backlog (Scarf 1960).
"""

from __future__ import annotations

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import has_fixed_cost
from envs.policies.base import Follows, Parameter, Policy, Target, View
from envs.policies.base_stock import newsvendor, orders_multiples
from envs.types import Floats

_LONGEST_CYCLE = 100.0  # periods; where holding costs nothing, the formula knows no end


def order_cycle(net: CompiledNetwork, joint: bool) -> Floats:
    """Return the periods of demand that an order brings [P]: the economic order interval.

    sqrt(2 K / (h D)), K the cost of an order and h D that of holding a period's demand (Harris
    1913). joint: the pairs of a supplier are ordered together and share its fixed cost, so K and
    h D are sums over them (Silver, Pyke and Thomas 2017, section 10.2); else each pair bears it
    alone. A load's cost counts as fixed, so an order brings one load at most; nor is an order below
    the lane's minimum.
    """
    arrays = net.arrays
    demand = net.demand.mean
    cost, minimum, volume, shared_cost = np.zeros((4, len(demand)))
    np.maximum.at(cost, arrays.lanes.to, arrays.lanes.fixed_cost)
    np.maximum.at(minimum, arrays.lanes.to, arrays.rules.minimum_order)
    holding = arrays.stocks.holding_cost * demand
    uses = arrays.lanes.uses
    to = arrays.lanes.to[uses.rows]
    own = uses.index == arrays.stocks.joint_of[to]
    np.maximum.at(volume, to[own], uses.value[own] * demand[to[own]])
    bound = np.flatnonzero(arrays.stocks.joint_of >= 0)
    supplier = arrays.stocks.joint_of[bound]
    load = np.full(len(demand), np.inf)
    has_loads = arrays.resources.load_size[supplier] > 0.0
    load[bound[has_loads]] = arrays.resources.load_size[supplier[has_loads]]
    shared_cost[bound] = (
        arrays.resources.joint_cost[supplier] + arrays.resources.load_cost[supplier]
    )
    if joint:
        for values in (cost, holding, volume):
            values[bound] = np.bincount(supplier, values[bound])[supplier]
    cycle = np.sqrt(2.0 * (cost + shared_cost) / np.maximum(holding, 1e-9))
    cycle = np.minimum(cycle, load / np.maximum(volume, 1e-9))
    cycle = np.maximum(cycle, np.maximum(net.review, minimum / np.maximum(demand, 1e-9)))
    return np.minimum(cycle, _LONGEST_CYCLE)


class ReorderPointOrderUpTo(Policy):
    """order = S - inventory_position, where the position is at s or below."""

    name = "s_s"
    decides = frozenset({"gate"})
    follows = Follows.inventory_position
    suits = staticmethod(has_fixed_cost)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        reorder, sd = newsvendor(net)
        size, whole = net.demand.mean * order_cycle(net, joint=False), orders_multiples(net)
        return {
            "reorder_point": Parameter(reorder, sd, whole=whole),
            "order_up_to_level": Parameter(reorder + size, sd + 0.25 * size, whole=whole),
        }

    def target(self, view: View) -> Target:
        position, levels = view.state.inventory_position, self._parameters
        return Target(
            levels["order_up_to_level"] - position, gate=levels["reorder_point"] - position
        )
