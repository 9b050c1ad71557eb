"""A line of the table of faults."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

_BEGUN = time.monotonic()
_HEAD = ("fault", "what happened", "work lost", "seconds to recover", "wanted")


@dataclass(frozen=True)
class Row:
    """What a fault did.

    wanted: what was aimed at, such as "<= 60 s".
    is_good: whether it was reached.
    """

    fault: str
    happened: str
    lost: str
    seconds: float | None = None
    wanted: str = ""
    is_good: bool = True

    @property
    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def timed(fault: str, happened: str, lost: str, seconds: float, most: float) -> Row:
    """Return the row of a fault that has to be over after `most` seconds."""
    return Row(fault, happened, lost, seconds, f"<= {most:g} s", seconds <= most)


def as_markdown(rows: list[Row]) -> str:
    """Return the table."""
    lines = [_HEAD, ("---",) * len(_HEAD)]
    for row in rows:
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        wanted = row.wanted + (", not reached" if not row.is_good else "")
        lines.append((row.fault, row.happened, row.lost, seconds, wanted))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"{time.monotonic() - _BEGUN:7.1f} s  {text}", file=sys.stderr, flush=True)
