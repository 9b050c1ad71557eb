"""Myopic ordering under lost sales: look at the one period in which the order arrives.

myopic (Morton 1971; Zipkin 2008, section 4): the order that costs least in that period.
dual balancing (Levi, Janakiraman and Nagarajan 2008): the order whose own holding cost, until its
last unit is sold, is what lost sales cost in that period; at most twice the optimal cost.

Both look at every unit on its way, unlike base-stock. Pairs whose customers wait, or that have
none, follow base-stock at `level`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import has_several_pairs, loses_sales
from envs.policies.base import Follows, Parameter, Policy, Target, View
from envs.policies.base_stock import newsvendor, orders_multiples
from envs.policies.stock_on_arrival import StockOnArrival, losing_pairs, stock_on_arrival
from envs.types import Floats, Ints


class Myopic(Policy):
    """order = the least z with P(demand <= stock + z) >= w p / (w p + h) when z arrives.

    p: what a lost sale costs, margin included. w: `penalty_weight`, 1 in the textbook.
    """

    name = "myopic"
    follows = Follows.inventory_position
    approximate = "stock that comes sooner counts less, and orders are whole cells of a table"

    @classmethod
    def suits(cls, net: CompiledNetwork) -> bool:
        return loses_sales(net) and not has_several_pairs(net)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        level, sd = newsvendor(net)
        losing = np.isin(np.arange(len(level)), losing_pairs(net))
        return {
            "penalty_weight": Parameter(np.ones(len(level)), np.where(losing, 0.2, 0.0), 0.05),
            "level": Parameter(level, np.where(losing, 0.0, sd), whole=orders_multiples(net)),
        }

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        super().__init__(net, parameters)
        arrays = net.arrays
        regular = np.flatnonzero(~arrays.lanes.expedite)
        bought = np.full(len(net.network.stocks), np.inf)
        np.minimum.at(bought, arrays.lanes.to[regular], arrays.lanes.unit_cost[regular])
        bought[np.isinf(bought)] = 0.0
        # A sale lost is a unit not bought.
        margin = arrays.stocks.lost_sale_cost + arrays.stocks.price - bought
        self._penalty = parameters["penalty_weight"] * np.maximum(margin, 0.0)[:, None]
        self._holding = np.maximum(arrays.stocks.holding_cost, 1e-9)
        self._tables = [stock_on_arrival(net, int(p)) for p in losing_pairs(net)]
        self._prepared = [self._prepare(table) for table in self._tables]

    def target(self, view: View) -> Target:
        order = self._parameters["level"] - view.state.inventory_position
        for table, prepared in zip(self._tables, self._prepared, strict=True):
            order[table.pair] = table.step * self._cells(table, prepared, table.predict(view))
        return Target(order)

    def _prepare(self, table: StockOnArrival) -> Floats:
        """[K, Z] P(demand <= stock + z)."""
        cdf: Floats = np.cumsum(table.demand)
        prepared: Floats = cdf[_sums(cdf)]
        return prepared

    def _cells(self, table: StockOnArrival, prepared: Floats, stock: Floats) -> Floats:
        """[B] what to order, in cells, given the distribution of stock [B, K]."""
        penalty = self._penalty[table.pair]
        ratio = penalty / (penalty + self._holding[table.pair])
        cells: Floats = (stock @ prepared < ratio[:, None] - 1e-12).sum(axis=1).astype(float)
        return cells


class DualBalancing(Myopic):
    """order = the z whose holding cost until it is sold is w p E[demand - stock - z]+."""

    name = "dual_balancing"

    def _prepare(self, table: StockOnArrival) -> Floats:
        """[2, K, Z] holding (per unit of h) of z alone, and lost sales [units]."""
        units = table.step * np.arange(len(table.demand))
        # Stock x costs h times what is left of it after 1, 2, ... periods: hold = serve (x + hold).
        inner = table.serve[1:, 1:]
        hold = np.append(0.0, np.linalg.solve(np.eye(len(inner)) - inner, inner @ units[1:]))
        short = np.maximum(units - units[:, None], 0.0) @ table.demand
        sums = _sums(np.cumsum(table.demand))
        return np.stack([hold[sums] - hold[:, None], short[sums]])

    def _cells(self, table: StockOnArrival, prepared: Floats, stock: Floats) -> Floats:
        held = self._holding[table.pair] * (stock @ prepared[0])
        missed = self._penalty[table.pair][:, None] * (stock @ prepared[1])
        return _crossing(held - missed)


def _sums(cdf: Floats) -> Ints:
    """[K, Z] cell of stock + order, for orders up to the 99.99 % point of a period's demand."""
    largest = int(np.searchsorted(cdf, 0.9999)) + 1
    cells = np.arange(len(cdf))
    sums: Ints = cells[:, None] + np.arange(largest + 1)
    return np.minimum(sums, len(cdf) - 1)


def _crossing(difference: Floats) -> Floats:
    """[B] where a difference [B, Z] that rises from below 0 crosses it, between two cells too."""
    below = np.clip((difference < 0.0).sum(axis=1), 1, difference.shape[1] - 1)
    rows = np.arange(len(difference))
    before, after = difference[rows, below - 1], difference[rows, below]
    part = np.clip(-before / np.maximum(after - before, 1e-12), 0.0, 1.0)
    return np.asarray(below - 1 + part, float)
