"""Waiting for what another thread or process does, however long a busy machine takes."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["wait_for"]


def wait_for(condition: Callable[[], object]) -> None:
    """Return once the condition holds. What never happens is ended by the limit of the session."""
    while not condition():
        time.sleep(0.05)
