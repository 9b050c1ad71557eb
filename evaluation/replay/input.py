"""Read given demand and given orders: CSV or Parquet tables of one quantity per period and name.

Every mistake is a DataError of one line that says in which file and line, and in which column.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from envs.dates import PERIODS_PER_DAY, Dates
from envs.errors import DataError, did_you_mean, shown
from envs.network.demand import MOST_UNITS
from envs.network.network import SupplyNetwork
from envs.network.plain import NUMBER
from envs.types import Floats, Ints
from evaluation.files.table_rows import as_written, read_rows

LONGEST_REPLAY = 100_000  # periods
_MOST_NAMED = 12  # names listed in a message
_MIDNIGHT = re.compile(r"[ T]00:00(:00(\.0+)?)?")

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


def read_demand(path: Path, network: SupplyNetwork, dates: Dates | None = None) -> Series:
    """Read customer demand: columns period (or date), node, sku, quantity.

    `index` counts `network.stocks`. dates: of the periods. Raises DataError.
    """
    index: _Index = {(s.node, s.sku): i for i, s in enumerate(network.stocks)}
    nodes, skus = [n.id for n in network.nodes], [s.id for s in network.skus]

    def missing(key: tuple[str, ...]) -> str:
        node, sku = key
        if node not in nodes:
            return f"node is {shown(node)}, unknown.{_hint(node, nodes)}"
        if sku not in skus:
            return f"sku is {shown(sku)}, unknown.{_hint(sku, skus)}"
        return f"SKU '{sku}' is not stocked at node '{node}'; expected a stock of the network."

    return _read(path, ("node", "sku"), index, missing, dates)


def read_orders(path: Path, network: SupplyNetwork, dates: Dates | None = None) -> Series:
    """Read orders: columns period (or date), lane, quantity.

    `index` counts `network.lanes`. dates: of the periods. Raises DataError.
    """
    index: _Index = {(lane.id,): i for i, lane in enumerate(network.lanes)}
    lanes = [lane.id for lane in network.lanes]

    def missing(key: tuple[str, ...]) -> str:
        return f"lane is {shown(key[0])}, unknown.{_hint(key[0], lanes)}"

    return _read(path, ("lane",), index, missing, dates)


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
    dates: Dates | None,
) -> Series:
    periods, rows, quantities = [], [], []
    seen: dict[tuple[int, int], str] = {}
    known = {part: part for key in index for part in key}
    spelled = {_spelling(part): part for part in known} | known
    for place, cells in read_rows(path, partial(_check_columns, keys)):
        where = f"{path}, {place}"
        period = _period(where, cells, dates)
        names = [_name(where, column, cells[column]) for column in keys]
        key = tuple(spelled.get(n) or spelled.get(_spelling(n), n) for n in names)
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


def _check_columns(keys: tuple[str, ...], where: str, columns: list[str]) -> None:
    time = "date" if "date" in columns and "period" not in columns else "period"
    wanted = [time, *keys, "quantity"]
    if sorted(columns) != sorted(wanted):
        more = [name for name in columns if name not in wanted or columns.count(name) > 1]
        remedy = f" Remove {', '.join(map(shown, dict.fromkeys(more)))}." if more else ""
        raise DataError(
            f"{where}: the columns are {shown(', '.join(columns), 200)[1:-1] or 'missing'}; "
            f"expected {', '.join(wanted)}{' (or date for period)' if time == 'period' else ''}."
            f"{remedy}"
        )


def _period(where: str, cells: Mapping[str, Any], dates: Dates | None) -> int:
    if "date" in cells:
        return _period_of(where, cells["date"], dates)
    value = cells["period"]
    period = _number(value)
    if period is None or not 0 <= period < LONGEST_REPLAY or period != int(period):
        raise DataError(
            f"{where}: period is {shown(value)}; expected a whole number from 0 to "
            f"{LONGEST_REPLAY - 1} (for dates, name the column date)."
        )
    return int(period)


def _period_of(where: str, value: Any, dates: Dates | None) -> int:
    if dates is None:
        raise DataError(
            f"{where}: has dates; give start=YYYY-MM-DD, the date of period 0, or the network's "
            "start_date."
        )
    if PERIODS_PER_DAY.get(dates.period_name, 1) > 1:
        raise DataError(
            f"{where}: has dates, but periods are {dates.period_name}s; expected the column "
            "period, a number counted from 0."
        )
    text = value.isoformat() if isinstance(value, dt.date) else value
    try:
        day = text.strip()[:10] if _MIDNIGHT.fullmatch(text.strip()[10:]) else text.strip()
        date = dt.date.fromisoformat(day)
    except (AttributeError, ValueError):
        raise DataError(
            f"{where}: date is {shown(text)}; expected YYYY-MM-DD, such as 2024-02-28, without a "
            "time. Give the column this format, and add up what a day has."
        ) from None
    period = dates.period_of(date)
    if not 0 <= period < LONGEST_REPLAY:
        raise DataError(
            f"{where}: date is {date}; expected a day from {dates.first}, the start, on, and at "
            f"most {LONGEST_REPLAY - 1} {dates.period_name}s later."
        )
    return period


def _name(where: str, column: str, value: Any) -> str:
    """Names are text; Parquet may have whole numbers for them."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"{where}: {column} is {shown(value)}; expected a name. Store it as text.")


def _spelling(name: str) -> str:
    """Return what is the same in all spellings of a name: letters with accents in one character, no
    spaces around, no `'` that a spreadsheet is protected by."""
    return unicodedata.normalize("NFC", as_written(name).strip())


def _quantity(where: str, value: Any) -> float:
    quantity = _number(value)
    if quantity is not None and 0.0 <= quantity <= MOST_UNITS:
        return quantity
    if quantity is not None and quantity < 0.0:
        remedy = ": take returns off the demand of the same day, or leave them out"
    elif quantity is not None:
        remedy = f", at most {MOST_UNITS:g}: check the typing, or count in larger units"
    elif isinstance(value, str) and not value.strip():
        remedy = ": leave the row out where nothing was asked for"
    else:
        remedy = ": plain digits with a decimal point, such as 1200.5, and nothing between them"
    raise DataError(f"{where}: quantity is {shown(value)}; expected a number >= 0 [units]{remedy}.")


def _number(value: Any) -> float | None:
    """Return what a cell says, None for what is no plain number: 2,5 and 1_5, NaN, nothing."""
    if isinstance(value, str):
        return float(value) if NUMBER.fullmatch(value := value.strip()) else None
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number == number else None


def _hint(name: str, known: list[str]) -> str:
    """The closest names; all of them where they are few."""
    few = known if len(known) <= _MOST_NAMED else difflib.get_close_matches(name, known, n=3)
    return did_you_mean(name, few) if few else ""
