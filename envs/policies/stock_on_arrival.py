"""What will be on hand when an order that is placed now arrives, where unmet customers leave.

Lost sales make stock a random walk stopped at zero: the stock that an order finds isn't known from
the inventory position, but follows, period by period, from stock on hand and what arrives when
(Karlin and Scarf 1958; Zipkin 2008, section 2).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.policies.base import View
from envs.policies.demand_belief import Chain, demand_cdf, moving_regimes
from envs.types import Floats, Ints

_CELLS = 256  # of a table of stock at most; coarser than one unit above that


class StockOnArrival(NamedTuple):
    """Tables of a pair on a grid of stock, 0, step, 2 step, ... units; [K] cells."""

    pair: int
    lanes: Ints
    lead: int  # periods until an order arrives
    skip: int  # 1 where today's demand has been served already
    step: float
    demand: Floats  # [K] chance of a period's demand
    serve: Floats  # [K, K] chance of the stock that demand leaves (column) of a stock (row)

    def predict(self, view: View) -> Floats:
        """Return [B, K] distribution of stock when an order of today has arrived, without it, and
        before the demand of that period."""
        state, net = view.state, view.net
        good = net.arrays.lanes.expected_yield[self.lanes][:, None]
        slots, cells = state.in_transit.shape[1], len(self.demand)
        total = state.in_transit_total + state.owed + state.orders_on_way_total
        coming = (good * total[self.lanes]).sum(axis=0)
        stock = np.zeros((state.on_hand.shape[1], cells))
        stock[:, 0] = 1.0
        stock = _move(stock, state.on_hand[self.pair] / self.step)
        for ahead in range(self.lead + 1):
            if ahead == self.lead:
                due = coming  # all the rest: late goods, and what hasn't been shipped yet
            elif ahead < slots:
                due = (good * state.in_transit[self.lanes, (view.period + ahead) % slots]).sum(0)
            else:
                due = np.zeros_like(coming)
            coming = coming - due
            stock = _move(stock, due / self.step)
            if self.skip <= ahead < self.lead:
                stock = stock @ self.serve
        return stock


def losing_pairs(net: CompiledNetwork) -> Ints:
    """Return the customer pairs that no lane draws on and whose unmet customers all leave."""
    arrays = net.arrays
    ends = np.diff(arrays.stocks.outbound.pointer) == 0
    loses = (arrays.stocks.p_wait == 0.0) & (arrays.stocks.demand_of >= 0) & (net.demand.mean > 0.0)
    return np.flatnonzero(ends & loses)


def stock_on_arrival(net: CompiledNetwork, pair: int) -> StockOnArrival:
    """Tabulate a pair; demand with the mean of its calendar and its regimes' long-run shares."""
    arrays, lead = net.arrays, max(round(net.leads.pair[pair]), 0)
    skip = int(arrays.switches.demand_first)
    periods = lead + 1
    top = periods * net.demand.mean[pair] + 6.0 * np.sqrt(periods) * net.demand.sd[pair] + 10.0
    step = max(1.0, top / _CELLS)
    units = np.arange(int(top / step) + 1)
    demand = net.network.stocks[pair].demand
    assert demand is not None
    chain = Chain(net, moving_regimes(net, pair))
    edges = (units + 0.5) * step
    cdf = sum(
        share * demand_cdf(demand, factor, edges)
        for share, factor in zip(chain.start, chain.factors(net, pair), strict=True)
    )
    chance = np.diff(np.asarray(cdf), prepend=0.0)
    chance[-1] += 1.0 - chance.sum()
    left = units[:, None] - units
    serve = np.where(left >= 0, chance[np.maximum(left, 0)], 0.0)
    serve[:, 0] = 1.0 - serve[:, 1:].sum(axis=1)  # what demand exceeds stock by is lost
    lanes = arrays.stocks.inbound.row(pair)
    return StockOnArrival(pair, lanes, max(lead, skip), skip, step, chance, serve)


def _move(stock: Floats, cells: Floats) -> Floats:
    """Add cells [B] to a distribution [B, K]; what is above the grid is in its last cell."""
    by = np.round(cells).astype(np.int64)
    if not by.any():
        return stock
    source = np.arange(stock.shape[1]) - by[:, None]
    moved = np.take_along_axis(stock, np.maximum(source, 0), axis=1)
    moved[source < 0] = 0.0
    moved[:, -1] += stock.sum(axis=1) - moved.sum(axis=1)
    return moved
