"""Who is told how far long work is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["Progress"]


class Progress(Protocol):
    """Who is told how far the job is."""

    def phase(self, text: str, total: float | None = None) -> None:
        """A phase begins; total: steps it may take."""

    def update(self, done: float, text: str = "") -> None:
        """So many steps of the phase are done."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of an iteration."""
