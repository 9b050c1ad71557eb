"""A system as records describe it, and what its recent sales say of the demand behind them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.types import Bools, Floats


class Snapshot(NamedTuple):
    """Goods, open orders and recent sales at the moment when agents order."""

    on_hand: Floats  # [P] units
    backorders: Floats  # [P] units
    owed: Floats  # [Q] units ordered, known to the sender, not shipped
    in_transit: Floats  # [Q, L] units by periods from now until arrival
    today: int  # calendar period in which agents order, counted on from the first date
    calendar: int  # the period of demand's calendar that stands for it
    sales: Floats  # [T, P] units of the last T periods, the oldest first; NaN where unknown
    sold_in: tuple[int, ...]  # [T] periods of demand's calendar


def split_sales(net: CompiledNetwork, sold: Floats) -> tuple[Bools, Floats, Floats]:
    """Return [P] (known, units asked by customers, units asked by lanes) from [P] units sold.

    sold: NaN where unknown. What lanes asked of a pair without customers may be given as its
    sales; else it is what was sold below it, and unknown where some of that is.
    """
    is_known = ~np.isnan(sold)
    sells = net.arrays.stocks.demand_of >= 0
    demand = np.where(sells & is_known, sold, 0.0)
    customers = net.customer_pair
    below = net.leaf_weight @ demand[customers] - demand
    missing = (net.leaf_weight @ ~is_known[customers]) > 0
    is_given = ~sells & is_known
    return is_given | ~missing, demand, np.where(is_given, sold, np.maximum(below, 0.0))
