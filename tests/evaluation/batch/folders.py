"""Folders of tables as a planner's systems export them, from what a request holds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from envs.environment.batched_env import BatchedEnv
from envs.scenario import Scenario
from evaluation.recommendation.record import RunRecord

__all__ = ["CHAIN", "played", "write_tables"]

CHAIN: dict[str, Any] = {
    "stock": [
        {"location": "warehouse", "item": "item_00", "on_hand": 24},
        {"location": "store_000", "item": "item_00", "on_hand": 3, "backorders": 2.5},
        {"location": "store_001", "item": "item_01", "on_hand": 0.5},
    ],
    "open_orders": [
        {"to": "store_000", "item": "item_00", "quantity": 4, "due_in_periods": 1},
        {"from": "warehouse", "to": "store_001", "item": "item_00", "quantity": 1, "ordered": -2},
        {"lane": "supplier > warehouse item_00", "quantity": 10.5},
    ],
    "recent_sales": [
        {"location": "store_000", "item": "item_00", "quantities": [4, 6.5, None, 3]},
        {
            "location": "store_001", "item": "item_00", "quantities": [9, 8],
            "stockout": [False, True],
        },
        {"location": "warehouse", "item": "item_00", "quantities": [12, 0]},
    ],
}  # fmt: skip


def write_tables(folder: Path, request: Mapping[str, Any], ending: str, last: int = -1) -> None:
    """Write the lists of a request that have entries; last: the last period of sales."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, entries in request.items():
        if isinstance(entries, list) and entries:
            rows = _sales(entries, last) if name == "recent_sales" else entries
            _write(folder / f"{name}{ending}", rows)


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".csv":
        pd.DataFrame(rows, columns=names, dtype=object).to_csv(path, index=False)
        return
    columns = {name: [row.get(name) for row in rows] for name in names}
    parquet.write_table(pa.table(columns), path)


def _sales(entries: Sequence[Mapping[str, Any]], last: int) -> list[dict[str, Any]]:
    """A row a period, the newest first: the order doesn't matter."""
    rows = []
    for entry in entries:
        length = len(entry["quantities"])
        for k in reversed(range(length)):
            row = {name: entry[name] for name in ("location", "item")}
            row |= {"date": last - (length - 1 - k), "quantity": entry["quantities"][k]}
            if "stockout" in entry:
                row["stockout"] = entry["stockout"][k]
            if entry.get("transfers") is not None:
                row["transfers"] = entry["transfers"][k]
            rows.append(row)
    return rows


def played(scenario: Scenario, periods: int, seed: int = 5) -> dict[str, Any]:
    """All that is recorded of a simulated run, as a request; forecasts with dates."""
    env = BatchedEnv(scenario, 1)
    env.reset(seed)
    record = RunRecord(env)
    for _ in range(periods):
        env.close_period(env.no_action)
        record.close()
        env.open_period()
        record.open()
    tables = record.tables()
    as_of = dt.date.fromisoformat(tables["as_of"])
    for row in tables["forecasts"] if scenario.period_name == "day" else ():
        row["target_date"] = as_of + dt.timedelta(row["target_date"])
    return tables
