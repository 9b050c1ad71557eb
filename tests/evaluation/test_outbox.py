"""The files of a run folder: what a kill, a full disk and a resume leave behind."""

from __future__ import annotations

import json
import math
import resource
from pathlib import Path

import pytest

from evaluation.files.json_lines import JsonLines, read_lines
from evaluation.tracking.outbox import EVENTS, MetricsLog
from evaluation.tracking.tracker import Tracker
from tests.settings import as_shipped


def numbers(path: Path) -> list[int]:
    return [record["n"] for record in read_lines(path)[0]]


def test_records_come_back_as_written(tmp_path: Path) -> None:
    """Also the numbers that JSON has no notation for."""
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.record(1, {"a": 0.1, "b": math.inf})
    log.record(2, {"a": math.nan})
    first, second = read_lines(path)[0]
    assert (first["step"], first["metrics"]["a"], second["step"]) == (1, 0.1, 2)
    assert float(first["metrics"]["b"]) == math.inf
    assert math.isnan(float(second["metrics"]["a"]))
    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


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
    assert numbers(path) == [1, 3]


def test_line_cut_by_a_full_disk_is_dropped(tmp_path: Path) -> None:
    """The half that fitted goes away again, and the record with it is refused."""
    path = tmp_path / "log.jsonl"
    log = JsonLines(path)
    log.append({"n": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.size + 10, limits[1]))
    try:
        for _ in range(2):
            with pytest.raises(OSError, match=r"space|large"):
                log.append({"n": 2, "text": "x" * 30})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert numbers(path) == [1]
    log.append({"n": 3})
    assert numbers(path) == [1, 3]


def test_what_a_full_disk_refused_is_recorded_later(tmp_path: Path) -> None:
    """In order, with the next record or at the end."""
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.record(1, {"a": 1.0})
    for last, end in ((3, lambda: log.record(4, {"a": 4.0})), (6, log.catch_up)):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (log.size + 10, limits[1]))
        try:
            for step in (last - 1, last):
                with pytest.raises(OSError, match=r"space|large"):
                    log.record(step, {"a": float(step)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        end()
    assert [record["step"] for record in read_lines(path)[0]] == [1, 2, 3, 4, 5, 6]


def test_reading_goes_on_from_an_offset(tmp_path: Path) -> None:
    """Where one reading ends the next one begins."""
    log = JsonLines(tmp_path / "log.jsonl")
    for number in range(5):
        log.append({"n": number})
    first, middle = read_lines(log.path, 0, 2)
    rest, end = read_lines(log.path, middle, 10)
    assert [record["n"] for record in first + rest] == [0, 1, 2, 3, 4]
    assert end == log.size


def test_damaged_line_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged log must not stop a resume."""
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path).record(1, {"a": 1.0})
    with path.open("ab") as file:
        file.write(b'{"step": 2, "ti\x00me"\n')
    MetricsLog(path).record(3, {"a": 3.0})
    assert [record["step"] for record in read_lines(path)[0]] == [1, 3]
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
    found = [(r["step"], n, v) for r in read_lines(path)[0] for n, v in r["metrics"].items()]
    assert [(step, value) for step, name, value in found if name == "loss"] == [
        (1, 1), (2, 2), (3, 3), (4, 14),
    ]  # fmt: skip
    assert [step for step, name, _ in found if name == "new"] == [2, 3, 4]
    assert resumed.next_step == 4


@pytest.mark.parametrize("damaged", ["tracking_events.jsonl", "tracking_state.json"])
def test_a_run_has_one_key_whatever_is_damaged(tmp_path: Path, damaged: str) -> None:
    """By it the server finds the run that it has already, where nothing else says which that is."""
    config = as_shipped("tracking", enabled=False)
    for resumed in (False, True):
        with Tracker(config, tmp_path, resumed=resumed) as tracker:
            tracker.start("name")
        if not resumed:
            keys = {e["key"] for e in read_lines(tmp_path / EVENTS)[0] if e["kind"] == "start"}
            content = bytearray((tmp_path / damaged).read_bytes())
            content[20] ^= 1
            (tmp_path / damaged).write_bytes(content)
    starts = [e for e in read_lines(tmp_path / EVENTS)[0] if e["kind"] == "start"]
    assert starts[0]["key"] in keys
    assert len(keys) == 1
