"""The page on adding a field to a lane lists every place that acts on its two examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path("docs/how_to/add_a_lane_field.md").read_text(encoding="utf-8")
PACKAGES = ("conf", "envs", "evaluation", "serving", "training")


@pytest.mark.parametrize("name", ["unfilled_cost", "split_delay"])
def test_the_table_lists_the_files_that_name_the_field(name: str) -> None:
    """No file is missing, and none is listed that has nothing to do with it."""
    [table] = re.findall(rf"## [^\n]*`{name}`\n(.*?)(?=\n## |\Z)", PAGE, re.DOTALL)
    listed = re.findall(r"^\| `(\S+\.py)` \|", table, re.MULTILINE)
    naming = [
        path.as_posix()
        for package in PACKAGES
        for path in Path(package).rglob("*.py")
        if re.search(rf"\b{name}\b", path.read_text(encoding="utf-8"))
    ]
    assert sorted(listed) == sorted(naming)
