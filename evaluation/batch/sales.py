"""A table of sales, a row a period, as the entries of a request."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from envs.errors import DataError
from envs.scenario import Scenario
from envs.types import Bools, Floats, Ints
from evaluation.recommendation.schemas import (
    LONGEST_HISTORY,
    MOST_UNITS,
    Name,
    RecentSales,
    Strict,
    Units,
    When,
)


class SalesRow(Strict):
    """A row of the table: of one period, what `RecentSales` has of several."""

    location: Name
    item: Name
    date: When
    quantity: Units | None
    stockout: bool = False
    transfers: Units | None = None


class _Column(Protocol):
    """`evaluation.batch.tables.Column`."""

    @property
    def values(self) -> list[Any]: ...
    @property
    def code(self) -> Ints: ...


class _Error(Protocol):
    """`evaluation.batch.tables.Table.error`."""

    def __call__(self, row: int, column: str, message: str, more: int = 0) -> DataError: ...


class _Rows(NamedTuple):
    """Sorted by pair and period. ago: periods before the last one that can be known."""

    pair: Ints
    ago: Ints
    row: Ints  # of the table


def sales_of(
    typed: Mapping[str, _Column], scenario: Scenario, as_of: dt.date | None, error: _Error
) -> tuple[list[RecentSales], Ints]:
    """Return an entry for each pair, and the table's row that it begins with.

    A period without a row is not known. What is longer ago than `LONGEST_HISTORY` periods is left
    out. Raises DataError, made by `error`.
    """
    if not typed or not len(typed["date"].code):
        return [], np.zeros(0, np.int64)
    for name in ("location", "item", "date"):
        is_given = np.array([value is not None for value in typed[name].values])
        _all(is_given[typed[name].code], name, "expected a value", error)
    rows = _sorted_rows(typed, scenario, as_of, error)
    begins = np.flatnonzero(np.diff(rows.pair, prepend=-1))
    entry = np.cumsum(np.diff(rows.pair, prepend=-1) != 0) - 1
    length = np.maximum.reduceat(rows.ago, begins) + 1
    shape, place = (len(begins), int(length.max())), (entry, length.max() - 1 - rows.ago)

    def dense(name: str) -> Floats:
        """[pairs, T] of a column, the last period at the end; NaN: not known."""
        units = np.full(shape, math.nan)
        units[place] = _units(typed, name, error)[rows.row]
        return units

    quantities, transfers, marks = dense("quantity"), None, None
    if "transfers" in typed:
        transfers = dense("transfers")
        given = np.isfinite(transfers)
        whole = given.sum(axis=1)
        for i in np.flatnonzero((whole > 0) & (whole < length))[:1].tolist():
            message = "expected a number for every period of the pair since its first row, or none"
            raise error(int(rows.row[begins[i]]), "transfers", message)
    if "stockout" in typed:
        column = typed["stockout"]
        told = np.array([bool(value) for value in column.values])[column.code]
        marks = np.zeros(shape, bool)
        marks[place] = told[rows.row]
    names = [typed["location"], typed["item"]]
    firsts = rows.row[begins]
    pairs = zip(*([c.values[k] for k in c.code[firsts].tolist()] for c in names), strict=True)
    return _made(list(pairs), length, quantities, transfers, marks), firsts


def _sorted_rows(
    typed: Mapping[str, _Column], scenario: Scenario, as_of: dt.date | None, error: _Error
) -> _Rows:
    when, last = _when(typed["date"], scenario, as_of, error)
    _all(
        when <= last, "date",
        "expected a period whose demand is known when orders are placed, so "
        + ("as_of, or before it" if last == 0 else "one before as_of"),
        error,
    )  # fmt: skip
    kept = np.flatnonzero(when > last - LONGEST_HISTORY)
    pair = typed["location"].code * len(typed["item"].values) + typed["item"].code
    order = kept[np.lexsort((when[kept], pair[kept]))]
    pair, when = pair[order], when[order]
    same = np.flatnonzero((np.diff(pair) == 0) & (np.diff(when) == 0))
    if len(same):
        row = int(order[same[0] + 1])
        message = "expected one row for each pair and period: add them up"
        raise error(row, "date", message, len(same) - 1)
    return _Rows(pair, last - when, order)


def _when(
    column: _Column, scenario: Scenario, as_of: dt.date | None, error: _Error
) -> tuple[Ints, int]:
    """Return periods from now, and the last one whose demand is known when orders are placed."""
    values = column.values[:-1]
    if as_of is None and (dates := [k for k, v in enumerate(values) if isinstance(v, dt.date)]):
        row = int(np.flatnonzero(np.isin(column.code, dates))[0])
        raise error(row, "date", "as_of is missing, from which it is counted: give as_of=DATE")
    now = 0 if as_of is None else scenario.period_of(as_of)
    told = [v if isinstance(v, int) else 0 if v is None else scenario.period_of(v) - now
            for v in values]  # fmt: skip
    last = int(scenario.compiled.arrays.switches.demand_first) - 1
    return np.array([*told, 0])[column.code], last


def _units(typed: Mapping[str, _Column], name: str, error: _Error) -> Floats:
    column = typed[name]
    values = np.array([math.nan if v is None else v for v in column.values])
    with np.errstate(invalid="ignore"):
        is_right = np.isnan(values) | ((values >= 0.0) & (values <= MOST_UNITS))
    _all(is_right[column.code], name, f"expected a number from 0 to {MOST_UNITS:g} [units]", error)
    units: Floats = values[column.code]
    return units


def _all(is_right: Bools, name: str, message: str, error: _Error) -> None:
    rows = np.flatnonzero(~is_right)
    if len(rows):
        raise error(int(rows[0]), name, message, len(rows) - 1)


def _made(
    pairs: list[tuple[str, str]], length: Ints, quantities: Floats, transfers: Floats | None,
    marks: Bools | None,
) -> list[RecentSales]:  # fmt: skip
    """Without another check of every number: they are right."""
    made = []
    for i, (location, item) in enumerate(pairs):
        first = quantities.shape[1] - int(length[i])
        units: list[float | None] = quantities[i, first:].tolist()
        moved = None if transfers is None else transfers[i, first:].tolist()
        empty: list[bool] = [] if marks is None else marks[i, first:].tolist()
        made.append(RecentSales.model_construct(
            location=location,
            item=item,
            quantities=[None if x != x else x for x in units],
            stockout=empty if any(empty) else False,
            transfers=None if moved is None or moved[-1] != moved[-1] else moved,
        ))  # fmt: skip
    return made
