"""A folder of tables as one request: a file for each list of it, a row for each entry.

The columns are the JSON fields, and the same rules hold: those of
`evaluation.recommendation.schemas`. Only recent_sales has a row a period, with columns location,
item, date, quantity and, where they are known, stockout and transfers.

Every mistake is a DataError of one line that says in which file, row and column.
"""

from __future__ import annotations

import datetime as dt
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from envs.errors import DataError, did_you_mean, shown
from envs.network.plain import NUMBER
from envs.scenario import Scenario
from envs.types import Ints
from evaluation.batch.sales import SalesRow, sales_of
from evaluation.files.table_rows import Columns, as_written, read_columns
from evaluation.recommendation.findings import RequestError
from evaluation.recommendation.schemas import (
    Forecast,
    OpenOrder,
    Price,
    Receipt,
    RecommendationRequest,
    Status,
    StockLevel,
    Strict,
)

SALES = "recent_sales"
TABLES: Mapping[str, type[Strict]] = {
    "stock": StockLevel,
    "open_orders": OpenOrder,
    "wip": OpenOrder,
    SALES: SalesRow,
    "receipts": Receipt,
    "lane_status": Status,
    "node_status": Status,
    "forecasts": Forecast,
    "prices": Price,
}
ENDINGS = (".parquet", ".csv")
_FIELD = re.compile(r"(\w+)\[([0-9]+)\](?:\.(\w+))?.*")  # of an error, as stock[3].on_hand
_DAY = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[ T]00:00(?::00(?:\.0+)?)?)?")
_WHOLE = re.compile(r"[-+]?[0-9]{1,9}")
_WANTED = {
    frozenset({str}): "text",
    frozenset({float}): "a number, such as 1200.5",
    frozenset({int}): "a whole number",
    frozenset({bool}): "true or false",
    frozenset({dt.date}): "a date as YYYY-MM-DD",
    frozenset({int, dt.date}): "a date as YYYY-MM-DD, or periods from as_of, such as -1",
}


class Column(NamedTuple):
    """A column as typed values, equal ones once. values[code[row]]; None, the last: no value."""

    values: list[Any]
    code: Ints

    def cells(self) -> list[Any]:
        """Return the values of all rows."""
        return [self.values[code] for code in self.code.tolist()]


class Table(NamedTuple):
    """A table as it was read. first_row: of each entry; None: an entry a row."""

    path: Path
    columns: Columns
    first_row: Ints | None = None

    def error(self, row: int, column: str, message: str, more: int = 0) -> DataError:
        """Return the error of a cell; of a whole row where there is no such column."""
        cells, what = self.columns.cells.get(column), ""
        if cells is not None:
            what = f"{column} is {shown(cells[row].as_py())}; "
        elif column:
            what = f"{column} is missing; "
        others = f" {more} more rows have mistakes." if more else ""
        return DataError(f"{self.path}, {self.columns.place(row)}: {what}{message}.{others}")


class TableRequest(NamedTuple):
    """A request, and the tables it was read from."""

    request: RecommendationRequest
    tables: Mapping[str, Table]

    def error(self, problem: RequestError) -> DataError:
        """Return what is wrong with the request as an error of a table."""
        first, more = problem.errors[0], len(problem.errors) - 1
        match = _FIELD.fullmatch(first.field)
        if match is None or match[1] not in self.tables:
            return DataError(f"{first.field} {first.message}; give {first.field}=VALUE.")
        table, entry = self.tables[match[1]], int(match[2])
        row = entry if table.first_row is None else int(table.first_row[entry])
        return table.error(row, match[3] or "", first.message.removesuffix("."), more)


def read_request(
    folder: Path, files: Iterable[str], base: RecommendationRequest, scenario: Scenario
) -> TableRequest:
    """Return `base` with the entries of these tables of the folder. Raises DataError."""
    entries: dict[str, Sequence[Any]] = {}
    tables: dict[str, Table] = {}
    for file in files:
        name, path = Path(file).stem, folder / file
        model = TABLES[name]
        types = {str(f.validation_alias or n): _types(f) for n, f in model.model_fields.items()}
        needed = [str(key) for key, field in model.model_fields.items() if field.is_required()]
        columns = read_columns(path, partial(_check_columns, list(types), needed))
        table = Table(path, columns)
        typed = {key: _typed(table, key, types[key]) for key in columns.cells}
        if name == SALES:
            entries[name], rows = sales_of(typed, scenario, base.as_of, table.error)
            tables[name] = table._replace(first_row=rows)
        else:
            entries[name], tables[name] = _entries(table, typed, model), table
    # Each entry is checked; the limits on how many there are, which a server needs, don't hold.
    return TableRequest(base.model_copy(update=entries), tables)


def table_files(names: Sequence[str], where: str) -> dict[str, str]:
    """Return the file of each table; what begins with . or _ is left out.

    Raises DataError for any other file, and where there is no stock.
    """
    found: dict[str, str] = {}
    for name in sorted(names):
        stem, dot, ending = name.rpartition(".")
        if name.startswith((".", "_")):
            continue
        if stem not in TABLES or f"{dot}{ending}".lower() not in ENDINGS:
            raise DataError(
                f"{where} has {shown(name)}, which is no table; expected NAME.parquet or NAME.csv."
                f"{did_you_mean(stem or name, TABLES)}"
            )
        if stem in found:
            raise DataError(f"{where} has both {found[stem]} and {name}; expected one. Remove one.")
        found[stem] = name
    if "stock" not in found:
        raise DataError(f"{where} has no stock.parquet or stock.csv; expected one.")
    return found


def _types(field: Any) -> frozenset[type]:
    """The types that a field's value can have, None aside."""

    def of(hint: Any) -> set[type]:
        parts = typing.get_args(hint)
        if typing.get_origin(hint) is typing.Annotated:
            return of(parts[0])
        return set().union(*map(of, parts)) if parts else {hint}

    return frozenset(of(field.annotation) - {type(None)})


def _check_columns(known: list[str], needed: list[str], where: str, columns: list[str]) -> None:
    for name in columns:
        if name not in known or columns.count(name) > 1:
            state = "is there twice" if name in known else "is unknown"
            raise DataError(f"{where}: column {shown(name)} {state}.{did_you_mean(name, known)}")
    for name in needed:
        if name not in columns:
            raise DataError(
                f"{where}: column {name} is missing; expected {', '.join(needed)}"
                f"{' and more' * (len(known) > len(needed))}. Known: {', '.join(known)}."
            )


def _typed(table: Table, name: str, types: frozenset[type]) -> Column:
    """Return the column's values as the types say, each distinct one looked at once."""
    cells = table.columns.cells[name].unify_dictionaries().combine_chunks()
    cells = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
    code = cells.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    values: list[Any] = []
    wrong: list[int] = []
    for value in cells.dictionary.to_pylist():
        try:
            values.append(_cell(value, types))
        except ValueError:
            wrong.append(len(values))
            values.append(None)
    if wrong:
        rows = np.flatnonzero(np.isin(code, wrong))
        if len(rows):
            raise table.error(int(rows[0]), name, f"expected {_WANTED[types]}", len(rows) - 1)
    return Column([*values, None], code)


def _cell(value: Any, types: frozenset[type]) -> Any:
    """Return a cell as one of the types, None where nothing is in it. Raises ValueError."""
    if isinstance(value, str):
        value = as_written(value).strip()
    if value is None or value == "" or value != value:
        return None
    if isinstance(value, dt.datetime):
        if value.time() != dt.time():
            raise ValueError
        value = value.date()
    is_number = not isinstance(value, bool | str | dt.date)
    if str in types:
        if isinstance(value, str) or type(value) is int:
            return str(value)
    elif bool in types:
        text = str(value).lower()
        if text in ("true", "false") and not is_number:
            return text == "true"
    elif float in types:
        if is_number or (isinstance(value, str) and NUMBER.fullmatch(value)):
            return float(value)
    else:
        if dt.date in types and isinstance(value, dt.date):
            return value
        if dt.date in types and isinstance(value, str) and (day := _DAY.fullmatch(value)):
            return dt.date.fromisoformat(day[1])
        is_whole = value == int(value) if is_number else _WHOLE.fullmatch(str(value))
        if int in types and is_whole:
            return int(value)
    raise ValueError


def _entries(table: Table, typed: Mapping[str, Column], model: type[Strict]) -> list[Any]:
    rows = [
        {name: value for name, value in zip(typed, row, strict=True) if value is not None}
        for row in zip(*(column.cells() for column in typed.values()), strict=True)
    ]
    try:
        return list(TypeAdapter(list[model]).validate_python(rows))  # type: ignore[valid-type]
    except ValidationError as problem:
        found = problem.errors(include_url=False, include_context=False)
    row, *path = found[0]["loc"]
    message = found[0]["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    if found[0]["type"] == "missing":
        message = "expected a value"
    more = len({error["loc"][0] for error in found}) - 1
    raise table.error(int(row), str(path[0]) if path else "", message, more)
