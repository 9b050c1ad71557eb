"""`echelon doctor`: what is wrong is found, named with what to do, and ends with 1."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from echelon import main
from tests.settings import as_shipped
from training.cluster import checkup
from training.cluster.checkup import findings, node_facts, storage_error, tracking_finding

SOUND: dict[str, Any] = {
    "node": "10.0.0.1", "host": "a", "cores": 4, "memory": 8.0, "disk": 50.0, "gpus": [],
    "kernels": (6, 6), "storage": "", "versions": {"python": "3.11.9", "ray": "2.60.0"},
}  # fmt: skip


def wrong(*nodes: dict[str, Any], device: str = "cpu") -> list[tuple[str, str]]:
    """(node, what) of what is wrong; each says what to do."""
    found = [f for f in findings([SOUND, *nodes], device, "/runs") if f.is_wrong]
    assert all(f.advice for f in found)
    return [(f.node, f.what) for f in found]


def node(**facts: Any) -> dict[str, Any]:
    """Another node, with facts of its own."""
    return {**SOUND, "node": "10.0.0.2", "cpus": 4.0, **facts}


def test_sound_nodes_have_nothing_wrong() -> None:
    """A CPU alone will do, unless a GPU is asked for."""
    assert wrong(node()) == []
    assert wrong(node(gpus=["H200"]), device="cuda") == []


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ({"error": "no answer within 120 s"}, "answer"),
        ({"versions": {"python": "3.11.9", "ray": "2.59.0"}}, "versions"),
        ({"versions": {"python": "3.11.9"}}, "versions"),
        ({"memory": 0.5}, "memory"),
        ({"disk": 0.5}, "disk"),
        ({"storage": "Permission denied"}, "storage"),
    ],
)
def test_what_is_wrong_on_a_node_is_named(facts: dict[str, Any], what: str) -> None:
    """With the node's address, and nothing else with it."""
    assert wrong(node(**facts)) == [("10.0.0.2", what)]


def test_a_missing_gpu_is_wrong_where_one_is_wanted() -> None:
    """On all nodes together."""
    assert wrong(node(), device="cuda") == [("all", "GPU")]


def test_what_costs_time_is_said_and_not_wrong() -> None:
    """Kernels to compile, more CPUs than cores."""
    slow = node(kernels=(2, 6), cpus=8.0)
    said = [f for f in findings([SOUND, slow], "cpu", None) if f.advice]
    assert [f.what for f in said] == ["cores", "kernels"]
    assert not any(f.is_wrong for f in said)


def test_storage_is_written_and_left_as_it_was(tmp_path: Path) -> None:
    """A folder, by its path and as an address; one that can't be made; a scheme unknown."""
    for storage in (str(tmp_path / "runs"), f"file://{tmp_path}/runs"):
        assert storage_error(storage) == ""
    assert list((tmp_path / "runs").iterdir()) == []
    (tmp_path / "file").touch()
    assert storage_error(str(tmp_path / "file" / "runs"))
    assert storage_error("nothing://bucket/runs")
    assert "hush" not in storage_error("nothing://ann:hush@host/runs")


def test_tracking_that_does_not_answer_is_wrong(migrated: Path) -> None:
    """A database here is right; a port where nobody listens isn't, and hides the password."""
    fine = as_shipped("tracking", uri=f"sqlite:///{migrated}")
    assert not tracking_finding(fine).is_wrong
    assert tracking_finding(as_shipped("tracking", enabled=False)).found == "off"
    gone = tracking_finding(as_shipped("tracking", uri="http://ann:hush@127.0.0.1:9"))
    assert gone.is_wrong
    assert "hush" not in gone.found


def test_facts_of_this_machine_are_plain() -> None:
    """They travel from node to node."""
    facts = node_facts(None)
    assert facts["versions"].keys() >= {"python", "echelon", "ray", "torch", "mlflow"}
    assert "none" not in facts["versions"].values()
    assert facts["cores"] == len(os.sched_getaffinity(0))
    assert facts["memory"] > 0 < facts["disk"]
    ready, all_kernels = facts["kernels"]
    assert 0 <= ready <= all_kernels


def test_kernels_in_an_empty_cache_are_cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba's index, which is private, still has the form that is read."""
    from envs.simulation import simulator

    kernel: Any = simulator._open_period
    if not hasattr(kernel, "_cache"):
        pytest.skip("the compiler is off")
    file = kernel._cache._cache_file
    processor = kernel.targetctx.codegen().magic_tuple()
    monkeypatch.setattr(file, "_load_index", lambda: {})
    assert not checkup._is_on_disk(kernel)
    monkeypatch.setattr(file, "_load_index", lambda: {("signature", processor, "hash"): "data"})
    assert checkup._is_on_disk(kernel)
    monkeypatch.setattr(file, "_load_index", lambda: {("signature", ("another",), "hash"): "data"})
    assert not checkup._is_on_disk(kernel)


def test_a_container_has_the_memory_of_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that is less than the machine's."""
    monkeypatch.setattr(checkup, "_CGROUP", tmp_path)
    free = checkup._free_memory()
    (tmp_path / "memory.max").write_text("4096\n", encoding="utf-8")
    (tmp_path / "memory.current").write_text("1024\n", encoding="utf-8")
    assert checkup._free_memory() == 3072
    (tmp_path / "memory.max").write_text("max\n", encoding="utf-8")
    assert checkup._free_memory() > 0.5 * free


def test_the_command_ends_with_1_where_something_is_wrong(
    migrated: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And with 0 where nothing is; what to do is printed."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(checkup, "_LEAST_MEMORY", 0.0)
    monkeypatch.setattr(checkup, "_LEAST_DISK", 0.0)
    typed = ["doctor", f"storage={tmp_path}/runs", f"tracking.uri=sqlite:///{migrated}"]
    assert main(typed) == 0, capsys.readouterr().out
    assert "Nothing is wrong." in capsys.readouterr().out
    (tmp_path / "file").touch()
    assert main([*typed, f"storage={tmp_path}/file/runs"]) == 1
    assert "here: storage: mount it" in capsys.readouterr().out
