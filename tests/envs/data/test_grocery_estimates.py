"""Weekday factors, uplift and prices: known answers, shrinkage, limits."""

from __future__ import annotations

import numpy as np
import pytest

from envs.data.grocery_estimates import promotion_uplift, unit_price, weekday_factor


def test_weekday_factor_finds_and_shrinks() -> None:
    """Factors 2 and 5/6 at a busy store; a thin one leans on those of the busiest stores."""
    weekday = np.arange(70) % 7
    busy = np.where(weekday == 6, 2000.0, 2000.0 * 5 / 12)
    thin = np.ones(70)
    factor = weekday_factor(np.stack([busy, thin], axis=1)[:, :, None], weekday, 1)
    np.testing.assert_allclose(factor[0], [5 / 6] * 6 + [2.0], rtol=1e-12)
    own = 70 / (70 + 100)  # 70 units sold against the prior's 100
    assert factor[1, 6] == pytest.approx(own * 1.0 + (1 - own) * 2.0)


def test_uplift_is_found_despite_unequal_stores() -> None:
    """Promotions that double sales, mostly at the small store: 2, not the raw ratio below 1."""
    share = np.zeros((30, 2, 1))
    share[::2, 0] = 1.0
    share[0, 1] = 1.0
    quantity = np.array([10.0, 1000.0])[None, :, None] * (1.0 + share)
    assert quantity[share > 0].mean() < quantity[share == 0].mean()
    np.testing.assert_allclose(promotion_uplift(quantity, share), [2.0], rtol=1e-6)


def test_uplift_shrinks_towards_the_pooled_one() -> None:
    """Noisy items are drawn together; without promotions an item gets the pooled uplift."""
    generator = np.random.default_rng(0)
    share = np.zeros((34, 5, 12))
    share[generator.random(share.shape) < 0.3] = 1.0
    share[:, :, -1] = 0.0
    quantity = generator.poisson(2.0 * (1.0 + 0.6 * share)).astype(float)
    uplift = promotion_uplift(quantity, share)
    raw = [promotion_uplift(quantity[:, :, [k]], share[:, :, [k]])[0] for k in range(11)]
    assert np.ptp(uplift) < 0.5 * np.ptp(raw)
    assert uplift[-1] == pytest.approx(1.6, abs=0.15)


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(0.2, 1.0), (9.0, 3.0)],
    ids=["a promotion never lowers", "nor more than trebles"],
)
def test_uplift_is_clipped(factor: float, expected: float) -> None:
    """Estimates outside [1, 3] are set to its ends."""
    share = np.zeros((20, 1, 1))
    share[::4] = 1.0
    assert promotion_uplift(10.0 * (1.0 + share * (factor - 1.0)), share) == [expected]


def test_unit_price_is_the_median_week() -> None:
    """Weekly value per unit, not per row; one odd week doesn't move it."""
    week = np.array([1, 1, 2, 3])
    item = np.zeros(4, dtype=np.int64)
    quantity = np.array([1.0, 3.0, 2.0, 1.0])
    value = np.array([5.0, 3.0, 4.2, 90.0])  # 2.0, 2.1 and 90.0 per unit
    np.testing.assert_allclose(unit_price(week, item, quantity, value, 1), [2.1])
