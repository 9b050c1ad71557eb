"""The table of a run that has runs below it: in its folder, among its files, above its page."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from evaluation.files.atomic_folder import write_file
from evaluation.tracking.tracker import Tracker

_FILE = "summary.json"
_LONGEST = 4500  # characters of a description: MLflow takes 5000


def log_summary(
    tracker: Tracker, about: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Write summary.json, as MLflow has tables, and describe the run by it, best rows first.

    about: one sentence above the table. Cells are text or numbers; those that are not finite are
    left empty.
    """
    data = [[_plain(cell) for cell in row] for row in rows]
    path = tracker.folder / _FILE
    write_file(path, json.dumps({"columns": list(columns), "data": data}, indent=1).encode())
    tracker.log_artifacts(path)
    lines = as_markdown(columns, data).splitlines()
    while len(text := "\n".join([about, "", *lines])) > _LONGEST:
        lines.pop()
    listed = json.dumps([{"path": _FILE, "type": "table"}])
    tracker.set_tags({"mlflow.note.content": text, "mlflow.loggedArtifacts": listed})


def as_markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return the table; numbers with five digits."""
    lines = [_line(columns), "|" + " --- |" * len(columns), *(_line(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[Any]) -> str:
    texts = [f"{cell:.5g}" if isinstance(cell, float) else str(cell or "") for cell in cells]
    return "| " + " | ".join(" ".join(t.replace("|", "\\|").split()) for t in texts) + " |"


def _plain(cell: Any) -> Any:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell
