"""Files as companies have them: read right, or refused with what to do."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from echelon import main

INPUTS = Path(__file__).parent / "replay_inputs"


def replay(folder: str, out: Path, network: str, demand: str, *more: str) -> dict[str, Any] | None:
    """Return the summary, None where the command was refused."""
    files = {"network": network, "demand": demand, "orders": "orders.csv"}
    given = [f"{key}={INPUTS / folder / name}" for key, name in files.items()]
    if main(["replay", *given, f"out={out}", *more]) != 0:
        return None
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text("utf-8"))
    return summary


@pytest.mark.parametrize(("network", "demand", "sold"), [
    ("net.yaml", "demand.csv", {"0017": 2, "00123": 3, "1E5": 4}),
    ("net5.yaml", "d5.csv", {"4711": 2}),
    ("net6.yaml", "d6.csv", {"0017": 2}),
])  # fmt: skip
def test_item_codes_are_text(
    network: str, demand: str, sold: dict[str, float], tmp_path: Path
) -> None:
    """From the files to the tables."""
    assert replay("item_codes", tmp_path / "out", network, demand)
    with (tmp_path / "out" / "stocks.csv").open(encoding="utf-8") as file:
        assert {row["sku"]: float(row["sold"]) for row in csv.DictReader(file)} == sold


def test_a_code_is_not_another_written_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """15 is 0017 in base 8."""
    assert replay("item_codes", tmp_path / "out", "net6.yaml", "d7.csv") is None
    assert "SKU '15' is not stocked at node '1000'" in capsys.readouterr().err
