"""What a planner could have estimated by the end of the training weeks.

Weekday factors, promotion uplift and unit price. All are shrunk or taken as medians, because the
series of a household panel are thin. Shapes: T days, W weeks, S stores, K items.
"""

from __future__ import annotations

import numpy as np

from envs.types import Floats, Ints

PRIOR_UNITS = 100.0  # a store's weekday factors count for half once it has sold this many units
UPLIFT_RANGE = (1.0, 3.0)  # promotions never lower the forecast, nor more than treble it
FIXED_POINT_STEPS = 50


def weekday_factor(quantity: Floats, weekday: Ints, busiest: int) -> Floats:
    """Return each store's mean sales by weekday against its mean day: [T, S, K], [T] -> [S, 7].

    Shrunk towards the factors of the `busiest` first stores together; mean 1 per store.
    """
    by_store = quantity.sum(axis=2)  # [T, S]
    days = np.maximum(np.bincount(weekday, minlength=7), 1)
    per_weekday = np.zeros((7, by_store.shape[1]))
    np.add.at(per_weekday, weekday, by_store)
    per_weekday /= days[:, None]  # [7, S] mean units per day
    pooled = per_weekday[:, :busiest].sum(axis=1)
    prior = pooled / pooled.mean() if pooled.mean() > 0 else np.ones(7)
    weight = by_store.sum(axis=0) / (by_store.sum(axis=0) + PRIOR_UNITS)  # [S]
    mean = per_weekday.mean(axis=0)
    own = np.divide(per_weekday, mean, out=np.ones_like(per_weekday), where=mean > 0)
    factor = weight * own + (1.0 - weight) * prior[:, None]
    return np.asarray((factor / factor.mean(axis=0)).T)


def promotion_uplift(quantity: Floats, promotion: Floats) -> Floats:
    """Return the factor on sales when all of an item is on promotion: [W, S, K] twice -> [K].

    Model: sales of a week = base of the store x (1 + promoted share x (uplift - 1)), so stores of
    unequal size don't count as an effect. Each item's estimate is shrunk towards the pooled
    uplift by its noise against the spread between items (empirical Bayes with the spread of
    DerSimonian and Laird, 1986, Controlled Clinical Trials 7, eq. 8), then clipped to [1, 3].
    """
    items = quantity.shape[2]
    estimates = [_effect(quantity[:, :, k], promotion[:, :, k]) for k in range(items)]
    effect, variance = (np.array(values) for values in zip(*estimates, strict=True))
    known = np.isfinite(variance)
    if not known.any():
        return np.ones(items)
    spread = _spread(effect[known], variance[known])
    weights = 1.0 / (variance[known] + spread)
    pooled = (weights * effect[known]).sum() / weights.sum()
    shrunk = np.full(items, pooled)
    trust = spread / (spread + variance[known])
    shrunk[known] = trust * effect[known] + (1.0 - trust) * pooled
    return np.clip(1.0 + shrunk, *UPLIFT_RANGE)


def _spread(effect: Floats, variance: Floats) -> float:
    """Return the variance of the true effects between items: what noise alone can't explain."""
    if len(effect) < 2:
        return 0.0
    precision = 1.0 / variance
    total = precision.sum()
    fixed = (precision * effect).sum() / total
    surplus = (precision * (effect - fixed) ** 2).sum() - (len(effect) - 1)
    return float(max(surplus / (total - (precision**2).sum() / total), 0.0))


def _effect(sales: Floats, share: Floats) -> tuple[float, float]:
    """Return one item's uplift - 1 and its variance: [W, S] twice; infinite if nothing varies."""
    mean, mean_share = sales.mean(axis=0), share.mean(axis=0)  # [S]
    sold = mean > 0
    centred = share[:, sold] - mean_share[sold]
    spread = (centred**2).sum(axis=0)
    covariance = (centred * (sales[:, sold] - mean[sold])).sum(axis=0)
    if spread.sum() <= 1e-9:
        return 0.0, np.inf
    effect = 0.0
    for _ in range(FIXED_POINT_STEPS):
        # A store's base is its mean sales without the part that promotions explain.
        base = mean[sold] / np.maximum(1.0 + effect * mean_share[sold], 0.1)
        effect = float(covariance.sum() / (base * spread).sum())
    expected = np.maximum(base * (1.0 + effect * share[:, sold]), 0.1 * base)
    freedom = max(expected.size - sold.sum() - 1, 1)
    dispersion = max(float(((sales[:, sold] - expected) ** 2 / expected).sum() / freedom), 1e-6)
    variance = dispersion * (mean[sold] * spread).sum() / (base * spread).sum() ** 2
    return effect, float(variance)


def unit_price(week: Ints, item: Ints, quantity: Floats, value: Floats, items: int) -> Floats:
    """Return the median over weeks of a week's value per unit sold: rows [M] -> [K] currency."""
    weeks = int(week.max()) + 1
    cell = week * items + item
    units = np.bincount(cell, quantity, minlength=weeks * items).reshape(weeks, items)
    worth = np.bincount(cell, value, minlength=weeks * items).reshape(weeks, items)
    ratio = np.divide(worth, units, out=np.full_like(worth, np.nan), where=units > 0)
    return np.asarray(np.nanmedian(ratio, axis=0))
