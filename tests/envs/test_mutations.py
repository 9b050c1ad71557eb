"""Do the property checks bite? Bugs are planted in copies of the simulator; each must be found.

The copies run as plain Python (nothing to compile), so a mutation costs seconds. A mutation whose
text is no longer in the source fails: it must follow the source, not pass for want of a target.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.envs.mutant_run import CAUGHT
from tests.envs.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]
SEEDS = 80


def run_checks(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the checks on the copy of `envs` in the folder."""
    path = os.pathsep.join((str(folder), str(ROOT)))
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.envs.mutant_run", str(SEEDS)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a copy of `envs`."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "envs", tmp_path / "envs", ignore=ignore)
    return tmp_path


def test_clean_copy_passes(copy: Path) -> None:
    """Without a planted bug the checks find nothing, and it is the copy they look at."""
    result = run_checks(copy)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"checking {copy / 'envs'}" in result.stdout


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_mutation_is_caught(mutation: Mutation, copy: Path) -> None:
    """The checks find the planted bug."""
    file = copy / "envs" / mutation.file
    text = file.read_text()
    assert text.count(mutation.source) == 1, (
        f"mutation no longer applies: update it. '{mutation.source}' stands "
        f"{text.count(mutation.source)} times in envs/{mutation.file}; expected once."
    )
    file.write_text(text.replace(mutation.source, mutation.bug))
    result = run_checks(copy)
    assert result.returncode == CAUGHT, (
        f"'{mutation.name}' was not caught: {result.stdout}{result.stderr}"
    )
