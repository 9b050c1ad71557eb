"""Optimal echelon base-stock levels of a chain (Clark and Scarf 1960)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from envs.errors import ConfigError
from envs.types import Floats

_TAIL = 1e-12


class Chain(NamedTuple):
    """The best policy of a chain."""

    levels: tuple[float, ...]  # echelon base-stock levels, the customer's stage first [units]
    cost: float  # currency per period


def best_chain(
    echelon_holding: Sequence[float],
    backlog_cost: float,
    lead_time_demand: Sequence[Any],
    step: float = 1.0,
) -> Chain:
    """Return the best policy of a serial system with backlog (Chen and Zheng 1994).

    From the customer's stage up, with H the sum of echelon holding costs:
    G1(y) = E[h1 (y - D1) + (p + H) (D1 - y)+], Sj = argmin Gj,
    Gj(y) = E[hj (y - Dj) + G(j-1)(min(y - Dj, S(j-1)))], and the cost is G(S) of the last. Goods in
    transit to a stage are charged at the rate of the stage above; those on their way to the last
    stage are not.

    echelon_holding: currency per unit and period, the customer's stage first.
    lead_time_demand: SciPy distributions of demand over each stage's lead time, in the same order.
    step: grid [units]; 1 for whole units.
    Raises ConfigError for numbers that aren't positive or don't fit.
    """
    if len(echelon_holding) != len(lead_time_demand) or not echelon_holding:
        raise ConfigError(
            f"serial system: {len(echelon_holding)} holding costs and {len(lead_time_demand)} "
            "demands; expected one of each per stage."
        )
    if min(*echelon_holding, backlog_cost, step) <= 0.0:
        raise ConfigError(
            f"serial system: holding costs {list(echelon_holding)}, backlog cost {backlog_cost}, "
            f"step {step}; expected numbers > 0."
        )
    most = sum(float(demand.ppf(1.0 - _TAIL)) for demand in lead_time_demand)
    units = step * np.arange(-round(most / step), round(2.0 * most / step) + 1)
    local = sum(echelon_holding)
    below = (backlog_cost + local) * np.maximum(-units, 0.0)
    levels, cost = [], 0.0
    for holding, demand in zip(echelon_holding, lead_time_demand, strict=True):
        expected = _expect(holding * units + below, demand, step)
        first = round(float(demand.ppf(1.0 - _TAIL)) / step) + 1  # where demand stays on the grid
        best = first + int(np.argmin(expected[first:]))
        levels.append(float(units[best]))
        cost = float(expected[best])
        below = np.where(np.arange(units.size) <= best, expected, cost)
        below[:first] = (
            expected[first]
            + (units[:first] - units[first]) * (expected[first + 1] - expected[first]) / step
        )  # far below, costs fall in a straight line
    return Chain(tuple(levels), cost)


def _expect(values: Floats, demand: Any, step: float) -> Floats:
    """E[values(y - D)] on the grid of y; wrong where y - D leaves it."""
    count = round(float(demand.ppf(1.0 - _TAIL)) / step) + 1
    grid = step * np.arange(count)
    upper = np.asarray(demand.cdf(grid + 0.5 * step), float)
    pmf = np.diff(upper, prepend=0.0)
    pmf[-1] += 1.0 - upper[-1]
    expected: Floats = np.convolve(values, pmf)[: values.size]
    return expected
