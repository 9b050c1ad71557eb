"""Machine code that an older version left on the disk is not read."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numba

PROGRAM = """
import numpy as np
from envs.kernel import entry

@entry
def twice(x: float) -> float:
    return 2.0 * x

print(twice(4.0))
"""


def test_an_index_that_names_what_is_gone_is_written_anew(tmp_path: Path) -> None:
    """A moved module left indices whose reading failed with ModuleNotFoundError."""
    program, cache = tmp_path / "program.py", tmp_path / "cache"
    program.write_text(PROGRAM)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}

    def run() -> str:
        command = [sys.executable, str(program)]
        return subprocess.run(
            command, env=environment, cwd=Path(__file__).parents[2], capture_output=True,
            text=True, check=True,
        ).stdout  # fmt: skip

    assert run() == "8.0\n"
    (index,) = cache.rglob("*.nbi")
    index.write_bytes(pickle.dumps(numba.__version__) + b"cno_such_module\nThing\n.")
    assert run() == "8.0\n"
