"""Order lines as a table, and the table as a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from envs.scenario import Scenario
from evaluation.files.table_rows import without_formula
from evaluation.recommendation.recommender import DecidedLines, sources_of
from evaluation.recommendation.schemas import Guardrail

_GUARDRAIL = pa.struct([("rule", pa.string()), ("before", pa.float64()), ("after", pa.float64())])
# network: the registered model. The others: `evaluation.recommendation.schemas.Line`.
SCHEMA = pa.schema([
    ("network", pa.string()),
    ("location", pa.string()),
    ("item", pa.string()),
    ("lane", pa.string()),
    ("source", pa.list_(pa.string())),
    ("quantity", pa.float64()),
    ("classical", pa.float64()),
    ("delta", pa.float64()),
    ("value", pa.float64()),
    ("expected_arrival_in_periods", pa.float64()),
    ("fallback", pa.bool_()),
    ("guardrails", pa.list_(_GUARDRAIL)),
])  # fmt: skip
ENDINGS = (".parquet", ".csv")


def lines_table(network: str, scenario: Scenario, decided: DecidedLines) -> pa.Table:
    """Return a row a line, in the order of the network's lanes."""
    lanes = [scenario.network.lanes[q] for q in decided.lanes.tolist()]
    columns: dict[str, Any] = {
        "network": [network] * len(lanes),
        "location": [lane.node for lane in lanes],
        "item": [lane.sku for lane in lanes],
        "lane": [lane.id for lane in lanes],
        "source": [sources_of(lane) for lane in lanes],
        "quantity": decided.quantity,
        "classical": decided.classical,
        "delta": decided.quantity - decided.classical,
        "value": decided.value,
        "expected_arrival_in_periods": decided.arrives_in,
        "fallback": decided.by_rule,
        "guardrails": [[dict(one) for one in changes] for changes in decided.guardrails],
    }
    return pa.table(columns, schema=SCHEMA)


def write_lines(path: Path, pieces: Iterable[pa.Table]) -> None:
    """Write the pieces one after the other, as the path's ending says.

    A CSV may be opened in a spreadsheet: no text in it is a formula. Lists become text there, such
    as `plant; warehouse` and `order_multiple: 38.8 > 39`.
    """
    if path.suffix.lower() == ".parquet":
        with parquet.ParquetWriter(path, SCHEMA) as writer:
            for piece in pieces:
                writer.write_table(piece)
        return
    with path.open("wb") as file:
        file.write((",".join(SCHEMA.names) + "\n").encode())  # its own is in quotes
        for piece in pieces:
            csv.write_csv(_flat(piece), file, csv.WriteOptions(include_header=False))


def _flat(table: pa.Table) -> pa.Table:
    """The same without lists and formulas."""
    flat: dict[str, Any] = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        if field.name == "source":
            flat[field.name] = _texts(["; ".join(names) for names in column.to_pylist()])
        elif field.name == "guardrails":
            flat[field.name] = _texts(["; ".join(map(_said, c)) for c in column.to_pylist()])
        elif pa.types.is_string(field.type):
            encoded = column.dictionary_encode().combine_chunks()
            flat[field.name] = _texts(encoded.dictionary.to_pylist()).take(encoded.indices)
        else:
            flat[field.name] = column
    return pa.table(flat)


def _texts(texts: Sequence[str]) -> pa.Array:
    return pa.array([without_formula(text) for text in texts], pa.string())


def _said(change: dict[str, Any]) -> str:
    one = Guardrail(**change)
    return f"{one.rule}: {one.before:.12g} > {one.after:.12g}"
