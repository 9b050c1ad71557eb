"""One period, one decision: the newsvendor, and a supplier whose yield adds to the order."""

from __future__ import annotations

from typing import Any, NamedTuple

from scipy import integrate

from evaluation.optima.eoq import positive


class Stocking(NamedTuple):
    """The best decision of a period."""

    level: float  # units to have, or to order
    cost: float  # expected, currency


def newsvendor(demand: Any, overage_cost: float, underage_cost: float) -> Stocking:
    """Return the level that covers demand with probability u / (u + o) (Arrow, Harris and Marschak
    1951), and o E(S - D)+ + u E(D - S)+.

    demand: a SciPy distribution, discrete or continuous, of units. Costs: currency per unit.
    Raises ConfigError unless both are positive.
    """
    ratio = _ratio(overage_cost, underage_cost)
    level = float(demand.ppf(ratio))
    if hasattr(demand, "pmf"):
        over = sum((level - k) * float(demand.pmf(k)) for k in range(int(level) + 1))
    else:
        low = float(demand.ppf(1e-13))
        over = float(integrate.quad(demand.cdf, low, level, limit=200)[0])
    under = over + float(demand.mean()) - level
    return Stocking(level, overage_cost * over + underage_cost * under)


def with_additive_yield(
    demand: float, noise: Any, overage_cost: float, underage_cost: float
) -> Stocking:
    """Return how much to order where order + Y arrives and demand is known (Snyder and Shen 2019,
    section 9.3): d - S is the o / (o + u) fractile of Y.

    noise [Y]: a continuous SciPy distribution of units. Costs: currency per unit left, per unit
    missing. Raises ConfigError unless both are positive.
    """
    ratio = _ratio(underage_cost, overage_cost)
    gap = float(noise.ppf(ratio))  # arrives d + (Y - gap): too much where Y > gap
    low, high = float(noise.ppf(1e-13)), float(noise.ppf(1.0 - 1e-13))
    over = float(integrate.quad(noise.sf, gap, high, limit=200)[0])
    under = float(integrate.quad(noise.cdf, low, gap, limit=200)[0])
    return Stocking(demand - gap, overage_cost * over + underage_cost * under)


def _ratio(overage_cost: float, underage_cost: float) -> float:
    positive(overage_cost=overage_cost, underage_cost=underage_cost)
    return underage_cost / (underage_cost + overage_cost)
