"""One JSON object for each request: who asked what, what came of it, how long it took."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

_BYTES, _FILES = 50 * 2**20, 3


class AccessLog:
    """Written to a file that is replaced at 50 MB, of which two older ones are kept."""

    def __init__(self, path: str | None) -> None:
        self._handler: RotatingFileHandler | None = None
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._handler = RotatingFileHandler(
                path, maxBytes=_BYTES, backupCount=_FILES - 1, encoding="utf-8", delay=True
            )

    def write(self, exchange: Any, seconds: float) -> None:
        """Note a request that is answered; never a key, a header or a body."""
        if self._handler is None:
            return
        row = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": exchange.id,
            "key": exchange.key.name if exchange.key else None,
            "method": exchange.method[:20],
            "path": exchange.path[:200],
            "status": exchange.status,
            "reason": exchange.reason or None,
            "model": exchange.model or None,
            "seconds": round(seconds, 4),
            "bytes_in": exchange.bytes_in,
            "bytes_out": exchange.bytes_out,
        }
        record = logging.LogRecord("access", logging.INFO, "", 0, json.dumps(row), None, None)
        self._handler.emit(record)
