"""Disks and storages that fill up, refuse, go away or take their time, while a training learns."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from echelon import main
from evaluation.files.atomic_folder import file_hash
from tests.machines import need_root
from tests.waiting import wait_for
from training.job.fetched_run import fetch_run
from training.job.learning_loop import LearningLoop
from training.job.run_record import checkpoints_of

pytestmark = [pytest.mark.nightly, pytest.mark.usefixtures("ray_cluster")]

ITERATIONS = 8
RUN = [
    "train", "scenario=single_backlog", "smoke=true", "resources=local", "tune.budget=4",
    "resources.envs_per_runner=4", f"algorithm.iterations={ITERATIONS}", "checkpoint_every=1",
    "tracking.enabled=false", "register=false", "tune.traces=2", "validation.every=1000",
]  # fmt: skip
WEIGHTS = Path("policy", "policy.safetensors")


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


class SmallDisk:
    """A disk of 64 MiB in memory, mounted at `place`."""

    def __init__(self, folder: Path) -> None:
        self._disk, self.place = folder / "disk", folder / "place"
        for path in (self._disk, self.place):
            path.mkdir()
        mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", self._disk)
        mount("--bind", self._disk, self.place)

    def fill(self) -> None:
        """Leave no byte."""
        with contextlib.suppress(OSError), (self._disk / "ballast").open("wb", 0) as ballast:
            while ballast.write(bytes(1 << 20)):
                pass

    def empty(self) -> None:
        """Make room."""
        (self._disk / "ballast").unlink()

    def refuse(self) -> None:
        """Be read-only, once nobody writes."""
        remount = ["mount", "-o", "remount,bind,ro", str(self.place)]
        wait_for(lambda: subprocess.run(remount, check=False).returncode == 0)

    def allow(self) -> None:
        mount("-o", "remount,bind,rw", self.place)

    def unmount(self) -> None:
        """Leave the empty folder below."""
        subprocess.run(["umount", "--lazy", self.place], check=True)

    def mount_again(self) -> None:
        assert list(self.place.iterdir()) == [], "it was written to what lies below"
        mount("--bind", self._disk, self.place)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """One, empty."""
    need_root()
    made = SmallDisk(tmp_path)
    yield made
    for path in (made.place, made._disk):
        subprocess.run(["umount", "--lazy", path], check=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """SHA-256 of the weights of a training without a fault."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*RUN, f"out={folder}"]) == 0
    return file_hash(folder / WEIGHTS)


def at_iterations(patch: pytest.MonkeyPatch, what: dict[int, Callable[[], object]]) -> None:
    """Do that at the end of an iteration, before anything of it is recorded."""
    iterate = LearningLoop._iterate

    def then(loop: LearningLoop, *arguments: Any) -> dict[str, float]:
        numbers = iterate(loop, *arguments)
        what.get(loop.iteration, lambda: None)()
        return numbers

    patch.setattr(LearningLoop, "_iterate", then)


def steps_of(folder: Path) -> list[int]:
    """Of the iterations that a run has recorded."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["step"] for line in lines if '"time/iteration"' in line]


def test_a_full_run_folder_ends_the_training(
    disk: SmallDisk,
    whole: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With an error that names it, and the last checkpoint as it was; with room, it goes on to what
    it would have come to, and no metric is missing."""
    run = disk.place / "run"
    with monkeypatch.context() as patch:
        at_iterations(patch, {3: disk.fill})
        assert main([*RUN, f"out={run}"]) == 1
    said = capsys.readouterr().err
    assert f"error: Folder '{run}/checkpoints/step_000000003' could not be written" in said
    assert "No space left on device" in said
    assert "resume=FOLDER" in said
    saved = checkpoints_of(run).latest_good()
    assert saved is not None
    assert saved.step == 2
    assert main(["train", f"resume={run}"]) == 1  # still full
    assert f"error: Run folder '{run}' could not be written" in capsys.readouterr().err
    disk.empty()
    assert main(["train", f"resume={run}"]) == 0
    assert steps_of(run) == list(range(1, ITERATIONS + 1))
    assert file_hash(run / WEIGHTS) == whole


TROUBLES: dict[str, tuple[Callable[[SmallDisk], None], Callable[[SmallDisk], None], str]] = {
    "full": (SmallDisk.fill, SmallDisk.empty, "No space left on device"),
    "read-only": (SmallDisk.refuse, SmallDisk.allow, "Read-only file system"),
    "gone": (SmallDisk.unmount, SmallDisk.mount_again, "what this run has stored there is gone"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_storage_in_trouble_costs_nothing_but_its_copy(
    trouble: str,
    disk: SmallDisk,
    whole: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Learning goes on; what is missing is stored when the storage is back. Where that is too late,
    the end says what is missing, and a resume stores it."""
    begin, end, told = TROUBLES[trouble]
    monkeypatch.chdir(tmp_path)
    run, there = tmp_path / "run", disk.place / "run"
    typed = [*RUN, "out=run", f"storage=file://{disk.place}"]

    def stored() -> bool:
        return any((there / "checkpoints" / "step_000000002").glob("*/SHA256SUMS"))

    def trouble_begins() -> None:
        wait_for(stored)
        begin(disk)

    with monkeypatch.context() as patch:
        at_iterations(
            patch,
            {
                3: trouble_begins,
                5: lambda: wait_for(lambda: told in caplog.text),
                6: lambda: end(disk),
            },
        )
        assert main(typed) == 0
    assert caplog.text.count("Training goes on") == 1
    assert f"Storage file://{there}" in caplog.text
    assert "takes everything again" in caplog.text
    fetch_run(f"file://{there}", tmp_path / "back")
    assert file_hash(tmp_path / "back" / WEIGHTS) == file_hash(run / WEIGHTS) == whole
    assert steps_of(tmp_path / "back") == list(range(1, ITERATIONS + 1))
    newest = checkpoints_of(tmp_path / "back").latest_good()
    assert newest is not None
    assert newest.step == ITERATIONS

    caplog.clear()
    with monkeypatch.context() as patch:
        at_iterations(patch, {ITERATIONS + 1: lambda: begin(disk)})
        assert main(["train", "resume=run", f"algorithm.iterations={ITERATIONS + 1}"]) == 1
    assert "Training goes on" in caplog.text
    end(disk)
    assert main(["train", "resume=run"]) == 0
    fetch_run(f"file://{there}", tmp_path / "again")
    assert file_hash(tmp_path / "again" / WEIGHTS) == file_hash(run / WEIGHTS)


def test_a_storage_that_does_not_answer_holds_nothing_up(
    whole: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An S3 server that is stopped: learning goes on to its end; when the server goes on, it gets
    what it has missed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("evaluation.files.storage._SECONDS", 3.0)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.s3_server"], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert server.stdout is not None
    try:
        for name, value in json.loads(server.stdout.readline()).items():
            monkeypatch.setenv(name, value)
        at_iterations(
            monkeypatch,
            {
                3: lambda: os.kill(server.pid, signal.SIGSTOP),
                ITERATIONS - 1: lambda: wait_for(lambda: "Training goes on" in caplog.text),
                ITERATIONS: lambda: os.kill(server.pid, signal.SIGCONT),
            },
        )
        assert main([*RUN, "out=run", "storage=s3://bucket/team"]) == 0
        fetch_run("s3://bucket/team/run", tmp_path / "back")
    finally:
        server.kill()
        server.wait()
    assert caplog.text.count("Training goes on") == 1
    assert steps_of(tmp_path / "back") == list(range(1, ITERATIONS + 1))
    assert file_hash(tmp_path / "back" / WEIGHTS) == whole
