"""Base-stock: order up to a constant level of the pair's own inventory position."""

from __future__ import annotations

import numpy as np
from scipy import stats

from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import has_several_pairs
from envs.policies.base import Follows, Parameter, Policy, Target, View
from envs.types import Floats, Ints


def critical_ratio(net: CompiledNetwork) -> Floats:
    """Return [P] (b or p) / (b or p + h); for inner nodes b or p of the
    highest-cost customer below."""
    arrays = net.arrays
    penalty = np.maximum(arrays.stocks.backlog_cost, arrays.stocks.lost_sale_cost)
    weight = net.echelon_weight  # its rows hold at least the pair itself
    shortage = np.maximum.reduceat(penalty[weight.indices], weight.indptr[:-1])
    holding = np.maximum(arrays.stocks.holding_cost, 1e-9)
    ratio: Floats = np.clip(shortage / (shortage + holding), 0.05, 0.9999)
    return ratio


def newsvendor_level(
    net: CompiledNetwork, lead_time: Floats, review: Ints
) -> tuple[Floats, Floats]:
    """Return (level, sd) [P] units: mean + z sd of demand over lead time + review.

    The normal approximation of the newsvendor fractile (Arrow, Harris and Marschak 1951).
    """
    periods = lead_time + review
    sd = np.sqrt(periods * net.demand_sd**2 + (net.demand_mean * net.lead_sd) ** 2)
    level = net.demand_mean * periods + stats.norm.ppf(critical_ratio(net)) * sd
    return level, sd


def whole_units(net: CompiledNetwork) -> bool:
    """Whether every lane orders whole multiples, so that levels between them are no use."""
    return bool((net.arrays.rules.order_multiple > 0).all())


class BaseStock(Policy):
    """target = level - inventory_position."""

    name = "base_stock"
    follows = Follows.inventory_position

    @classmethod
    def suits(cls, net: CompiledNetwork) -> bool:
        return not has_several_pairs(net)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        level, sd = newsvendor_level(net, net.lead_mean, net.review)
        return {"level": Parameter(level, sd, whole=whole_units(net))}

    def target(self, view: View) -> Target:
        return Target(self._parameters["level"] - view.state.inventory_position)
