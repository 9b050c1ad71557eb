"""A system as records describe it: where goods are, and what was sold, ordered and received."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.types import Bools, Floats, Ints


class Snapshot(NamedTuple):
    """A system at the moment when agents order, and what they have seen of it until then.

    What happened stands in T rows, the oldest first: each is what was seen when a period opened,
    the last one when this one did. Orders reach further back, A periods with T of them.
    """

    on_hand: Floats  # [P] units
    backorders: Floats  # [P] units
    owed: Floats  # [Q] units ordered, known to the sender, not shipped
    in_transit: Floats  # [Q, L] units by periods from now until arrival
    orders_on_way: Floats  # [Q, slots] units ordered by periods until the sender knows of it
    today: int  # calendar period in which agents order, counted on from the first date
    calendar: int  # the period of demand's calendar that stands for it
    sales: Floats  # [T, P] units that customers asked for; NaN where unknown
    asked: Floats  # [T, P] units that lanes asked of the pair; NaN where unknown
    sold_in: tuple[int, ...]  # [T] periods of demand's calendar
    ordered: Floats  # [A, K] units ordered on lanes with beliefs, by period, the last one's last
    received: Floats  # [T, K] units received, defective ones included
    cancelled: Floats  # [T, K] units that the sender dropped
    seen: Ints  # [T or 1, G] states of regimes that agents may see; -1: unknown, or hidden
    forecast: Ints  # [F, G] states 1..F periods ahead as agents are told; -1: unknown, or never
    factor: Floats  # [V] what regimes multiply today

    @classmethod
    def nothing(cls, net: CompiledNetwork) -> Snapshot:
        """Return an empty system of which nothing is known, on the first date."""
        pairs, lanes = len(net.network.stocks), len(net.network.lanes)
        regimes, beliefs = len(net.network.regimes), len(net.arrays.beliefs.lane)
        ahead = max((len(r.forecast_accuracy) for r in net.network.regimes), default=0)
        return cls(
            on_hand=np.zeros(pairs),
            backorders=np.zeros(pairs),
            owed=np.zeros(lanes),
            in_transit=np.zeros((lanes, net.slots)),
            orders_on_way=np.zeros((lanes, net.order_slots)),
            today=0,
            calendar=0,
            sales=np.zeros((0, pairs)),
            asked=np.zeros((0, pairs)),
            sold_in=(),
            ordered=np.zeros((net.cohorts, beliefs)),
            received=np.zeros((0, beliefs)),
            cancelled=np.zeros((0, beliefs)),
            seen=np.full((1, regimes), -1, np.int64),
            forecast=np.full((ahead, regimes), -1, np.int64),
            factor=factors(net, {}),
        )


def factors(net: CompiledNetwork, states: Mapping[int, int]) -> Floats:
    """Return [V] what regimes multiply, those in `states` (regime -> state) as they are, all others
    by their long-run mean."""
    number = {regime.id: g for g, regime in enumerate(net.network.regimes)}
    factor = np.ones(len(net.exposures))
    for v, exposure in enumerate(net.exposures):
        for name in exposure.regimes:
            g = number[name]
            regime = net.network.regimes[g].for_mode(exposure.mode)
            if g in states:
                factor[v] *= getattr(regime.states[states[g]], exposure.multiplier)
            else:
                factor[v] *= regime.mean(exposure.multiplier)
    return factor


def split_sales(net: CompiledNetwork, sold: Floats, asked: Floats) -> tuple[Bools, Floats, Floats]:
    """Return [P] (known, units asked by customers, units asked by lanes) of a period.

    sold, asked: [P] units, NaN where unknown. What lanes asked of a pair and isn't given is what
    was sold below it, and unknown where some of that is.
    """
    is_known, is_given = ~np.isnan(sold), ~np.isnan(asked)
    sells = net.arrays.stocks.demand_of >= 0
    demand = np.where(sells & is_known, sold, 0.0)
    customers = net.customer_pair
    below = net.leaf_weight @ demand[customers] - demand
    missing = (net.leaf_weight @ ~is_known[customers]) > 0
    known = np.where(is_given, is_known | ~sells, ~missing)
    return known, demand, np.where(is_given, asked, np.maximum(below, 0.0))
