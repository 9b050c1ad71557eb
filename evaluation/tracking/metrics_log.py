"""JSON-lines files that survive a kill: one record per line, appended, read by byte offset."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["JsonLines", "MetricsLog", "MetricsRecord", "parse_metrics", "read_metrics"]


_log = logging.getLogger(__name__)


class JsonLines:
    """Append-only file; a line is whole or, after a kill in the middle of it, cut away."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._file = path.open("ab")
        self._cut_torn_line()

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line and hand it to the operating system (it survives a kill of ours)."""
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        with self._lock:
            start = self.size
            try:
                self._file.write(line)
                self._file.flush()
            except OSError:
                # A full disk may have taken half the line: the next one must start clean.
                self._reopen(start)
                raise

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return os.fstat(self._file.fileno()).st_size

    def read(self, offset: int, limit: int) -> list[tuple[dict[str, Any], int]]:
        """Up to ``limit`` records from byte ``offset`` on, each with the offset after it.

        A damaged line is an empty record, and a warning.
        """
        records: list[tuple[dict[str, Any], int]] = []
        with self.path.open("rb") as file:
            file.seek(offset)
            while len(records) < limit:
                line = file.readline()
                if not line.endswith(b"\n"):
                    break
                records.append((_decode(line, self.path), file.tell()))
        return records

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def _cut_torn_line(self) -> None:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.path, whole)

    def _reopen(self, size: int) -> None:
        with contextlib.suppress(OSError):
            self._file.close()  # flushes again, and fails again
        os.truncate(self.path, size)
        self._file = self.path.open("ab")


@dataclass(frozen=True)
class MetricsRecord:
    """The metrics of one step."""

    step: int
    time: float  # seconds since 1970
    metrics: dict[str, float]


class MetricsLog(JsonLines):
    """``metrics.jsonl``: {"step": ..., "time": ..., "metrics": {...}} per line.

    JSON has no NaN or infinity: they are the texts "nan", "inf", "-inf".
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        # A resumed run goes over the steps since its last checkpoint again. What was recorded
        # first stays: then no step is there twice, here or at the tracking server.
        self._recorded_before: dict[str, int] = {}
        for record in read_metrics(path):
            for name in record.metrics:
                last = self._recorded_before.get(name, record.step)
                self._recorded_before[name] = max(last, record.step)

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append the metrics of a step, less those an earlier process recorded already."""
        new = {
            name: _to_json(float(value))
            for name, value in metrics.items()
            if step > self._recorded_before.get(name, -1)
        }
        if new:
            self.append({"step": int(step), "time": time.time(), "metrics": new})

    def last_step(self, name: str) -> int:
        """The last step an earlier process recorded for this metric, or -1."""
        return self._recorded_before.get(name, -1)


def read_metrics(path: Path) -> Iterator[MetricsRecord]:
    """Yield the records of a ``metrics.jsonl``; unfinished and damaged lines are left out."""
    with path.open("rb") as file:
        for line in file:
            record = _decode(line, path) if line.endswith(b"\n") else {}
            if record:
                yield parse_metrics(record)


def parse_metrics(record: Mapping[str, Any]) -> MetricsRecord:
    """One line, decoded."""
    metrics = {name: float(value) for name, value in record["metrics"].items()}
    return MetricsRecord(int(record["step"]), float(record["time"]), metrics)


def _decode(line: bytes, path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except ValueError as problem:
        _log.warning("File '%s': a damaged line was left out (%s).", path, problem)
        return {}


def _to_json(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
