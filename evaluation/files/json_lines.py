"""Files of one JSON record a line that only grow, whatever kills the process or fills the disk."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.files.atomic_folder import flush_directory
from evaluation.files.sealed_json import sealed, unsealed

_log = logging.getLogger(__name__)


class JsonLines:
    """Append-only file, one sealed record a line; one cut by a kill or a full disk is taken away.

    size: bytes that are on the disk, whatever happens to process and machine.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file = path.open("ab", buffering=0)
        self.size = path.read_bytes().rfind(b"\n") + 1
        self._cut()
        os.fsync(self._file.fileno())  # an earlier process may not have come to it
        flush_directory(path.parent)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line; it is on the disk when this returns, or OSError is raised."""
        line = json.dumps(sealed(record), allow_nan=False).encode() + b"\n"
        with self._lock:
            self._cut()
            try:
                if self._file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(self._file.fileno())
            except OSError:
                with contextlib.suppress(OSError):  # else before the next line
                    self._cut()
                raise
            self.size += len(line)

    def _cut(self) -> None:
        """Take away what was begun and isn't on the disk."""
        if os.fstat(self._file.fileno()).st_size != self.size:
            self._file.truncate(self.size)

    def close(self) -> None:
        self._file.close()


def read_lines(
    path: Path, offset: int = 0, limit: int = sys.maxsize, end: int = sys.maxsize
) -> tuple[list[dict[str, Any]], int]:
    """Return up to ``limit`` records from a byte on, up to ``end``, and where the next one begins.

    Unfinished lines are left for later, damaged ones left out with a warning.
    """
    records: list[dict[str, Any]] = []
    with path.open("rb") as file:
        file.seek(offset)
        while len(records) < limit and offset < end and (line := file.readline()).endswith(b"\n"):
            offset += len(line)
            try:
                records.append(unsealed(json.loads(line)))
            except (ValueError, TypeError, RecursionError) as problem:
                _log.warning(f"File '{path}': a damaged line was left out ({problem}).")
    return records, offset
