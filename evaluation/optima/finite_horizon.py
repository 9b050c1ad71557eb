"""One item over a finite number of periods, by dynamic programming (Scarf 1960)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.errors import ConfigError
from envs.types import Floats


class FiniteHorizon(NamedTuple):
    """The best policy's first level and cost."""

    order_up_to_level: int  # of the first period [units]
    cost: float  # discounted, from `stock` on


def finite_horizon(
    demand: Floats, periods: int, holding_cost: float, backlog_cost: float, unit_cost: float,
    fixed_cost: float = 0.0, discount: float = 1.0, stock: int = 0,
) -> FiniteHorizon:  # fmt: skip
    """Return the best first order-up-to level and the cost of the best policy.

    V_t(x) = min over y >= x of K [y > x] + c (y - x) + E[g(y - D) + a V_(t+1)(y - D)], with
    g(x) = h (x)+ + p (-x)+, which is what stock costs in the end too. demand [D]: probabilities of
    0, 1, ... units. Costs: currency per unit; per order. discount [a]. Raises ConfigError for
    numbers out of range.
    """
    demand = np.asarray(demand, float)
    if abs(demand.sum() - 1.0) > 1e-8 or periods < 1 or not 0.0 < discount <= 1.0:
        raise ConfigError(
            f"demand sums to {demand.sum()}, periods {periods}, discount {discount}; expected "
            "probabilities, at least one period and a discount in ]0, 1]."
        )
    width = demand.size * (periods + 1) + abs(stock)
    units = np.arange(-width, width + 1)
    own = holding_cost * np.maximum(units, 0) + backlog_cost * np.maximum(-units, 0)
    values, best = own.astype(float), 0
    for _ in range(periods):
        after = np.convolve(own + discount * values, demand)[: units.size]  # E[f(y - D)]
        after[: demand.size] = np.inf  # y - D leaves the grid: not allowed
        total = unit_cost * units + after
        # From x the best y >= x: a running minimum from above.
        order = np.minimum.accumulate(total[::-1])[::-1]
        values = np.minimum(total, fixed_cost + order) - unit_cost * units
        values[: demand.size] = values[demand.size] + unit_cost * (
            units[demand.size] - units[: demand.size]
        )  # one orders up from there anyway
        best = int(units[int(np.argmin(total))])
    return FiniteHorizon(best, float(values[width + stock]))
