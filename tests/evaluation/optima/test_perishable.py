"""One perishable item: published costs, and shelf lives that don't matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from evaluation.optima.markov_demand import seen
from evaluation.optima.perishable import (
    Issue,
    Perishable,
    discounted_perishable,
)
from evaluation.optima.single_pair import SinglePair, Supply, TooLarge, solve_single_pair


def de_moor(shelf_life: int, lead_time: int, waste: float, issue: str) -> Perishable:
    """Gamma demand with mean 4 and coefficient of variation 0.5, in whole units."""
    edges = np.arange(40) + 0.5
    pmf = np.diff(stats.gamma(4.0).cdf(edges), prepend=0.0)
    return Perishable(
        pmf / pmf.sum(), shelf_life, lead_time, Issue(issue), unit_cost=3.0, lost_sale_cost=5.0,
        holding_cost=1.0, waste_cost=waste, largest_order=10,
    )  # fmt: skip


# De Moor et al. (2022), as printed by Farrington et al. (2025), "Going faster to see further:
# graphics processing unit-accelerated value iteration and simulation for perishable inventory
# control using JAX", Annals of Operations Research, table 3: means of 10,000 runs of a year.
@pytest.mark.parametrize(
    ("case", "published"),
    [
        ((2, 1, 7.0, "lifo"), 1553), ((2, 1, 7.0, "fifo"), 1457), ((2, 1, 10.0, "fifo"), 1463),
        ((2, 2, 7.0, "lifo"), 1551), ((2, 2, 10.0, "fifo"), 1469), ((3, 1, 7.0, "lifo"), 1490),
        ((3, 1, 10.0, "lifo"), 1498), ((3, 1, 10.0, "fifo"), 1425),
    ],
    ids=str,
)  # fmt: skip
def test_costs_of_a_year(case: tuple[int, int, float, str], published: float) -> None:
    """Discounted by 0.99 a day, after 100 days from empty: within the simulations' noise."""
    assert discounted_perishable(de_moor(*case), 0.99) == pytest.approx(published, abs=1.0)


def per_period(item: Perishable) -> float:
    """What a period costs in the long run: a year hardly discounted, by its weight."""
    weight = sum(0.9999**t for t in range(365))
    return discounted_perishable(item, 0.9999) / weight


def test_stock_that_never_spoils() -> None:
    """Demand of 1 or 2 and a long life: the lost-sales optimum without a shelf life."""
    pmf = np.array([0.0, 0.5, 0.5])
    item = Perishable(pmf, 4, 1, Issue.fifo, 2.0, 9.0, 1.0, 7.0, largest_order=4)
    supply = Supply(1, 2.0)
    durable = solve_single_pair(SinglePair(seen(pmf[None]), (supply,), 1.0, lost_sale_cost=9.0))
    assert per_period(item) == pytest.approx(durable.cost, rel=1e-4)
    assert per_period(replace(item, shelf_life=1)) > durable.cost + 0.1


def test_the_oldest_first_wastes_less() -> None:
    """And a longer life costs less."""
    costs = [
        discounted_perishable(de_moor(m, 1, 7.0, issue), 0.99)
        for m, issue in ((2, "lifo"), (2, "fifo"), (3, "fifo"))
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > costs[1] + 50.0


def test_too_large_is_said_at_once() -> None:
    """11^8 states."""
    with pytest.raises(TooLarge, match="combinations"):
        discounted_perishable(de_moor(6, 3, 7.0, "fifo"), 0.99)
