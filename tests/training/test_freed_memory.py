"""Memory that was freed in small blocks is the system's again."""

from __future__ import annotations

import sys

import psutil
import pytest

from training.rllib.freed_memory import return_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_what_small_blocks_leave_is_returned() -> None:
    """The last block stands above the others, so that by itself the heap doesn't shrink."""
    process = psutil.Process()
    blocks = [bytearray(100_000) for _ in range(600)]
    last = blocks.pop()
    del blocks
    before = process.memory_info().rss
    return_freed_memory()
    assert before - process.memory_info().rss > 40_000_000
    assert len(last) == 100_000
