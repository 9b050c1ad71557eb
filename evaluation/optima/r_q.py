"""The best reorder point and order quantity under continuous review."""

from __future__ import annotations

from typing import NamedTuple

from scipy import optimize, stats

from evaluation.optima.eoq import economic_order_quantity, positive


class OptimalRQ(NamedTuple):
    """The best reorder point and order quantity."""

    reorder_point: float  # units
    quantity: float  # units
    cost: float  # currency per unit of time


def best_reorder_point(
    fixed_cost: float,
    holding_cost: float,
    backlog_cost: float,
    demand_rate: float,
    lead_time_mean: float,
    lead_time_sd: float,
) -> OptimalRQ:
    """Return the (r, Q) of least cost K d / Q + (1 / Q) int_r^(r + Q) G(y) dy (Hadley and Whitin
    1963; Zheng 1992, equation 1), with G(y) = h E(y - D)+ + p E(D - y)+ and normal lead-time
    demand D of the given mean and standard deviation [units].

    Costs: currency per order; per unit and unit of time. Raises ConfigError unless all are > 0.
    """
    positive(fixed_cost=fixed_cost, holding_cost=holding_cost, backlog_cost=backlog_cost)
    positive(demand_rate=demand_rate, lead_time_mean=lead_time_mean, lead_time_sd=lead_time_sd)
    demand = stats.norm(lead_time_mean, lead_time_sd)

    def short_area(y: float) -> float:
        """int_y^inf E(D - x)+ dx."""
        z = (y - lead_time_mean) / lead_time_sd
        part = (z * z + 1.0) * stats.norm.sf(z) - z * stats.norm.pdf(z)
        return float(0.5 * lead_time_sd**2 * part)

    def area(y: float) -> float:
        """A primitive of G."""
        straight = 0.5 * y * y - lead_time_mean * y
        return holding_cost * straight - (holding_cost + backlog_cost) * short_area(y)

    def g(y: float) -> float:
        loss = lead_time_sd * (stats.norm.pdf(z := (y - lead_time_mean) / lead_time_sd)
                               - z * stats.norm.sf(z))  # fmt: skip
        return float(holding_cost * (y - lead_time_mean) + (holding_cost + backlog_cost) * loss)

    bottom = float(demand.ppf(backlog_cost / (backlog_cost + holding_cost)))

    def reorder_point(quantity: float) -> float:
        """G(r) = G(r + Q): both ends of the best interval of this length (Zheng 1992)."""
        low = bottom - quantity
        return float(optimize.brentq(lambda r: g(r + quantity) - g(r), low, bottom, xtol=1e-12))

    def cost(quantity: float) -> float:
        r = reorder_point(quantity)
        return (fixed_cost * demand_rate + area(r + quantity) - area(r)) / quantity

    start = economic_order_quantity(fixed_cost, holding_cost, demand_rate).quantity
    high = start
    while cost(2.0 * high) < cost(high):
        high *= 2.0
    found = optimize.minimize_scalar(cost, bounds=(0.01 * start, 4.0 * high), method="bounded",
                                     options={"xatol": 1e-9 * high})  # fmt: skip
    quantity = float(found.x)
    return OptimalRQ(reorder_point(quantity), quantity, float(found.fun))
