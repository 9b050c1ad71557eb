"""Two items of one supplier: published settings, and problems that fall apart into two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from evaluation.optima.joint_pair import JointPair, solve_joint_pair
from evaluation.optima.markov_demand import MarkovDemand, seen
from evaluation.optima.single_pair import SinglePair, Supply, TooLarge, solve_single_pair


def uniform(high: int) -> MarkovDemand:
    return seen(np.full((1, high + 1), 1.0 / (high + 1)))


def poisson(mean: float) -> MarkovDemand:
    values = stats.poisson(mean).pmf(np.arange(int(stats.poisson(mean).isf(1e-12)) + 1))
    return seen(values[None] / values.sum())


def two_items(fixed: float = 10.0, lead_time: int = 0) -> tuple[SinglePair, SinglePair]:
    """Poisson demand of 5 each, 10 per item in an order, holding 1, backlog 19."""
    supply = Supply(lead_time, fixed_cost=fixed)
    item = SinglePair(poisson(5.0), (supply,), 1.0, 19.0)
    return item, item


def test_a_joint_fixed_cost() -> None:
    """75 per order: 48.42 by value iteration, 17 % less than two items on their own."""
    found = solve_joint_pair(JointPair(two_items(), fixed_cost=75.0))
    assert found.cost == pytest.approx(48.42, abs=0.005)


# Vanvuchelen, Gijsbrechts and Boute (2020), "Use of proximal policy optimization for the joint
# replenishment problem", Computers in Industry 119, table 2: demand uniform from 0, 75 per truck
# of 6, full trucks only. Highest demands, holding costs (backlog: 19 times), cost per item; the
# optimum by value iteration.
SETTINGS = [
    ((5, 3), (1.0, 1.0), (10.0, 10.0), 64.918),
    ((5, 3), (1.0, 5.0), (10.0, 10.0), 77.942),
    ((5, 3), (5.0, 5.0), (10.0, 10.0), 94.788),
    ((5, 3), (5.0, 1.0), (40.0, 10.0), 95.529),
    ((6, 2), (1.0, 1.0), (40.0, 10.0), 71.878),
    ((6, 2), (5.0, 5.0), (40.0, 10.0), 110.775),
]


@pytest.mark.parametrize(("highest", "holding", "minor", "optimum"), SETTINGS, ids=str)
def test_full_trucks(
    highest: tuple[int, int],
    holding: tuple[float, float],
    minor: tuple[float, float],
    optimum: float,
) -> None:
    """To every digit there is."""
    first, second = (
        SinglePair(uniform(d), (Supply(0, fixed_cost=k),), h, 19.0 * h)
        for d, h, k in zip(highest, holding, minor, strict=True)
    )
    pair = JointPair((first, second), load_size=6.0, load_cost=75.0, full_loads=True)
    assert solve_joint_pair(pair).cost == pytest.approx(optimum, abs=6e-4)


@pytest.mark.parametrize("lead_time", [0, 2])
def test_nothing_shared_is_two_problems(lead_time: int) -> None:
    """Then the costs add up."""
    items = two_items(24.0, lead_time)
    alone = solve_single_pair(items[0]).cost
    assert solve_joint_pair(JointPair(items)).cost == pytest.approx(2.0 * alone, rel=2e-6)


def test_lost_sales_and_unit_costs() -> None:
    """One item loses sales, the other pays 3 a unit: two problems again."""
    waiting = SinglePair(poisson(2.0), (Supply(1, 3.0, fixed_cost=5.0),), 1.0, 9.0)
    losing = SinglePair(poisson(2.0), (Supply(0, 2.0),), 1.0, None, lost_sale_cost=9.0)
    alone = sum(solve_single_pair(item).cost for item in (waiting, losing))
    found = solve_joint_pair(JointPair((waiting, losing))).cost
    assert found == pytest.approx(alone, rel=2e-6)


def test_a_budget_costs() -> None:
    """13 units a period for a mean demand of 10; the use of an item counts."""
    free = JointPair(two_items(0.0))
    tight = solve_joint_pair(replace(free, budget=13.0)).cost
    assert tight > solve_joint_pair(free).cost + 0.5
    double = replace(free, use=(2.0, 2.0), budget=26.0)
    assert solve_joint_pair(double).cost == pytest.approx(tight, rel=1e-9)


def test_loads_may_be_part_full() -> None:
    """Which costs less than full ones, and more than what goods would cost by the unit."""
    partial = JointPair(two_items(0.0), load_size=8.0, load_cost=16.0)
    full = solve_joint_pair(replace(partial, full_loads=True)).cost
    by_unit = 2.0 * solve_single_pair(two_items(0.0)[0]).cost + 2.0 * 10.0
    assert by_unit < solve_joint_pair(partial).cost < full


def test_too_large_and_too_slow() -> None:
    """Both are told."""
    large = SinglePair(poisson(200.0), (Supply(0, fixed_cost=10.0),), 1.0, 19.0)
    with pytest.raises(TooLarge, match="states and orders"):
        solve_joint_pair(JointPair((large, large), fixed_cost=1000.0))
    with pytest.raises(TooLarge, match="time was up"):
        solve_joint_pair(JointPair(two_items()), time_limit=0.0)
