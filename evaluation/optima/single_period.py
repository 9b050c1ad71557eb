"""One period, one decision: a supplier whose yield adds to the order."""

from __future__ import annotations

from typing import Any, NamedTuple

from scipy import integrate

from evaluation.optima.eoq import positive


class Stocking(NamedTuple):
    """The best decision of a period."""

    level: float  # units to have, or to order
    cost: float  # expected, currency


def with_additive_yield(
    demand: float, noise: Any, overage_cost: float, underage_cost: float
) -> Stocking:
    """Return how much to order where order + Y arrives and demand is known (Snyder and Shen 2019,
    section 9.3): d - S is the o / (o + u) fractile of Y.

    noise [Y]: a continuous SciPy distribution of units.
    Costs: currency per unit left, per unit missing.
    Raises ConfigError unless both are positive.
    """
    positive(overage_cost=overage_cost, underage_cost=underage_cost)
    # Arrives d + (Y - gap): too much where Y > gap.
    gap = float(noise.ppf(overage_cost / (overage_cost + underage_cost)))
    low, high = float(noise.ppf(1e-13)), float(noise.ppf(1.0 - 1e-13))
    over = float(integrate.quad(noise.sf, gap, high, limit=200)[0])
    under = float(integrate.quad(noise.cdf, low, gap, limit=200)[0])
    return Stocking(demand - gap, overage_cost * over + underage_cost * under)
