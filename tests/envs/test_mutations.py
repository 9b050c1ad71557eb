"""Do the property checks bite? Bugs are planted in copies of the simulator; each must be found.

The copies run as plain Python (nothing to compile), all in one go, so a mutation costs some
seconds: every eighteenth here, the rest at night. A mutation whose text is no longer in the source
fails: it must follow the source, not pass for want of a target.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.envs.mutations import MUTATIONS, Mutation
from tests.envs.reverse_cases import CASES, judge_of

ROOT = Path(__file__).parents[2]
CLEAN = "clean"
# In the last ones shows what few networks have: echelons with customers below, lanes that nothing
# disturbs, several rounds of sharing by a rule.
OF_SLOPES = (*CASES, *range(28), 42, 60, 65, 79)
CHECKS = {"laws": 240, "slopes": len(OF_SLOPES)}  # networks at most
# The first bug of slopes is found soon.
QUICK = [
    *[mutation for mutation in MUTATIONS if mutation.check == "laws"][::18],
    *[mutation for mutation in MUTATIONS if mutation.check == "slopes"][:1],
]


@pytest.fixture(scope="module")
def found(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str | None]:
    """What the checks find in the clean copy and in those of the chosen mutations, by name."""
    chosen: set[Any] = {item.callspec.params["planted"] for item in request.session.items
              if isinstance(item, pytest.Function) and hasattr(item, "callspec")
              and "planted" in item.callspec.params}  # fmt: skip
    found: dict[str, str | None] = {}
    for what in CHECKS:
        planted = {m.name: m for m in chosen if m.check == what}
        folders = {f"{CLEAN} {what}": tmp_path_factory.mktemp("clean")}
        folders |= {name: tmp_path_factory.mktemp("mutant") for name in planted}
        for name, folder in folders.items():
            shutil.copytree(
                ROOT / "envs", folder / "envs", ignore=shutil.ignore_patterns("__pycache__")
            )
            if name in planted:
                mutation = planted[name]
                file = folder / "envs" / mutation.file
                file.write_text(file.read_text().replace(mutation.source, mutation.bug))
        found |= run(what, folders)
    return found


def run(what: str, folders: dict[str, Path]) -> dict[str, str | None]:
    """What the checks find in the folders, the clean one first."""
    differences = []
    if what == "slopes":
        differences = [(what, judge_of(what).differences()) for what in OF_SLOPES]
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.envs.mutant_run", what, str(CHECKS[what])]
        + [str(folder) for folder in folders.values()],
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        input=json.dumps(differences),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = dict(json.loads(line) for line in result.stdout.splitlines())
    return {
        name: lines.get(str(folder / "envs"), f"broke off: {result.stderr}")
        for name, folder in folders.items()
    }


@pytest.mark.parametrize("what", CHECKS)
def test_clean_copy_passes(found: dict[str, str | None], what: str) -> None:
    """Without a planted bug the checks find nothing in as many networks."""
    assert found[f"{CLEAN} {what}"] is None


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_mutation_applies(mutation: Mutation) -> None:
    """What it replaces stands in the source once."""
    count = (ROOT / "envs" / mutation.file).read_text().count(mutation.source)
    assert count == 1, (
        f"mutation no longer applies: update it. '{mutation.source}' stands {count} times in "
        f"envs/{mutation.file}; expected once."
    )


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param(
            mutation, id=mutation.name, marks=[] if mutation in QUICK else [pytest.mark.nightly]
        )
        for mutation in MUTATIONS
    ],
)
def test_mutation_is_caught(planted: Mutation, found: dict[str, str | None]) -> None:
    """The checks find the planted bug, and end with it and not with an error of their own."""
    caught = found[planted.name]
    assert caught is not None, f"'{planted.name}' was not caught"
    assert not caught.startswith("broke off"), caught
