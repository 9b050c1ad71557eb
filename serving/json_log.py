"""A file of JSON objects, one a line, that doesn't grow without end."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

_BYTES, _FILES = 50 * 2**20, 3


class JsonLog:
    """It begins anew at 50 MB; the two before are kept. None: nothing is written."""

    def __init__(self, path: str | None) -> None:
        self._handler: RotatingFileHandler | None = None
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._handler = RotatingFileHandler(
                path, maxBytes=_BYTES, backupCount=_FILES - 1, encoding="utf-8", delay=True
            )

    def write(self, row: Mapping[str, Any]) -> None:
        """Append it; a disk that is full is told on stderr, not to the caller."""
        if self._handler is not None:
            record = logging.LogRecord("row", logging.INFO, "", 0, json.dumps(row), None, None)
            self._handler.handle(record)
