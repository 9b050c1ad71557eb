"""The Python of the docs runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.nightly  # trains with four libraries
def test_the_library_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Block after block, in one namespace; it ends with an order."""
    page = ROOT / "docs" / "how_to" / "python_library.md"
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)
    assert names["actors"].keys() == {"warehouse", "store"}
    assert names["model"].num_timesteps == 160
    assert re.search(r"order \d+ of item for store", capsys.readouterr().out)
