"""Rows of tables that users bring, CSV or Parquet: sizes are checked before anything is parsed.

And the one rule for CSVs that are written: text that a spreadsheet would run is none any more.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from envs.errors import DataError, shown

_MOST_BYTES = 512 * 2**20  # of a file
_MOST_ROWS = 50_000_000
_ROW_BYTES = 2_000  # of a row as it is stored, at most on average: names have 200 characters
_LONGEST_CELL = 1_000  # bytes of text in a Parquet cell
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet runs a text as, by its beginning


class Row(NamedTuple):
    """A row by column. place: "line 7", as messages name it."""

    place: str
    cells: Mapping[str, Any]


def read_rows(path: Path, check: Callable[[str, list[str]], None]) -> Iterator[Row]:
    """Yield a table's rows; names of columns are in lower case, and rows without any cell left out.

    check: called once with (where, columns); raises for columns that aren't wanted. Raises
    DataError for a file that is missing, too large or not readable as its ending says.
    """
    readers = {".csv": _csv_rows, ".parquet": _parquet_rows}
    kind = path.suffix.lower()
    if kind not in readers:
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
    return readers[kind](path, check)


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
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            # pandas writes the index of a sorted or filtered frame as a column of its own.
            names = [n for n in file.schema_arrow.names if not n.startswith("__index_level_")]
            columns = [name.strip().lower() for name in names]
            check(str(path), columns)
            for column in file.schema_arrow:
                if pa.types.is_nested(column.type):
                    raise DataError(
                        f"{path}: {column.name} has values of type {column.type}; expected text or "
                        "numbers."
                    )
            _must_be_small(path, file.metadata)
        # Repeated text stays in a dictionary: a cell is looked at once, and not copied to rows.
        with parquet.ParquetFile(path, read_dictionary=names) as file:
            number = 0
            for batch in file.iter_batches(columns=names):
                for name, column in zip(names, batch.columns, strict=True):
                    _must_be_short(f"{path}: {name}", column)
                for cells in batch.to_pylist():
                    number += 1
                    yield Row(f"row {number}", dict(zip(columns, cells.values(), strict=True)))
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
