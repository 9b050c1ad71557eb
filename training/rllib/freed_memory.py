"""What becomes of memory that arrays gave back, where the C library is glibc; elsewhere nothing.

Kept, it serves the next arrays of the same size: by default glibc returns large blocks to the
system at once, and the system hands out cleared pages anew; the layers' outputs of each minibatch
then cost more than half as much again as the arithmetic on them. What many smaller blocks leave
behind, it keeps for ever, unless it is told to return it.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_KEPT = 512 << 20  # bytes free at the heap's end that are kept
_LARGEST = 32 << 20  # bytes: blocks up to this size come from the heap; glibc takes no more


def keep_freed_memory() -> None:
    """From now on, in this process."""
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _LARGEST)


def return_freed_memory() -> None:
    """All that is free now, wherever it lies."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Any:
    """Return a function, or None."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
