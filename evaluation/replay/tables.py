"""What a replay leaves behind: tables by stock, by lane and by period, and a summary.

docs/how_to/replay.md describes every column.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv, parquet

from envs.dates import Dates
from envs.errors import DataError
from envs.types import Floats
from evaluation.files.atomic_folder import SUMS_FILE, write_folder
from evaluation.files.table_rows import without_formula
from evaluation.replay.replay import Replay

SCHEMA_VERSION = 1  # of summary.json; docs/how_to/replay.md describes it


_TABLES = ("stocks", "lanes", "periods")
_FILES = {f"{name}.{form}" for name in _TABLES for form in ("csv", "parquet")}
_FILES |= {"summary.json", SUMS_FILE}
_MOST_CHANGES = 20  # listed in the summary
_STOCK_UNITS = (
    "demand", "sold", "backlog_served", "lost", "received", "shipped", "ordered", "requested",
    "on_hand", "backorders", "owed", "in_transit",
)  # fmt: skip
_LANE_UNITS = (
    "asked", "ordered", "shipped", "received", "scrapped", "cancelled", "owed", "in_transit",
    "orders_on_way",
)  # fmt: skip
_AT_THE_END = ("on_hand", "backorders", "owed", "in_transit")  # levels: no sum over periods


def tables(
    replay: Replay, discount: float = 1.0, dates: Dates | None = None
) -> dict[str, pd.DataFrame]:
    """Return the tables by name.

    discount: factor per period.
    dates: of the periods, if any.
    """
    network = replay.net.network
    costs = [name for name in replay.stocks if name.startswith("cost")]
    stocks = _long(
        {"node": [s.node for s in network.stocks], "sku": [s.sku for s in network.stocks]},
        {name: replay.stocks[name] for name in (*_STOCK_UNITS, *costs)},
        dates,
    )
    lanes = network.lanes
    names = {"lane": [q.id for q in lanes], "node": [q.node for q in lanes]}
    units = {name: replay.lanes[name] for name in _LANE_UNITS}
    by_lane = _long({**names, "sku": [q.sku for q in lanes]}, units, dates)
    return {"stocks": stocks, "lanes": by_lane, "periods": _by_period(replay, discount, dates)}


def _long(
    names: Mapping[str, Sequence[str]], columns: Mapping[str, Floats], dates: Dates | None
) -> pd.DataFrame:
    """Stack [T, rows] arrays under one another: period, the names, the columns."""
    periods, rows = next(iter(columns.values())).shape
    times = {name: np.repeat(values, rows) for name, values in _times(periods, dates).items()}
    repeated = {name: np.tile(np.array(values, object), periods) for name, values in names.items()}
    units = {name: values.ravel() + 0.0 for name, values in columns.items()}  # + 0.0: no -0.0
    return pd.DataFrame({**times, **repeated, **units})


def _by_period(replay: Replay, discount: float, dates: Dates | None) -> pd.DataFrame:
    costs = [name for name in replay.stocks if name.startswith("cost")]
    sums = {name: replay.stocks[name].sum(axis=1) + 0.0 for name in (*_STOCK_UNITS, *costs)}
    profit = 0.0 - sums["cost"]
    discounted = profit * discount ** np.arange(replay.periods)
    money = {"profit": profit, "discounted_profit": discounted}
    return pd.DataFrame({**_times(replay.periods, dates), **sums, **money})


def _times(periods: int, dates: Dates | None) -> dict[str, Any]:
    times: dict[str, Any] = {"period": np.arange(periods)}
    if dates is not None:
        times["date"] = np.array([dates.date_of(t) for t in range(periods)], object)
    return times


def summarise(replay: Replay, by_period: pd.DataFrame, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the summary as plain data. about: what it was run with, put in front."""
    costs = [name for name in replay.stocks if name.startswith("cost")]
    flows = [name for name in _STOCK_UNITS if name not in _AT_THE_END]
    money = [*costs, "profit", "discounted_profit"]
    first = replay.changed[:_MOST_CHANGES]
    return {
        "schema_version": SCHEMA_VERSION,
        **about,
        "periods": replay.periods,
        "totals": {name: float(by_period[name].sum()) for name in (*flows, *money)},
        "at_the_end": {name: float(by_period[name].iloc[-1]) for name in _AT_THE_END},
        "changed_orders": {
            "count": len(replay.changed),
            "first": [
                {**_time(by_period, change.period), **change._asdict(), "rules": [*change.rules]}
                for change in first
            ],
        },
        "unused_limits": {
            name: {"periods": int(np.count_nonzero(left)), "left": float(left.sum())}
            for name, left in zip(replay.net.limit_ids, replay.unused.T, strict=True)
            if left.any()
        },
    }


def _time(by_period: pd.DataFrame, period: int) -> dict[str, Any]:
    """The period, and its date where there is one."""
    dates = by_period.get("date")
    return {"period": period} | ({} if dates is None else {"date": dates[period].isoformat()})


def must_be_free(folder: Path) -> None:
    """Raise DataError unless the folder is new, empty, or holds nothing but an earlier replay."""
    if folder.exists() and not (folder.is_dir() and {p.name for p in folder.iterdir()} <= _FILES):
        raise DataError(
            f"out: '{folder}' holds other files; expected a new folder, or one that a replay wrote."
        )


def write_replay(
    folder: Path, frames: Mapping[str, pd.DataFrame], summary: Mapping[str, Any]
) -> None:
    """Write the folder, all or nothing. Raises DataError where it can't be written."""

    def fill(temporary: Path) -> None:
        for name, frame in frames.items():
            table = pa.Table.from_pandas(frame, preserve_index=False)
            parquet.write_table(table, temporary / f"{name}.parquet")
            with (temporary / f"{name}.csv").open("wb") as file:
                file.write((",".join(table.column_names) + "\n").encode())  # its own is in quotes
                csv.write_csv(_safe(table), file, csv.WriteOptions(include_header=False))
        text = json.dumps(summary, indent=2, allow_nan=False)
        (temporary / "summary.json").write_text(text + "\n", encoding="utf-8")

    must_be_free(folder)
    write_folder(folder, fill, replace=True, error=DataError)


def _safe(table: pa.Table) -> pa.Table:
    """The table for a CSV, which may be opened in a spreadsheet: no name is a formula."""
    for i, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            column = table.column(i).dictionary_encode().combine_chunks()
            safe = pa.array([without_formula(name) for name in column.dictionary.to_pylist()])
            table = table.set_column(i, field.name, safe.take(column.indices))
    return table
