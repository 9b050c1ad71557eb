"""(Q, S): once the pairs of a supplier are Q below their levels in all, order each up to its S.

For pairs that share a supplier's fixed cost or its loads (Pantumsinchai 1992). Q and the orders are
measured in what the loads are (cubic metres), and the orders fill whole loads, as in full-truckload
rules (Cheung and Lee 2002). A pair that shares nothing is alone: that is (s, S).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import sparse

from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import shares_order_cost
from envs.policies.base import Follows, Parameter, Policy, Target, View
from envs.policies.base_stock import covering_level, pack_size, safety_factor
from envs.policies.s_s import order_cycle
from envs.types import Floats


class JointQuantity(Policy):
    """order = S - inventory_position, or its part of the whole loads that the supplier's pairs
    lack, where these lack Q or more.

    Q is what they sell in `cycle` periods; S = mean + k sd of demand over lead time + cycle.
    """

    name = "q_s"
    decides = frozenset({"gate"})
    follows = Follows.inventory_position
    approximate = "orders fill whole loads and packs"
    suits = staticmethod(shares_order_cost)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        cycle = order_cycle(net, joint=True)
        return {
            "cycle": Parameter(cycle, 0.25 * cycle, low=1.0),
            "safety_factor": safety_factor(net),
        }

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        arrays, pairs = net.arrays, len(net.network.stocks)
        cycle = parameters["cycle"]
        span = cycle + net.leads.pair[:, None]
        self._level = covering_level(net, span, parameters["safety_factor"])
        # Pairs without a joint supplier are groups of one.
        alone = len(net.resource_ids) + np.arange(pairs)
        supplier = np.where(arrays.stocks.joint_of >= 0, arrays.stocks.joint_of, alone)
        known, self._group = np.unique(supplier, return_inverse=True)
        load = np.append(arrays.resources.load_size, np.zeros(pairs))[known]
        self._load = np.where(load > 0.0, load, np.inf)[:, None]  # inf: nothing to fill
        volume = np.ones(pairs)
        uses = arrays.lanes.uses
        to = arrays.lanes.to[uses.rows]
        own = uses.index == arrays.stocks.joint_of[to]
        volume[to[own]] = uses.value[own]
        self._volume: Any = sparse.csr_array(
            (volume, (self._group, np.arange(pairs))), shape=(len(known), pairs)
        )
        self._flow = self._volume @ arrays.stocks.demand_rate[:, None]
        self._rate = arrays.stocks.demand_rate[:, None]
        longest = np.zeros((len(known), cycle.shape[1]))
        np.maximum.at(longest, self._group, cycle)
        self._quantity = longest * self._flow
        self._multiple = pack_size(net)

    def target(self, view: View) -> Target:
        order = self._level - view.state.inventory_position
        lacking = np.maximum(order, 0.0)
        total = self._volume @ lacking
        whole = np.maximum(np.floor(total / self._load), 1.0) * self._load
        part = np.minimum(whole / np.maximum(total, 1e-9), 1.0)[self._group]
        packs = np.floor(part * lacking / self._multiple + 1e-9) * self._multiple
        # The gate says how many units the pair has yet to sell until its supplier's turn comes.
        gate = ((total - self._quantity) / self._flow)[self._group] * self._rate
        return Target(np.where((order > 0.0) & (part < 1.0), packs, order), gate=gate)
