"""Keeps memory that arrays gave back, for the next arrays of the same size.

By default glibc returns large blocks to the system at once, and the system hands out cleared
pages anew: the layers' outputs of each minibatch then cost more than half as much again as the
arithmetic on them.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_KEPT = 512 << 20  # bytes free at the heap's end that are kept
_LARGEST = 32 << 20  # bytes: blocks up to this size come from the heap; glibc takes no more


def keep_freed_memory() -> None:
    """Set it for this process, where its C library is glibc; elsewhere do nothing."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _LARGEST)
