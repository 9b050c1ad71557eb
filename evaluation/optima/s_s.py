"""The best (s, S) policy of one item with a fixed cost per order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.errors import ConfigError

__all__ = ["OrderUpTo", "best_s_s"]

Floats = NDArray[np.float64]


class OrderUpTo(NamedTuple):
    """Order up to order_up_to_level whenever the inventory position is at or below reorder_point.
    cost: currency per period."""

    reorder_point: int
    order_up_to_level: int
    cost: float


def best_s_s(
    demand: Floats, fixed_cost: float, holding_cost: float, backlog_cost: float, lead_time: int = 0
) -> OrderUpTo:
    """Return the best (s, S) by the algorithm of Zheng and Federgruen (1991), section 2.

    demand [D]: probabilities of 0, 1, ... units a period. Orders come before demand; the cost of a
    position is that of the stock lead_time + 1 periods of demand later. Raises ConfigError unless
    the probabilities sum to 1 and 0 < h, p and 0 <= K.
    """
    demand = np.asarray(demand, float)
    if abs(demand.sum() - 1.0) > 1e-8 or demand.min() < 0.0 or demand[0] == 1.0:
        raise ConfigError(f"demand sums to {demand.sum()}; expected probabilities that sum to 1.")
    if not (fixed_cost >= 0.0 and holding_cost > 0.0 and backlog_cost > 0.0 and lead_time >= 0):
        raise ConfigError(
            f"(s, S): K {fixed_cost}, h {holding_cost}, p {backlog_cost}, lead time {lead_time}; "
            "expected h and p > 0, the others >= 0."
        )
    total = np.ones(1)
    for _ in range(lead_time + 1):
        total = np.convolve(total, demand)
    units = np.arange(total.size)

    def g(y: int) -> float:
        left = y - units
        return float(total @ np.where(left > 0, holding_cost * left, -backlog_cost * left))

    bottom = int(np.searchsorted(np.cumsum(total), backlog_cost / (backlog_cost + holding_cost)))
    renewal = [1.0 / (1.0 - demand[0])]  # m(0), m(1), ...: expected visits to S - j in a cycle
    cost_of: dict[int, float] = {}

    def visits(j: int) -> float:
        while len(renewal) <= j:
            n = len(renewal)
            size = min(n, demand.size - 1)
            past = np.array(renewal[n - size : n])[::-1]
            renewal.append(float(demand[1 : size + 1] @ past) * renewal[0])
        return renewal[j]

    def one_period(y: int) -> float:
        if y not in cost_of:
            cost_of[y] = g(y)
        return cost_of[y]

    def cycle(s: int, top: int) -> float:
        lengths = [visits(j) for j in range(top - s)]
        spent = sum(m * one_period(top - j) for j, m in enumerate(lengths))
        return (fixed_cost + spent) / sum(lengths)

    s = bottom - 1
    while cycle(s, bottom) > one_period(s):
        s -= 1
    best, top, level = cycle(s, bottom), bottom, bottom + 1
    while one_period(level) <= best:
        if cycle(s, level) < best:
            top = level
            while cycle(s, top) <= one_period(s + 1):
                s += 1
            best = cycle(s, top)
        level += 1
    return OrderUpTo(s, top, best)
