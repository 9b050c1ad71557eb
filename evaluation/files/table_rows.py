"""Rows of tables that users bring, CSV or Parquet: sizes are checked before anything is parsed.

And the one rule for CSVs that are written: text that a spreadsheet would run is none any more.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from envs.errors import DataError, shown

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_BYTES = 512 * 2**20  # of a file
_MOST_ROWS = 50_000_000
_ROW_BYTES = 2_000  # of a row as it is stored, at most on average: names have 200 characters
_CSV_ROWS = 65_536  # held as text at once
_LONGEST_CELL = 1_000  # bytes of text in a Parquet cell
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet runs a text as, by its beginning


class Row(NamedTuple):
    """A row by column. place: "line 7", as messages name it."""

    place: str
    cells: Mapping[str, Any]


class Columns(NamedTuple):
    """A table by column, equal values stored once. rows: how many; place: of a row, "line 7"."""

    rows: int
    cells: Mapping[str, pa.ChunkedArray]
    place: Callable[[int], str]


def read_rows(path: Path, check: Callable[[str, list[str]], None]) -> Iterator[Row]:
    """Yield a table's rows; names of columns are in lower case, and rows without any cell left out.

    check: called once with (where, columns); raises for columns that aren't wanted. Raises
    DataError for a file that is missing, too large or not readable as its ending says.
    """
    return (_csv_rows if _kind_of(path) == ".csv" else _parquet_rows)(path, check)


def read_columns(path: Path, check: Callable[[str, list[str]], None]) -> Columns:
    """Return the same by column, for tables of millions of rows."""
    import pyarrow as pa

    places: list[str] = []
    pieces: dict[str, list[pa.Array]] = {}

    def heed(where: str, columns: list[str]) -> None:
        check(where, columns)
        pieces.update({name: [] for name in columns})

    if _kind_of(path) == ".csv":
        rows = _csv_rows(path, heed)
        while some := list(itertools.islice(rows, _CSV_ROWS)):
            places += [row.place for row in some]
            for name, kept in pieces.items():
                kept.append(pa.array([row.cells[name] for row in some]).dictionary_encode())
    else:
        for batch in _parquet_batches(path, heed):
            for kept, column in zip(pieces.values(), batch.columns, strict=True):
                is_encoded = pa.types.is_dictionary(column.type)
                kept.append(column if is_encoded else column.dictionary_encode())
    cells = {name: pa.chunked_array(kept) for name, kept in pieces.items() if kept}
    size = len(next(iter(cells.values()))) if cells else 0
    return Columns(size, cells, lambda i: places[i] if places else f"row {i + 1}")


def _kind_of(path: Path) -> str:
    """Return the ending of a file that can be read. Raises DataError."""
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise DataError(
            f"{path}: the name ends in '{path.suffix}'; expected .csv or .parquet. Save a "
            "spreadsheet as CSV UTF-8."
        )
    if not path.is_file():
        raise DataError(f"{path}: no such file. Check the path.")
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise DataError(
            f"{path}: has {size / 2**20:.0f} MB; expected at most {_MOST_BYTES >> 20} MB. Cut it "
            "into shorter histories, or add up to longer periods."
        )
    return kind


def without_formula(text: str) -> str:
    """Return text as a CSV that may be opened in a spreadsheet has it: `'` before a formula.

    >>> without_formula("=HYPERLINK(A1)")
    "'=HYPERLINK(A1)"
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def as_written(text: str) -> str:
    """Return what `without_formula` was given."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def _csv_rows(path: Path, check: Callable[[str, list[str]], None]) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            columns = [name.strip().lower() for name in header]
            _must_have_commas(path, header)
            check(f"{path}, line 1", columns)
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(columns):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells; expected "
                        f"{len(columns)}: {', '.join(columns)}. Put text with commas in quotes, "
                        "and write numbers with a decimal point."
                    )
                yield Row(f"line {reader.line_num}", dict(zip(columns, cells, strict=True)))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: isn't UTF-8 (byte {error.start}). Save it as CSV UTF-8, or convert it, as in "
            "iconv -f windows-1252 -t utf-8."
        ) from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: not readable as CSV in UTF-8 ({error}).") from error


def _must_have_commas(path: Path, header: Sequence[str]) -> None:
    for separator, name in _SEPARATORS.items():
        if len(header) == 1 and separator in header[0]:
            raise DataError(
                f"{path}, line 1: columns are parted by {name}; expected commas, numbers with a "
                "decimal point, and dates as YYYY-MM-DD. Save it again as CSV UTF-8 (comma "
                "delimited)."
            )


def _parquet_rows(path: Path, check: Callable[[str, list[str]], None]) -> Iterator[Row]:
    columns: list[str] = []

    def heed(where: str, names: list[str]) -> None:
        check(where, names)
        columns.extend(names)

    number = 0
    for batch in _parquet_batches(path, heed):
        for cells in batch.to_pylist():
            number += 1
            yield Row(f"row {number}", dict(zip(columns, cells.values(), strict=True)))


def _parquet_batches(
    path: Path, check: Callable[[str, list[str]], None]
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            # pandas writes the index of a sorted or filtered frame as a column of its own.
            names = [n for n in file.schema_arrow.names if not n.startswith("__index_level_")]
            check(str(path), [name.strip().lower() for name in names])
            for column in file.schema_arrow:
                if pa.types.is_nested(column.type):
                    raise DataError(
                        f"{path}: {column.name} has values of type {column.type}; expected text or "
                        "numbers."
                    )
            _must_be_small(path, file.metadata)
        # Repeated text stays in a dictionary: a cell is looked at once, and not copied to rows.
        with parquet.ParquetFile(path, read_dictionary=names) as file:
            for batch in file.iter_batches(columns=names):
                for name, column in zip(names, batch.columns, strict=True):
                    _must_be_short(f"{path}: {name}", column)
                yield batch
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not readable as Parquet ({error}).") from error


def _must_be_small(path: Path, metadata: Any) -> None:
    rows, groups = metadata.num_rows, range(metadata.num_row_groups)
    size = sum(metadata.row_group(group).total_byte_size for group in groups)
    if rows > _MOST_ROWS or size > 2**20 + _ROW_BYTES * rows:
        raise DataError(
            f"{path}: has {rows} rows and, unpacked, {size / 2**20:.0f} MB; expected at most "
            f"{_MOST_ROWS} rows of {_ROW_BYTES} bytes on average."
        )


def _must_be_short(where: str, column: Any) -> None:
    """Refuse long text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = column.dictionary if pa.types.is_dictionary(column.type) else column
    is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    if is_text or pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        longest = pc.max(pc.binary_length(values)).as_py() or 0
        if longest > _LONGEST_CELL:
            raise DataError(
                f"{where}: a cell has {longest} bytes, as {shown(_beginning(values))}; expected a "
                f"name, at most {_LONGEST_CELL} bytes."
            )


def _beginning(values: Any) -> str:
    import pyarrow.compute as pc

    place = pc.index(pc.greater(pc.binary_length(values), _LONGEST_CELL), True).as_py()
    return str(values[place].as_buffer().slice(0, 60).to_pybytes().decode("utf-8", "replace"))
