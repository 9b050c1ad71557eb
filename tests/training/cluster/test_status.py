"""`echelon status`: jobs and nodes as tables."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.job_submission import JobStatus

from echelon import main
from training.cluster import jobs

SUMMARY = {
    "summary": [
        {"ip": "10.0.0.2", "hostname": "b", "cpu": 50.0, "mem": [2**33, 2**31, 75.0, 2**32],
         "raylet": {"state": "ALIVE", "nodeId": "n2", "isHeadNode": False}},
        {"ip": "10.0.0.1", "hostname": "a", "cpu": 7.0, "mem": [2**33, 2**31, 75.0, 2**32],
         "raylet": {"state": "ALIVE", "nodeId": "n1", "isHeadNode": True}},
        {"ip": "10.0.0.3", "hostname": "c", "raylet": {"state": "DEAD", "nodeId": "n3"}},
    ],
    "nodeLogicalResources": {"n2": "1.0/4.0 CPU\n0.0/1.0 GPU"},
}  # fmt: skip


def job(number: int, status: JobStatus, **more: Any) -> Any:
    """As Ray's details."""
    own = {"submission_id": f"raysubmit_{number}", "status": status, "start_time": 1000 * number,
           "end_time": None, "driver_exit_code": None,
           "entrypoint": "exec python -m echelon train scenario=serial"}  # fmt: skip
    return SimpleNamespace(**(own | more))


class Cluster:
    """Answers as Ray's client does."""

    def list_jobs(self) -> list[Any]:
        """In no order; one that isn't a job of the job API."""
        ended = job(1, JobStatus.FAILED, end_time=62_000, driver_exit_code=75)
        return [job(2, JobStatus.RUNNING), ended, job(3, JobStatus.RUNNING, submission_id=None)]

    def _do_request(self, method: str, path: str) -> Any:
        return SimpleNamespace(raise_for_status=lambda: None, json=lambda: {"data": SUMMARY})


def test_it_lists_nodes_and_jobs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The head first, jobs as they began, what each uses and ended with."""
    monkeypatch.setattr(jobs, "connect", lambda address: Cluster())
    assert main(["status"]) == 0
    printed = capsys.readouterr().out
    rows = [[c.strip() for c in r.split("│")[1:-1]] for r in printed.splitlines() if "│" in r]
    assert [row[0] for row in rows] == [
        "a 10.0.0.1 (head)", "b 10.0.0.2", "c 10.0.0.3", "raysubmit_1", "raysubmit_2"
    ]  # fmt: skip
    assert rows[1][1:] == ["ALIVE", "1.0/4.0 CPU, 0.0/1.0 GPU", "50 %", "6.0 of 8.0 GiB"]
    assert rows[3][1] == "failed"
    assert rows[3][3:] == ["0:01:01", "75", "echelon train scenario=serial"]
    assert main(["status", "jobs=1"]) == 0
    assert "raysubmit_1" not in capsys.readouterr().out
