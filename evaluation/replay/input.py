"""Read given demand and given orders: CSV or Parquet tables of one quantity per period and name.

Every mistake is a DataError of one line that says in which file and line, and in which column.
"""

from __future__ import annotations

import csv
import datetime as dt
import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.errors import DataError, did_you_mean
from envs.network.network import SupplyNetwork
from envs.types import Floats, Ints

MOST_PERIODS = 100_000
_MOST_NAMED = 12  # names listed in a message

_Index = dict[tuple[str, ...], int]  # name -> place in the network


@dataclass(frozen=True, eq=False)
class Series:
    """A table's rows: `quantity` [n] units in `period` [n] for the stock or lane `index` [n]."""

    path: Path
    period: Ints
    index: Ints
    quantity: Floats

    def dense(self, periods: int, size: int) -> Floats:
        """Return [T, size] units; what no row names is 0."""
        values = np.zeros((periods, size))
        values[self.period, self.index] = self.quantity
        return values


class _Row(NamedTuple):
    place: str  # "line 7", as messages name it
    cells: Mapping[str, Any]


def read_demand(path: Path, network: SupplyNetwork, start: dt.date | None = None) -> Series:
    """Read customer demand: columns period (or date), node, sku, quantity.

    `index` counts `network.stocks`. start: date of period 0. Raises DataError.
    """
    index: _Index = {(s.node, s.sku): i for i, s in enumerate(network.stocks)}
    nodes, skus = [n.id for n in network.nodes], [s.id for s in network.skus]

    def missing(key: tuple[str, ...]) -> str:
        node, sku = key
        if node not in nodes:
            return f"node is '{node}', unknown.{_hint(node, nodes)}"
        if sku not in skus:
            return f"sku is '{sku}', unknown.{_hint(sku, skus)}"
        return f"SKU '{sku}' is not stocked at node '{node}'; expected a stock of the network."

    return _read(path, ("node", "sku"), index, missing, start)


def read_orders(path: Path, network: SupplyNetwork, start: dt.date | None = None) -> Series:
    """Read orders: columns period (or date), lane, quantity.

    `index` counts `network.lanes`. start: date of period 0. Raises DataError.
    """
    index: _Index = {(lane.id,): i for i, lane in enumerate(network.lanes)}
    lanes = [lane.id for lane in network.lanes]

    def missing(key: tuple[str, ...]) -> str:
        return f"lane is '{key[0]}', unknown.{_hint(key[0], lanes)}"

    return _read(path, ("lane",), index, missing, start)


def common_periods(series: Iterable[Series], periods: int | None) -> int:
    """Return how many periods to simulate: `periods`, or up to the last one that a table names.

    Raises DataError where that is none, or less than a table's.
    """
    tables = list(series)
    last = {str(table.path): int(table.period.max(initial=-1)) for table in tables}
    if periods is None:
        periods = max(last.values(), default=-1) + 1
    if periods < 1:
        raise DataError(f"{' and '.join(last)}: no rows; expected some, or periods=NUMBER.")
    for path, period in last.items():
        if period >= periods:
            raise DataError(
                f"{path}: the last period is {period}; expected at most {periods - 1} for periods="
                f"{periods}. Leave periods away, or cut the table."
            )
    return periods


def _read(
    path: Path,
    keys: tuple[str, ...],
    index: _Index,
    missing: Callable[[tuple[str, ...]], str],
    start: dt.date | None,
) -> Series:
    periods, rows, quantities = [], [], []
    seen: dict[tuple[int, int], str] = {}
    for place, cells in _rows(path, keys):
        where = f"{path}, {place}"
        period = _period(where, cells, start)
        key = tuple(_name(where, column, cells[column]) for column in keys)
        if key not in index:
            raise DataError(f"{where}: {missing(key)}")
        first = seen.setdefault((period, index[key]), place)
        if first != place:
            raise DataError(
                f"{where}: period {period} of '{' '.join(key)}' is there already, on {first}; "
                "expected one row each. Add them up."
            )
        periods.append(period)
        rows.append(index[key])
        quantities.append(_quantity(where, cells["quantity"]))
    return Series(
        path, np.array(periods, np.int64), np.array(rows, np.int64), np.array(quantities, float)
    )


def _rows(path: Path, keys: tuple[str, ...]) -> Iterator[_Row]:
    readers = {".csv": _csv_rows, ".parquet": _parquet_rows}
    if path.suffix not in readers:
        raise DataError(f"{path}: the name ends in '{path.suffix}'; expected .csv or .parquet.")
    if not path.is_file():
        raise DataError(f"{path}: no such file. Check the path.")
    return readers[path.suffix](path, keys)


def _csv_rows(path: Path, keys: tuple[str, ...]) -> Iterator[_Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = next(reader, [])
            _check_columns(f"{path}, line 1", columns, keys)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(columns):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells; expected "
                        f"{len(columns)}: {', '.join(columns)}."
                    )
                yield _Row(f"line {reader.line_num}", dict(zip(columns, cells, strict=True)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not readable as CSV in UTF-8 ({error}).") from error


def _parquet_rows(path: Path, keys: tuple[str, ...]) -> Iterator[_Row]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path)
        # pandas writes the index of a sorted or filtered frame as a column of its own.
        names = [n for n in table.schema_arrow.names if not n.startswith("__index_level_")]
        _check_columns(str(path), names, keys)
        number = 0
        for batch in table.iter_batches():
            for cells in batch.to_pylist():
                number += 1
                yield _Row(f"row {number}", cells)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not readable as Parquet ({error}).") from error


def _check_columns(where: str, columns: list[str], keys: tuple[str, ...]) -> None:
    time = "date" if "date" in columns and "period" not in columns else "period"
    wanted = [time, *keys, "quantity"]
    if sorted(columns) != sorted(wanted):
        raise DataError(
            f"{where}: the columns are {', '.join(columns) or 'missing'}; expected "
            f"{', '.join(wanted)}{' (or date for period)' if time == 'period' else ''}."
        )


def _period(where: str, cells: Mapping[str, Any], start: dt.date | None) -> int:
    if "date" in cells:
        return _days_since(where, cells["date"], start)
    value = cells["period"]
    try:
        period = int(value)
        if isinstance(value, bool) or (not isinstance(value, str) and period != value):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        period = -1
    if not 0 <= period < MOST_PERIODS:
        raise DataError(
            f"{where}: period is {value!r}; expected a whole number from 0 to {MOST_PERIODS - 1} "
            "(for dates, name the column date)."
        )
    return period


def _days_since(where: str, value: Any, start: dt.date | None) -> int:
    if start is None:
        raise DataError(f"{where}: has dates; give start=YYYY-MM-DD, the date of period 0.")
    if isinstance(value, dt.datetime):
        value = value.date()
    try:
        date = value if isinstance(value, dt.date) else dt.date.fromisoformat(value)
    except (TypeError, ValueError):
        raise DataError(f"{where}: date is {value!r}; expected YYYY-MM-DD.") from None
    days = (date - start).days
    if not 0 <= days < MOST_PERIODS:
        raise DataError(
            f"{where}: date is {date}; expected a day from {start}, the start, on, and at most "
            f"{MOST_PERIODS - 1} days later."
        )
    return days


def _name(where: str, column: str, value: Any) -> str:
    """Names are text; Parquet may have whole numbers for them."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"{where}: {column} is {value!r}; expected a name.")


def _quantity(where: str, value: Any) -> float:
    try:
        quantity = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        quantity = float("nan")
    if not (math.isfinite(quantity) and quantity >= 0.0):
        raise DataError(f"{where}: quantity is {value!r}; expected a number >= 0 [units].")
    return quantity


def _hint(name: str, known: list[str]) -> str:
    """The closest names; all of them where they are few."""
    few = known if len(known) <= _MOST_NAMED else difflib.get_close_matches(name, known, n=3)
    return did_you_mean(name, few) if few else ""
