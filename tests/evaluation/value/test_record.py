"""Files of a report that an earlier version left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from envs.errors import ConfigError
from evaluation.value.record import load_entry, write_part
from evaluation.value.verdict import Prices

CLASSICAL = {
    "period_name": "day", "currency": "EUR", "features": {}, "policies": [],
    "best_rule": "base_stock", "base_policy": "base_stock", "traces": 2, "seed": 1,
    "bound_traces": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    "old",
    [
        {**CLASSICAL, "champion": "base_stock"},
        {key: value for key, value in CLASSICAL.items() if key != "best_rule"},
        {**CLASSICAL, "policies": [{"name": "s_s", "played": None, "thresholds": {"s": 3}}]},
        {**CLASSICAL, "policies": [{"name": "s_s"}]},
    ],
    ids=["a field too many", "a field missing", "a rule with other fields", "a rule unplayed"],
)
def test_an_old_record_is_refused_with_what_to_do(tmp_path: Path, old: dict[str, object]) -> None:
    """The file, what it holds, and how to go on."""
    write_part(tmp_path / "classical.json", old)
    with pytest.raises(ConfigError) as refused:
        load_entry(tmp_path, "serial", 1, Prices(0.1, 0.01))
    message = str(refused.value)
    assert message.startswith(f"'{tmp_path}/classical.json' is of another version of Echelon")
    assert "got the keys period_name, currency" in message
    assert f"Remove the folder '{tmp_path}'" in message
