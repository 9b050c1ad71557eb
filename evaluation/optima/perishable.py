"""The best policy for one perishable item with lost sales (De Moor et al. 2022).

The state is the stock by remaining shelf life and the orders on their way. A period: order, seeing
it all; demand takes the oldest or the freshest units first; what had one period left and wasn't
sold is wasted, the rest grows a period older; the order of lead_time - 1 periods ago becomes the
freshest stock of the next period. De Moor, Gijsbrechts and Boute (2022), "Reward shaping to improve
the performance of deep reinforcement learning in perishable inventory management", European Journal
of Operational Research 301(2), section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from envs.types import Floats, Ints
from evaluation.optima.single_pair import TooLarge

_MOST_STEPS = 50_000_000  # states x demands x orders: a second per iteration
_CONVERGED = 1e-10  # of the values, between two iterations
_SWEEPS = 60  # of evaluating a policy before it is improved again


class Issue(StrEnum):
    """Which units customers take: the oldest or the freshest."""

    fifo = "fifo"
    lifo = "lifo"


@dataclass(frozen=True, eq=False)
class Perishable:
    """The item. Costs: currency per unit."""

    pmf: Floats  # [D] probability of each demand, 0 units first
    shelf_life: int  # periods, at least 1
    lead_time: int  # periods, at least 1
    issue: Issue
    unit_cost: float
    lost_sale_cost: float
    holding_cost: float  # per period, on what is left and not wasted
    waste_cost: float
    largest_order: int  # units


class _Model(NamedTuple):
    """An order of a units adds a to the next state: the newest order is the fastest index."""

    cost: Floats  # [states] of a period but for its order
    following: Ints  # [states, D] the next state when nothing is ordered
    order_cost: Floats  # [A]
    pmf: Floats


def _model(item: Perishable) -> _Model:
    """Digits of a state: stock with 1, 2, ... periods left, then orders, the oldest first."""
    base = item.largest_order + 1
    digits = item.shelf_life + item.lead_time - 1
    steps = base**digits * len(item.pmf) * base
    if steps > _MOST_STEPS:
        raise TooLarge(f"its states, demands and orders make {steps:,} combinations")
    state = np.stack(np.unravel_index(np.arange(base**digits), (base,) * digits))
    stock, on_way = state[: item.shelf_life], state[item.shelf_life :]
    demand = np.arange(len(item.pmf))
    unmet = np.broadcast_to(demand, (state.shape[1], demand.size)).copy()
    left = np.zeros((item.shelf_life, *unmet.shape), np.int64)
    ages = range(item.shelf_life)
    for age in ages if item.issue is Issue.fifo else reversed(ages):
        taken = np.minimum(stock[age][:, None], unmet)
        left[age] = stock[age][:, None] - taken
        unmet -= taken
    cost = item.lost_sale_cost * unmet + item.waste_cost * left[0]
    cost = cost + item.holding_cost * left[1:].sum(axis=0)
    # All but the newest digit move one place; what arrives, or is ordered, gets the last place.
    arriving = [np.broadcast_to(units[:, None], unmet.shape) for units in on_way]
    digit = [*left[1:], *arriving, np.zeros_like(unmet)]
    following = np.ravel_multi_index(tuple(np.stack(digit)), (base,) * digits)
    order_cost = item.unit_cost * np.arange(base, dtype=float)
    return _Model(cost @ item.pmf, following, order_cost, item.pmf)


def _expected(model: _Model, values: Floats) -> Floats:
    """Return [states, A] the mean of values [states] after each order."""
    by_order = values.reshape(-1, len(model.order_cost))  # the newest order is the last digit
    rows = model.following // len(model.order_cost)
    expected = np.zeros((len(rows), len(model.order_cost)))
    for d, probability in enumerate(model.pmf):
        expected += probability * by_order[rows[:, d]]
    return expected


def discounted_perishable(
    item: Perishable, discount: float, *, periods: int = 365, warm_up: int = 100
) -> float:
    """Return the discounted cost of `periods` periods of the policy that is best for ever, after
    `warm_up` periods of it from empty. Raises TooLarge.

    discount: of a period's cost against that of the period before, in (0, 1).
    """
    model = _model(item)
    rows = np.arange(len(model.cost))
    values, order = np.zeros(len(model.cost)), np.zeros(len(model.cost), np.int64)
    while True:
        choice = model.order_cost + discount * _expected(model, values)
        order, before = choice.argmin(axis=1), values
        values = model.cost + choice[rows, order]
        if np.abs(values - before).max() <= _CONVERGED * np.abs(values).max():
            break
        cost, following = model.cost + model.order_cost[order], model.following + order[:, None]
        for _ in range(_SWEEPS):
            values = cost + discount * (values[following] @ model.pmf)
    return _discounted_cost(model, order, discount, periods, warm_up)


def discounted_base_stock(
    item: Perishable, level: int, discount: float, *, periods: int = 365, warm_up: int = 100
) -> float:
    """Return the same of base-stock: order up to `level` units of any age, on order ones included.
    Raises TooLarge."""
    model = _model(item)
    base = item.largest_order + 1
    digits = item.shelf_life + item.lead_time - 1
    position = sum(np.unravel_index(np.arange(base**digits), (base,) * digits))
    order = np.clip(level - position, 0, item.largest_order).astype(np.int64)
    return _discounted_cost(model, order, discount, periods, warm_up)


def _discounted_cost(
    model: _Model, order: Ints, discount: float, periods: int, warm_up: int
) -> float:
    cost, following = model.cost + model.order_cost[order], model.following + order[:, None]
    share = np.eye(1, len(cost))[0]
    total = 0.0
    for period in range(warm_up + periods):
        if period >= warm_up:
            total += discount ** (period - warm_up) * float(share @ cost)
        moved = share[:, None] * model.pmf
        share = np.bincount(following.ravel(), moved.ravel(), len(cost)).astype(float)
    return total
