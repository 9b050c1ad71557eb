"""Value iteration for one stocked pair: published optima, closed forms, what must not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from envs.types import Floats
from evaluation.optima.markov_demand import MarkovDemand, believed, seen
from evaluation.optima.single_pair import (
    Optimum,
    SinglePair,
    Supply,
    TooLarge,
    solve_single_pair,
)


def pmf(distribution: Any) -> Floats:
    """The probabilities of 0, 1, ... units."""
    values = distribution.pmf(np.arange(int(distribution.isf(1e-12)) + 1))
    return np.asarray(values / values.sum())


def poisson(mean: float) -> MarkovDemand:
    return seen(pmf(stats.poisson(mean))[None])


def geometric(mean: float) -> MarkovDemand:
    return seen(pmf(stats.nbinom(1, 1.0 / (1.0 + mean)))[None])


def uniform(low: int, high: int) -> MarkovDemand:
    return seen(pmf(stats.randint(low, high + 1))[None])


def lost_sales(process: MarkovDemand, lead_time: int, penalty: float, **terms: Any) -> Optimum:
    supply = Supply(lead_time, **terms)
    return solve_single_pair(SinglePair(process, (supply,), 1.0, lost_sale_cost=penalty))


# Zipkin (2008), "Old and new methods for lost-sales inventory systems", tables 3 and 4, to more
# digits: demand 5 a period, holding 1, by lead time and lost-sale cost.
POISSON = {
    (1, 4): 4.0407, (2, 4): 4.3953, (3, 4): 4.5987, (4, 4): 4.7285, (1, 9): 5.4382,
    (3, 9): 6.5314, (1, 19): 6.6757, (2, 19): 7.6644, (3, 19): 8.3625, (4, 19): 8.8872,
    (1, 39): 7.8359, (3, 39): 10.0385,
}  # fmt: skip
GEOMETRIC = {
    (1, 4): 9.8175, (2, 4): 10.2402, (3, 4): 10.4667, (4, 4): 10.6065, (1, 9): 14.5082,
    (3, 9): 16.1367, (1, 19): 19.2179, (2, 19): 20.8906, (1, 39): 23.8657, (3, 39): 27.9635,
}  # fmt: skip


@pytest.mark.parametrize(("case", "optimum"), POISSON.items(), ids=str)
def test_lost_sales_of_poisson_demand(case: tuple[int, float], optimum: float) -> None:
    """To every digit there is."""
    assert lost_sales(poisson(5.0), *case).cost == pytest.approx(optimum, abs=6e-5)


@pytest.mark.parametrize(("case", "optimum"), GEOMETRIC.items(), ids=str)
def test_lost_sales_of_geometric_demand(case: tuple[int, float], optimum: float) -> None:
    """To every digit there is."""
    assert lost_sales(geometric(5.0), *case).cost == pytest.approx(optimum, abs=6e-5)


@pytest.mark.nightly
def test_lost_sales_of_the_largest_case() -> None:
    """140,000 states that can be optimal."""
    assert lost_sales(geometric(5.0), 4, 19.0).cost == pytest.approx(22.953, abs=6e-5)


@pytest.mark.parametrize("case", [(1, 4.0), (2, 19.0), (3, 4.0)], ids=str)
def test_the_bounds_on_orders_hold(case: tuple[int, float]) -> None:
    """A limit far beyond all orders makes Morton's bounds unproven: the widened cut agrees."""
    bounded = lost_sales(poisson(5.0), *case)
    widened = lost_sales(poisson(5.0), *case, maximum=1e6)
    assert widened.states > 2 * bounded.states
    assert widened.cost == pytest.approx(bounded.cost, rel=1e-6)


# Gijsbrechts et al. (2022), "Can deep reinforcement learning improve inventory management?",
# figure 9: demand uniform on 0..4, holding 5, backlog 495, regular cost 100; by regular lead time
# and expedite cost. The paper prints gaps; the optima are by value iteration.
DUAL = {(2, 105): 216.7698, (2, 110): 219.7333, (3, 105): 216.8767, (4, 110): 220.6122}


@pytest.mark.parametrize(("case", "optimum"), DUAL.items(), ids=str)
def test_dual_sourcing(case: tuple[int, float], optimum: float) -> None:
    """Including purchases."""
    slow, quick = Supply(case[0], 100.0), Supply(0, case[1])
    found = solve_single_pair(SinglePair(uniform(0, 4), (slow, quick), 5.0, 495.0))
    assert found.cost == pytest.approx(optimum, abs=6e-5)
    assert found.lower <= found.cost <= found.upper


# Zheng and Federgruen (1991), table: Poisson demand, fixed cost 64, holding 1, backlog 9, by mean
# and lead time; the last ones by renewal enumeration: (mean, lead time, fixed cost, backlog cost).
S_S = {
    (10, 0, 64, 9): 35.0216, (25, 0, 64, 9): 54.2622, (51, 0, 64, 9): 71.6109,
    (75, 0, 64, 9): 79.5538, (10, 1, 64, 9): 36.0974, (6, 0, 5, 4): 8.0341,
    (5, 3, 24, 19): 20.3693,
}  # fmt: skip


@pytest.mark.parametrize(("case", "optimum"), S_S.items(), ids=str)
def test_fixed_costs(case: tuple[float, int, float, float], optimum: float) -> None:
    """To every digit there is."""
    mean, lead_time, fixed, backlog = case
    supply = Supply(lead_time, fixed_cost=fixed)
    found = solve_single_pair(SinglePair(poisson(mean), (supply,), 1.0, backlog))
    assert found.cost == pytest.approx(optimum, abs=1e-4)


def test_orders_in_cycles() -> None:
    """Four units a period, 50 per order: five periods' worth, (50 + 4 (4 + 3 + 2 + 1)) / 5."""
    supply = Supply(0, fixed_cost=50.0)
    found = solve_single_pair(SinglePair(uniform(4, 4), (supply,), 1.0, 19.0))
    assert found.cost == pytest.approx(18.0, rel=1e-6)


@pytest.mark.parametrize(
    ("fail", "repair", "reliable", "optimum"),
    [(0.05, 0.25, 11.0, 57.88), (0.02, 0.1, 11.0, 57.90), (0.02, 0.1, 13.0, 59.54),
     (0.02, 0.1, 20.0, 65.20)],
)  # fmt: skip
def test_a_supplier_that_fails(fail: float, repair: float, reliable: float, optimum: float) -> None:
    """Lead time 1, a cheap supplier that takes no orders while down, and one that always does."""
    chain = np.array([[1.0 - fail, fail], [repair, 1.0 - repair]])
    process = seen(np.repeat(pmf(stats.poisson(5.0))[None], 2, axis=0), chain)
    supplies = (Supply(1, 10.0, open=(True, False)), Supply(1, reliable))
    found = solve_single_pair(SinglePair(process, supplies, 1.0, 19.0))
    assert found.cost == pytest.approx(optimum, abs=0.005)


@pytest.mark.parametrize("lead_time", [0, 1, 4])
@pytest.mark.parametrize("process", [poisson(3.0), geometric(2.0)], ids=["poisson", "geometric"])
def test_base_stock_is_the_newsvendor(process: MarkovDemand, lead_time: int) -> None:
    """Without fixed cost, the best level for L + 1 periods of demand."""
    found = solve_single_pair(SinglePair(process, (Supply(lead_time, 7.0),), 2.0, 13.0))
    demand = process.demand_over(lead_time + 1)[0]
    left = np.arange(200)[:, None] - np.arange(len(demand))
    cost = (2.0 * np.maximum(left, 0) + 13.0 * np.maximum(-left, 0)) @ demand
    assert found.cost == pytest.approx(cost.min() + 7.0 * process.mean_demand(), rel=1e-6)


def test_what_arrives_soon_counts_as_stock() -> None:
    """With a supplier that nobody can pay, the pipeline is a part of the state: no other cost."""
    alone = SinglePair(poisson(2.0), (Supply(2, 1.0),), 1.0, 9.0)
    beside = SinglePair(poisson(2.0), (Supply(2, 1.0), Supply(0, 1e4)), 1.0, 9.0)
    cost = solve_single_pair(alone).cost
    assert solve_single_pair(beside).cost == pytest.approx(cost, rel=2e-6)


def test_options_never_hurt_and_limits_never_help() -> None:
    """A second supplier, packs, a minimum, loads, a maximum: by how much is not the point."""
    plain = Supply(2)

    def cost(*supplies: Supply, backlog: float | None = 19.0) -> float:
        pair = SinglePair(poisson(5.0), supplies, 1.0, backlog, lost_sale_cost=19.0)
        return solve_single_pair(pair).cost

    for backlog in (19.0, None):
        base = cost(plain, backlog=backlog)
        assert cost(plain, Supply(1, 0.5), backlog=backlog) < base
        for limited in (
            Supply(2, multiple=4), Supply(2, minimum=7.0), Supply(2, maximum=6.0),
            Supply(2, load_size=4.0, full_loads=True), Supply(2, load_size=4.0, load_cost=1.0),
        ):  # fmt: skip
            assert cost(limited, backlog=backlog) > base + 0.01


def test_unit_costs_are_paid_on_what_is_sold() -> None:
    """Waiting customers buy all the same; of lost ones the price is saved."""
    pair = SinglePair(poisson(5.0), (Supply(2, 3.0, fixed_cost=9.0),), 1.0, 9.0)
    free = SinglePair(poisson(5.0), (Supply(2, 0.0, fixed_cost=9.0),), 1.0, 9.0)
    difference = solve_single_pair(pair).cost - solve_single_pair(free).cost
    assert difference == pytest.approx(15.0, abs=1e-4)
    dear = lost_sales(poisson(5.0), 4, 6.0, unit_cost=2.0).cost
    assert dear == pytest.approx(lost_sales(poisson(5.0), 4, 4.0).cost + 10.0, abs=1e-5)
    worthless = lost_sales(poisson(5.0), 2, 6.0, unit_cost=7.0).cost
    assert worthless == pytest.approx(30.0, abs=1e-5)  # better not to sell


def test_states_that_are_alike_are_no_regime() -> None:
    """Seen or hidden, two equal states are none."""
    alike = np.repeat(pmf(stats.poisson(5.0))[None], 2, axis=0)
    chain = np.array([[0.9, 0.1], [0.3, 0.7]])
    expected = solve_single_pair(SinglePair(poisson(5.0), (Supply(2),), 1.0, 19.0)).cost
    for process in (seen(alike, chain), believed(alike, chain, 10)):
        found = solve_single_pair(SinglePair(process, (Supply(2),), 1.0, 19.0)).cost
        assert found == pytest.approx(expected, rel=1e-6)


def hidden_demand(intervals: int | None) -> float:
    """Poisson 3 or 9, stays with 0.97; None: the planner sees which."""
    rows = np.zeros((2, 40))
    for row, mean in zip(rows, (3.0, 9.0), strict=True):
        probabilities = pmf(stats.poisson(mean))[:40]
        row[: len(probabilities)] = probabilities / probabilities.sum()
    chain = np.array([[0.97, 0.03], [0.03, 0.97]])
    process = seen(rows, chain) if intervals is None else believed(rows, chain, intervals)
    return solve_single_pair(SinglePair(process, (Supply(2),), 1.0, 19.0)).cost


def test_beliefs_come_close_from_below() -> None:
    """Finer grids are higher; all lie between seeing the regime and a simulated Bayes filter."""
    grids = [hidden_demand(n) for n in (20, 40, 80)]
    assert hidden_demand(None) == pytest.approx(11.34, abs=0.01)  # simulated: 11.345
    assert 11.4 < grids[0] < grids[1] < grids[2] < 14.76  # the best policy, simulated: 14.759
    assert grids[2] == pytest.approx(14.75, abs=0.01)


def test_time_ends_with_a_lower_bound_where_the_cut_is_known() -> None:
    """One iteration of a lost-sales problem; elsewhere there is no telling."""
    pair = SinglePair(poisson(5.0), (Supply(3),), 1.0, lost_sale_cost=4.0)
    found = solve_single_pair(pair, time_limit=0.0)
    assert not found.converged
    assert found.cost == found.lower < 4.5987 < found.upper
    with pytest.raises(TooLarge, match="time was up"):
        solve_single_pair(SinglePair(poisson(5.0), (Supply(3),), 1.0, 9.0), time_limit=0.0)


@pytest.mark.parametrize("lead_time", [6, 12])
def test_too_large_is_said_at_once(lead_time: int) -> None:
    """Before anything is iterated."""
    with pytest.raises(TooLarge, match=r"values|pipelines"):
        lost_sales(poisson(20.0), lead_time, 19.0)
