"""Base-stock: order up to a constant level of the pair's own inventory position."""

from __future__ import annotations

import numpy as np
from scipy import stats

from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import has_several_pairs
from envs.policies.base import Follows, Parameter, Policy, Target, View
from envs.types import Floats


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


def newsvendor(
    net: CompiledNetwork, lead_time: Floats | None = None, lead_sd: Floats | None = None
) -> tuple[Floats, Floats]:
    """Return (level, sd) [P] units: mean + z sd of demand over lead time + review.

    The normal approximation of the newsvendor fractile (Arrow, Harris and Marschak 1951).
    lead_time, lead_sd [P] periods: instead of those of the lanes in regular use.
    """
    lead_time = net.leads.pair if lead_time is None else lead_time
    lead_sd = net.leads.pair_sd if lead_sd is None else lead_sd
    periods = lead_time + net.review
    sd = np.sqrt(periods * net.demand.sd**2 + (net.demand.mean * lead_sd) ** 2)
    level = net.demand.mean * periods + stats.norm.ppf(critical_ratio(net)) * sd
    return level, sd


def newsvendor_level(net: CompiledNetwork, *lead_time: Floats) -> Parameter:
    """Return the level of `newsvendor` as what a search begins with; a step is an sd."""
    level, sd = newsvendor(net, *lead_time)
    return Parameter(level, sd, whole=orders_multiples(net))


def safety_factor(
    net: CompiledNetwork, step: float = 0.5, low: float = -4.0, high: float = 8.0
) -> Parameter:
    """Return how many sd of demand to hold beyond its mean: the newsvendor fractile's z [P]."""
    start = stats.norm.ppf(critical_ratio(net))
    return Parameter(start, np.full(len(start), step), low, high)


def covering_level(net: CompiledNetwork, periods: Floats, factor: Floats) -> Floats:
    """Return mean + factor x sd of demand over periods [P, B], with the lead time's spread."""
    mean, sd = net.demand.mean[:, None], net.demand.sd[:, None]
    variance = periods * sd**2 + ((net.demand.mean * net.leads.pair_sd) ** 2)[:, None]
    level: Floats = mean * periods + factor * np.sqrt(variance)
    return level


def pack_size(net: CompiledNetwork) -> Floats:
    """Return [P, 1] units that orders are whole multiples of, on the lane of the largest ones."""
    multiple = np.zeros(len(net.network.stocks))
    np.maximum.at(multiple, net.arrays.lanes.to, net.arrays.rules.pack)
    return np.where(multiple > 0.0, multiple, 1e-6)[:, None]


def orders_multiples(net: CompiledNetwork) -> bool:
    """Whether every lane orders whole multiples, so that levels between them are no use."""
    return bool((net.arrays.rules.pack > 0).all())


class BaseStock(Policy):
    """target = level - inventory_position."""

    name = "base_stock"
    follows = Follows.inventory_position

    @classmethod
    def suits(cls, net: CompiledNetwork) -> bool:
        return not has_several_pairs(net)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        return {"level": newsvendor_level(net)}

    def target(self, view: View) -> Target:
        return Target(self._parameters["level"] - view.state.inventory_position)
