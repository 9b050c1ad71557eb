"""Formulas against printed results, and against brute force where none is printed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from envs.errors import ConfigError
from evaluation.optima.eoq import economic_order_quantity, lot_under_disruptions
from evaluation.optima.finite_horizon import finite_horizon
from evaluation.optima.guaranteed_service import Stage, place_safety_stock
from evaluation.optima.r_q import best_reorder_point
from evaluation.optima.serial import best_chain
from evaluation.optima.single_period import with_additive_yield


def pmf(demand: Any) -> NDArray[np.float64]:
    units = np.arange(int(demand.ppf(1.0 - 1e-13)) + 2)
    return np.asarray(demand.pmf(units) / demand.pmf(units).sum())


def test_lots() -> None:
    """Snyder and Shen (2019), examples 3.1 and 9.1; without failures both are the same."""
    lot = economic_order_quantity(8.0, 0.225, 1300.0)
    assert lot == pytest.approx((304.047, 68.4105), rel=1e-5)
    assert lot_under_disruptions(8, 0.225, 5, 1300, 1.5, 14) == pytest.approx(
        (772.811, 173.95), rel=1e-5
    )
    calm = lot_under_disruptions(8, 0.225, 5, 1300, 1e-9, 14)
    assert calm == pytest.approx(lot, rel=1e-4)


def test_reorder_point() -> None:
    """Snyder and Shen, example 5.1; neighbours cost more."""
    lead = 1.0 / 12.0
    found = best_reorder_point(8, 0.225, 7.5, 1300, 1300 * lead, 150 * lead**0.5)
    assert found == pytest.approx((126.867, 328.449, 78.0712), rel=1e-5)


def newsvendor(demand: Any, overage_cost: float, underage_cost: float) -> tuple[int, float]:
    """The level of least expected cost, and that cost, over all levels of whole units."""
    units = np.arange(200)
    costs = [
        np.where(units < level, overage_cost * (level - units), underage_cost * (units - level))
        @ demand.pmf(units)
        for level in units
    ]
    return int(np.argmin(costs)), float(min(costs))


def test_chains() -> None:
    """Shang and Song (2003), table 1; Snyder and Shen, example 6.1; one stage is a newsvendor."""
    four = best_chain([0.25] * 4, 9.0, [stats.poisson(4)] * 4)
    assert four.levels == (8.0, 13.0, 18.0, 22.0)
    assert four.cost == pytest.approx(12.6879, abs=1e-4)
    uneven = best_chain([0.25, 2.5, 2.5, 0.25], 99.0, [stats.poisson(4)] * 4)
    assert uneven.levels == (11.0, 14.0, 18.0, 26.0)
    normal = [stats.norm(5, 1), stats.norm(5, 1), stats.norm(10, 2**0.5)]
    three = best_chain([3, 2, 2], 37.12, normal, step=0.02)
    assert three.levels == pytest.approx((6.49, 12.02, 22.71), abs=0.03)
    assert three.cost == pytest.approx(47.655, abs=0.02)
    one = best_chain([1.0], 19.0, [stats.poisson(15)])
    level, cost = newsvendor(stats.poisson(15), 1.0, 19.0)
    assert one.levels[0] == level
    assert one.cost == pytest.approx(cost)


TREE = [
    Stage("1", 1.0, 2, inbound=1),
    Stage("3", 2.0, 1, ("1",)),
    Stage("2", 3.0, 1, ("3",), outbound=0, demand_sd=1.0),
    Stage("4", 3.0, 1, ("3",), outbound=1, demand_sd=1.0),
]


def test_safety_stock_in_a_tree() -> None:
    """Snyder and Shen, example 6.5."""
    found = place_safety_stock(TREE, 1.0)
    assert found.service_times == {"1": 0, "3": 0, "2": 0, "4": 1}
    assert found.cost == pytest.approx(8.277917, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_safety_stock_against_enumeration(seed: int) -> None:
    """Random trees of five stages, both ways of branching: all service times tried."""
    rng = np.random.default_rng(seed)
    suppliers: list[list[str]] = [[] for _ in range(5)]
    for k in range(1, 5):
        other = int(rng.integers(k))
        late, early = (k, other) if rng.random() < 0.5 else (other, k)
        suppliers[late].append(str(early))
    supplied = {name for names in suppliers for name in names}
    stages = [
        Stage(
            str(k), float(rng.uniform(0.1, 3.0)), int(rng.integers(0, 3)), tuple(suppliers[k]),
            inbound=int(rng.integers(0, 2)), outbound=None if str(k) in supplied else 1,
            demand_sd=0.0 if str(k) in supplied else float(rng.uniform(0.5, 2.0)),
        )
        for k in range(5)
    ]  # fmt: skip

    def variance(k: int) -> float:
        below = [j for j in range(5) if str(k) in suppliers[j]]
        return stages[k].demand_sd ** 2 + sum(variance(j) for j in below)

    best = np.inf
    for quoted in np.ndindex(*(9,) * 5):
        total = 0.0
        for k, stage in enumerate(stages):
            inbound = max([stage.inbound, *(quoted[int(i)] for i in suppliers[k])])
            exposed = inbound + stage.processing_time - quoted[k]
            if exposed < 0 or (stage.outbound is not None and quoted[k] > stage.outbound):
                break
            total += stage.holding_cost * 2.0 * np.sqrt(variance(k) * exposed)
        else:
            best = min(best, total)
    assert place_safety_stock(stages, 2.0).cost == pytest.approx(best)


def test_single_period() -> None:
    """Snyder and Shen, example 9.6."""
    found = with_additive_yield(1.5, stats.uniform(-0.5, 1.0), 15e6, 75e6)
    assert found == pytest.approx((1.8333, 6.25e6), rel=1e-4)


def test_finite_horizon() -> None:
    """A computed case; one period without a unit cost is a newsvendor; fixed costs add."""
    demand = pmf(stats.poisson(20))
    ten = finite_horizon(demand, 10, 1.0, 9.0, 1.0, discount=0.98)
    assert ten == pytest.approx((26, 269.8596), abs=1e-3)
    level, cost = newsvendor(stats.poisson(20), 2.0, 18.0)
    last = finite_horizon(demand, 1, 1.0, 9.0, 0.0)
    assert last.order_up_to_level == level  # what is left is charged once more in the end
    assert last.cost == pytest.approx(cost)
    assert finite_horizon(demand, 10, 1.0, 9.0, 1.0, 50.0, 0.98).cost > ten.cost + 50.0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: economic_order_quantity(0.0, 1.0, 1.0),
        lambda: best_reorder_point(1, 1, 0, 1, 1, 1),
        lambda: best_chain([1.0], 1.0, []),
        lambda: place_safety_stock([Stage("a", 1, 1, ("b",))], 1.0),
        lambda: place_safety_stock([Stage("a", 1, 1), Stage("b", 1, 1)], 1.0),
        lambda: with_additive_yield(1.0, stats.uniform(-0.5, 1.0), 0.0, 1.0),
        lambda: finite_horizon(np.array([0.5, 0.5]), 0, 1, 1, 1),
    ],
)
def test_wrong_numbers_are_refused(wrong: Any) -> None:
    """One line that says what was expected."""
    with pytest.raises(ConfigError, match=r"expected|aren't all stages"):
        wrong()
