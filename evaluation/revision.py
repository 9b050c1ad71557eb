"""Which code runs."""

from __future__ import annotations

import subprocess
from pathlib import Path


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
    except OSError:
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
