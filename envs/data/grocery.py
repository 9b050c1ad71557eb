"""Daily demand of real grocery stores, from the Complete Journey tables.

The data are the purchases of 2,469 households in 2017 (84.51 degrees, "Complete Journey"): sales,
not demand (what was out of stock is not in it), and a panel, not a store's whole volume. It has
no stock, lead times or costs: the supply side of a scenario built on it is Echelon's own, and
results should say so.

Weeks 1-35 are for training and every estimate, 36-43 for tuning, 44-53 for the test.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from envs.data.grocery_estimates import promotion_uplift, unit_price, weekday_factor
from envs.data.grocery_rows import (
    LAST_TRAIN_WEEK,
    LAST_TUNE_WEEK,
    PROMOTION_COLUMNS,
    Rows,
    Table,
    require_columns,
)
from envs.errors import DataError
from envs.types import Floats, Ints


@dataclass(frozen=True, eq=False)
class GroceryDemand:
    """Daily sales of K items at S stores over T days, and what is known ahead. Read-only arrays.

    An item is a product category or type, a store is a real one. Ranges are half-open day
    indices. Estimates (uplift, price, weekday factors) come from the training range.
    """

    dates: NDArray[np.datetime64]  # [T] calendar days
    week: Ints  # [T] the data's own week, 1-53
    store_ids: tuple[str, ...]  # S
    item_ids: tuple[str, ...]  # K
    quantity: Floats  # [T, S, K] whole units sold per day
    promotion: Floats  # [T, S, K] share in [0, 1] of the item on display or in the mailer
    promotion_uplift: Floats  # [K] factor on sales at share 1, in [1, 3]
    day_of_week_factor: Floats  # [S, 7] Monday first, mean 1
    multiplier: Floats  # [T, S, K] weekday x promotion, mean 1 over the training range
    unit_price: Floats  # [K] currency per unit, before the store's own discounts
    train: tuple[int, int]
    tune: tuple[int, int]
    test: tuple[int, int]

    @property
    def train_mean(self) -> Floats:
        """Mean units per day in the training range, [S, K]."""
        return np.asarray(self.quantity[slice(*self.train)].mean(axis=0))

    @property
    def data_hash(self) -> str:
        """SHA-256 (hex) of every field: equal hashes mean equal data."""
        digest = hashlib.sha256()
        for field in fields(self):
            value = getattr(self, field.name)
            digest.update(field.name.encode())
            if isinstance(value, np.ndarray):
                digest.update(f"{value.dtype.str}{value.shape}".encode())
                digest.update(np.ascontiguousarray(value).tobytes())
            else:
                digest.update(repr(value).encode())
        return digest.hexdigest()


def assemble(rows: Rows, promotions: Table) -> GroceryDemand:
    """Turn the chosen rows into daily arrays and estimate on the training weeks.

    `promotions` may hold further stores and products. Raises DataError.
    """
    require_columns(promotions, PROMOTION_COLUMNS, "promotions")
    days, stores, items = len(rows.week_of_day), len(rows.stores), len(rows.item_names)
    dates = rows.first_day + np.arange(days)
    weekday = (dates.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
    train, tune, test = _ranges(rows.week_of_day)
    cell = (rows.day * stores + rows.store) * items + rows.item
    units = np.bincount(cell, rows.quantity, minlength=days * stores * items)
    quantity = units.astype(np.float64).reshape(days, stores, items)
    weekly = _promoted_share(rows, promotions)  # [W, S, K]
    first_week = int(rows.week_of_day[0])
    promotion = weekly[rows.week_of_day - first_week]

    trained = slice(*train)
    factor = weekday_factor(quantity[trained], weekday[trained], rows.busiest)
    full, sold = _full_weeks(quantity[trained], rows.week_of_day[trained])
    known = slice(0, rows.busiest)  # held-out stores have no say in what is estimated
    uplift = (
        promotion_uplift(sold[:, known], weekly[full - first_week][:, known])
        if len(full) > 1
        else np.ones(items)
    )
    priced = (rows.day < train[1]) & (rows.store < rows.busiest)
    price = unit_price(
        rows.week_of_day[rows.day[priced]], rows.item[priced], rows.quantity[priced],
        rows.shelf_value[priced], items,
    )  # fmt: skip
    multiplier = factor[:, weekday].T[:, :, None] * (1.0 + promotion * (uplift - 1.0))
    multiplier /= multiplier[trained].mean(axis=0)

    returned = slice(rows.busiest, None) if rows.settings.hold_out_stores else known
    scaled = np.rint(quantity[:, returned] * rows.settings.volume_scale)
    arrays = {
        "dates": dates,
        "week": rows.week_of_day,
        "quantity": scaled,
        "promotion": promotion[:, returned].copy(),
        "promotion_uplift": uplift,
        "day_of_week_factor": factor[returned].copy(),
        "multiplier": multiplier[:, returned].copy(),
        "unit_price": price,
    }
    for values in arrays.values():
        values.setflags(write=False)
    return GroceryDemand(
        store_ids=tuple(str(store) for store in rows.stores[returned]),
        item_ids=rows.item_names,
        train=train,
        tune=tune,
        test=test,
        **arrays,
    )


def _ranges(week_of_day: Ints) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return train, tune and test as half-open day ranges. Raises DataError if one is empty."""
    if (np.diff(week_of_day) < 0).any():
        raise DataError("transactions: weeks go back in time; expected them to rise with the date.")
    first, second = np.searchsorted(week_of_day, [LAST_TRAIN_WEEK, LAST_TUNE_WEEK], side="right")
    days = len(week_of_day)
    if not 0 < first < second < days:
        raise DataError(
            f"transactions: weeks {week_of_day[0]}-{week_of_day[-1]}; expected days in weeks up to "
            f"{LAST_TRAIN_WEEK} (train), up to {LAST_TUNE_WEEK} (tune) and later ones (test)."
        )
    return (0, int(first)), (int(first), int(second)), (int(second), days)


def _full_weeks(quantity: Floats, week: Ints) -> tuple[Ints, Floats]:
    """Return the weeks with all seven days and their sales: [T, S, K] -> [W], [W, S, K].

    The year's first week has one day; next to full weeks it would look like a slump.
    """
    weeks, start, length = np.unique(week, return_index=True, return_counts=True)
    sold = np.add.reduceat(quantity, start, axis=0)
    return weeks[length == 7], sold[length == 7]


def _promoted_share(rows: Rows, promotions: Table) -> Floats:
    """Return the share of each item that is promoted, by week, store and item: [W, S, K].

    Products count by what they sold in the training weeks at the busiest stores; one that did
    not sell then has no weight.
    """
    stores, items, products = len(rows.stores), len(rows.item_names), len(rows.product_ids)
    first, last = int(rows.week_of_day[0]), int(rows.week_of_day[-1])
    trained = (rows.week_of_day[rows.day] <= LAST_TRAIN_WEEK) & (rows.store < rows.busiest)
    weight = np.bincount(rows.product[trained], rows.quantity[trained], minlength=products)
    total = np.bincount(rows.product_item, weight, minlength=items)

    week = np.asarray(promotions["week"], dtype=np.int64)
    order = np.argsort(rows.stores)
    store_id = np.asarray(promotions["store_id"], dtype=np.int64)
    store_at = np.minimum(np.searchsorted(rows.stores, store_id, sorter=order), stores - 1)
    store = order[store_at]
    product_id = np.asarray(promotions["product_id"], dtype=np.int64)
    product = np.minimum(np.searchsorted(rows.product_ids, product_id), products - 1)
    used = (
        (rows.stores[store] == store_id)
        & (rows.product_ids[product] == product_id)
        & (week >= first)
        & (week <= last)
        & (
            (np.asarray(promotions["display_location"]) != "0")
            | (np.asarray(promotions["mailer_location"]) != "0")
        )
    )
    # A product may be promoted twice in a week (display and mailer): it counts once.
    key = ((week[used] - first) * stores + store[used]) * products + product[used]
    key = np.unique(key)
    chosen = key % products
    cell = (key // products) * items + rows.product_item[chosen]
    weeks = last - first + 1
    share = np.bincount(cell, weight[chosen], minlength=weeks * stores * items)
    return np.minimum(share.reshape(weeks, stores, items) / total, 1.0)
