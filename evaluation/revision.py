"""Which code runs."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path


@functools.cache  # each tracked run and each artifact says it
def git_revision() -> str | None:
    """Return the commit of the code, if it runs from a checkout."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):  # no git, or one that hangs
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
