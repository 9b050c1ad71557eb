"""Files of one JSON record a line that only grow, whatever kills the process or fills the disk."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


class JsonLines:
    """Append-only file, one record a line; a line cut by a kill or a full disk is taken away."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file = path.open("ab", buffering=0)
        self._file.truncate(path.read_bytes().rfind(b"\n") + 1)

    def append(self, record: Mapping[str, Any]) -> None:
        """Hand one line to the operating system (it survives a kill of this process)."""
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        with self._lock:
            start = self.size
            try:
                if self._file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                self._file.truncate(start)
                raise

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        self._file.close()


def read_lines(
    path: Path, offset: int = 0, limit: int = sys.maxsize
) -> tuple[list[dict[str, Any]], int]:
    """Return up to ``limit`` records from a byte on, and where the next one begins.

    Unfinished lines are left for later, damaged ones left out with a warning.
    """
    records: list[dict[str, Any]] = []
    with path.open("rb") as file:
        file.seek(offset)
        while len(records) < limit and (line := file.readline()).endswith(b"\n"):
            offset = file.tell()
            try:
                records.append(dict(json.loads(line)))
            except (ValueError, TypeError, RecursionError) as problem:
                _log.warning(f"File '{path}': a damaged line was left out ({problem}).")
    return records, offset
