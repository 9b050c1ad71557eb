"""The economic order quantity, and the same with a supplier that is down at times."""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy import optimize

from envs.errors import ConfigError


class Lot(NamedTuple):
    """The best order."""

    quantity: float  # units per order
    cost: float  # currency per unit of time


def economic_order_quantity(fixed_cost: float, holding_cost: float, demand_rate: float) -> Lot:
    """Return Q = sqrt(2 K d / h), which costs sqrt(2 K d h) (Harris 1913).

    fixed_cost [K]: currency per order.
    holding_cost [h]: currency per unit and unit of time.
    demand_rate [d]: units per unit of time.
    Raises ConfigError unless all are positive.
    """
    positive(fixed_cost=fixed_cost, holding_cost=holding_cost, demand_rate=demand_rate)
    quantity = math.sqrt(2.0 * fixed_cost * demand_rate / holding_cost)
    return Lot(quantity, holding_cost * quantity)


def lot_under_disruptions(
    fixed_cost: float,
    holding_cost: float,
    lost_sale_cost: float,
    demand_rate: float,
    failure_rate: float,
    repair_rate: float,
) -> Lot:
    """Return the best order quantity where the supplier fails and recovers at random (Parlar and
    Berkin 1991, as corrected by Berk and Arreola-Risa 1994).

    Orders are placed when stock is 0; a supplier that is down then makes customers leave until it
    is up again. A cycle lasts Q / d + psi / m, where psi = l / (l + m) (1 - exp(-(l + m) Q / d)) is
    the probability that it is down when stock runs out; it costs
    K + h Q^2 / (2 d) + p d psi / m.
    failure_rate [l], repair_rate [m]: per unit of time.
    lost_sale_cost [p]: currency per unit.
    Raises ConfigError unless all are positive.
    """
    positive(fixed_cost=fixed_cost, holding_cost=holding_cost, demand_rate=demand_rate)
    positive(lost_sale_cost=lost_sale_cost, failure_rate=failure_rate, repair_rate=repair_rate)
    both = failure_rate + repair_rate

    def cost(quantity: float) -> float:
        lasts = quantity / demand_rate
        down = failure_rate / both * -math.expm1(-both * lasts) / repair_rate
        cycle = fixed_cost + 0.5 * holding_cost * quantity * lasts
        return (cycle + lost_sale_cost * demand_rate * down) / (lasts + down)

    start = economic_order_quantity(fixed_cost, holding_cost, demand_rate).quantity
    high = start
    while cost(2.0 * high) < cost(high):
        high *= 2.0
    found = optimize.minimize_scalar(cost, bounds=(1e-6 * start, 4.0 * high), method="bounded",
                                     options={"xatol": 1e-9 * high})  # fmt: skip
    return Lot(float(found.x), float(found.fun))


def positive(**values: float) -> None:
    """Raise ConfigError, naming the value, unless all are finite and > 0."""
    for name, value in values.items():
        if not 0.0 < value < math.inf:
            raise ConfigError(f"{name} is {value}; expected a number > 0.")
