"""How far long work is: one protocol for all that report it and all that show it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

_QUIET_SECONDS = 1.0  # between two updates that become text
# In the environment, 1: what commands print about their progress is lines for `play_line`.
LINES = "ECHELON_PROGRESS_LINES"
_MARK = "@progress "  # begins such a line


class Progress(Protocol):
    """Receives how far the work is."""

    def phase(self, text: str, total: float | None = None) -> None:
        """A phase begins; total: steps it may take."""

    def update(self, done: float, text: str = "") -> None:
        """So many steps of the phase are done."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of an iteration."""


class SilentProgress:
    """Ignores everything; the base of those that use only a part."""

    def phase(self, text: str, total: float | None = None) -> None:
        """Ignored."""

    def update(self, done: float, text: str = "") -> None:
        """Ignored."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Ignored."""


SILENT = SilentProgress()


class PrefixedProgress(SilentProgress):
    """Names what the phases belong to; passes everything else on as it is."""

    def __init__(self, progress: Progress, prefix: str) -> None:
        self._progress, self._prefix = progress, prefix
        self.update, self.metrics = progress.update, progress.metrics  # type: ignore[method-assign]

    def phase(self, text: str, total: float | None = None) -> None:
        """Pass on with the prefix."""
        self._progress.phase(f"{self._prefix}, {text}", total)


class TextProgress(SilentProgress):
    """Makes one line of text of phases and updates, of the latter one a second at most."""

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send, self._phase, self._total, self._sent = send, "", "", 0.0

    def phase(self, text: str, total: float | None = None) -> None:
        """Send the phase."""
        self._phase, self._total = text, "" if total is None else f" of {total:g}"
        self._sent = time.monotonic()
        self._send(text)

    def update(self, done: float, text: str = "") -> None:
        """Send phase, steps and text."""
        now = time.monotonic()
        if now - self._sent > _QUIET_SECONDS:
            self._sent = now
            self._send(f"{self._phase}: {done:.0f}{self._total}{', ' * bool(text)}{text}")


class LineProgress(SilentProgress):
    """Makes lines of phases and updates, from which `play_line` makes them again elsewhere."""

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send, self._sent = send, 0.0

    def phase(self, text: str, total: float | None = None) -> None:
        """Send the phase."""
        self._sent = 0.0
        self._line({"phase": text, "total": total})

    def update(self, done: float, text: str = "") -> None:
        """Send steps and text, once a second at most."""
        now = time.monotonic()
        if now - self._sent > _QUIET_SECONDS:
            self._sent = now
            self._line({"done": done, "text": text})

    def _line(self, values: Mapping[str, Any]) -> None:
        self._send(_MARK + json.dumps(values))


def play_line(line: str, progress: Progress) -> bool:
    """Let a progress have what a line of `LineProgress` says; False for any other line."""
    if not line.startswith(_MARK):
        return False
    try:
        values = json.loads(line.removeprefix(_MARK))
        if "phase" in values:
            progress.phase(str(values["phase"]), values["total"])
        else:
            progress.update(float(values["done"]), str(values["text"]))
    except (ValueError, KeyError, TypeError):  # cut short
        return False
    return True
