"""The JSON-lines log: what a kill, a full disk and a resume leave behind."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from evaluation.tracking.metrics_log import JsonLines, MetricsLog, read_metrics


def test_records_come_back_as_written(tmp_path: Path) -> None:
    """Also the numbers that JSON has no notation for."""
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.record(1, {"a": 0.1, "b": math.inf})
    log.record(2, {"a": math.nan})
    first, second = read_metrics(tmp_path / "metrics.jsonl")
    assert (first.step, first.metrics) == (1, {"a": 0.1, "b": math.inf})
    assert second.step == 2
    assert math.isnan(second.metrics["a"])
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_line_cut_by_a_kill_is_dropped(tmp_path: Path, cut: int) -> None:
    """The next record starts a line of its own."""
    path = tmp_path / "log.jsonl"
    log = JsonLines(path)
    log.append({"n": 1})
    log.append({"n": 2, "text": "x" * 30})
    log.close()
    path.write_bytes(path.read_bytes()[:-cut])
    log = JsonLines(path)
    log.append({"n": 3})
    assert [record["n"] for record, _ in log.read(0, 10)] == [1, 3]


def test_reading_goes_on_from_an_offset(tmp_path: Path) -> None:
    """Each record's offset is where the next one begins."""
    log = JsonLines(tmp_path / "log.jsonl")
    for number in range(5):
        log.append({"n": number})
    first = log.read(0, 2)
    rest = log.read(first[-1][1], 10)
    assert [record["n"] for record, _ in first + rest] == [0, 1, 2, 3, 4]
    assert rest[-1][1] == log.size


def test_damaged_line_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged log must not stop a resume."""
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path).record(1, {"a": 1.0})
    with path.open("ab") as file:
        file.write(b'{"step": 2, "ti\x00me"\n')
    MetricsLog(path).record(3, {"a": 3.0})
    assert [record.step for record in read_metrics(path)] == [1, 3]
    assert "damaged line" in caplog.text


def test_resume_records_no_step_twice(tmp_path: Path) -> None:
    """A resumed run repeats the steps since its checkpoint; the first record stays."""
    path = tmp_path / "metrics.jsonl"
    first = MetricsLog(path)
    for step in (1, 2, 3):
        first.record(step, {"loss": step})
    first.close()
    resumed = MetricsLog(path)
    for step in (2, 3, 4):
        resumed.record(step, {"loss": step + 10, "new": step})
    found = [(r.step, name, v) for r in read_metrics(path) for name, v in r.metrics.items()]
    assert [(step, value) for step, name, value in found if name == "loss"] == [
        (1, 1), (2, 2), (3, 3), (4, 14),
    ]  # fmt: skip
    assert [step for step, name, _ in found if name == "new"] == [2, 3, 4]
    assert resumed.last_step("loss") == 3
