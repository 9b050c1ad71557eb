"""Checkpoints: an acknowledged one is never lost, a damaged one never loaded."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from envs.errors import CheckpointError
from evaluation.files.atomic_folder import write_folder
from training.job.checkpoint import CheckpointStore

WRITER = """
import os, sys
from pathlib import Path
from training.job.checkpoint import CheckpointStore
store = CheckpointStore(Path(sys.argv[1]), "run", keep=3)
step = int(sys.argv[2])
def write(folder):
    (folder / "learner").mkdir()
    (folder / "learner" / "weights").write_bytes(str(step).encode() * 20000)
    (folder / "state.json").write_text(str(step))
while True:
    # Every other save replaces the checkpoint of the step before, as a resumed run does.
    store.save(step, write, {"value": step})
    print(step, flush=True)
    store.save(step, write, {"value": step})
    step += 1
"""


def save(store: CheckpointStore, step: int, cost: float | None = None) -> Path:
    def write(folder: Path) -> None:
        (folder / "weights").write_bytes(bytes([step]) * 1000)

    return store.save(step, write, {"value": step}, cost)


def harm(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", "run", keep=3)


def steps(store: CheckpointStore) -> list[int]:
    return [int(path.name[5:]) for path in sorted(store.folder.glob("step_*"))]


def test_latest_comes_back(store: CheckpointStore) -> None:
    """With its step, its meta and its files."""
    assert store.latest_good() is None
    for step in (1, 2):
        save(store, step)
    latest = store.latest_good()
    assert latest is not None
    assert (latest.step, latest.meta) == (2, {"value": 2})
    assert (latest.state / "weights").read_bytes() == b"\x02" * 1000


def test_every_random_corruption_is_found(store: CheckpointStore) -> None:
    """Any bit of any file; the previous checkpoint is used instead."""
    save(store, 1)
    path = save(store, 2)
    chance = random.Random(2)
    for file in [file for file in path.rglob("*") if file.is_file()]:
        good = file.read_bytes()
        for _ in range(25):
            bad = bytearray(good)
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
            file.write_bytes(bad)
            latest = store.latest_good()
            assert latest is not None
            assert latest.step == 1
        file.write_bytes(good)


def test_fall_back_names_the_bad_file(
    store: CheckpointStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning says which checkpoint was passed over and why."""
    save(store, 1)
    harm(save(store, 2) / "state" / "weights")
    latest = store.latest_good()
    assert latest is not None
    assert latest.step == 1
    assert "Checkpoint of step 2 passed over" in caplog.text
    assert "weights' is damaged" in caplog.text


def test_swapped_folders_are_found(store: CheckpointStore) -> None:
    """Each is whole in itself, but is not the step its name says."""
    first, second = save(store, 1), save(store, 2)
    os.rename(first, store.folder / "aside")
    os.rename(second, first)
    os.rename(store.folder / "aside", second)
    with pytest.raises(CheckpointError, match="holds the checkpoint of step 1; expected step 2"):
        store.load(2)
    with pytest.raises(CheckpointError, match="None of the 2 checkpoints"):
        store.latest_good()


def test_pruning_keeps_the_best_and_the_newest(store: CheckpointStore) -> None:
    """keep=3 and the best one."""
    for step, cost in enumerate([9.0, 4.0, 5.0, 4.0, 6.0, None, None, 5.0], start=1):
        save(store, step, cost)
    assert steps(store) == [2, 6, 7, 8]
    best = store.best()
    assert best is not None
    assert (best.step, best.cost) == (2, 4.0)


def test_a_damaged_best_gives_way_to_the_next(
    store: CheckpointStore, caplog: pytest.LogCaptureFixture
) -> None:
    """By its own cost, with a warning; none that was not validated takes its place."""
    for step, cost in enumerate([2.0, 3.0, 4.0, None], start=1):
        save(store, step, cost)
    harm(store.folder / "step_000000001" / "checkpoint.json")
    best = store.best()
    assert best is not None
    assert best.step == 2
    assert "Checkpoint of step 1 passed over" in caplog.text
    for step in (2, 3):
        shutil.rmtree(store.folder / f"step_{step:09d}")
    assert store.best() is None


def test_another_runs_checkpoint_is_refused(
    tmp_path: Path, store: CheckpointStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Though it is whole, and better; where there is no other, nothing begins anew in silence."""
    save(store, 1, 5.0)
    other = CheckpointStore(tmp_path / "other", "other")
    shutil.copytree(save(other, 2, 1.0), store.folder / "step_000000002")
    for found in (store.latest_good(), store.best()):
        assert found is not None
        assert found.step == 1
    assert "step_000000002' holds a checkpoint of another run, other; expected" in caplog.text
    shutil.rmtree(store.folder / "step_000000001")
    with pytest.raises(CheckpointError, match=r"None of the 1 checkpoints .* begin a new run"):
        store.latest_good()
    save(store, 3)
    assert steps(store) == [2, 3]  # nor is it thrown away


def test_a_checkpoint_of_before_is_told(store: CheckpointStore) -> None:
    """It didn't say whose it is."""

    def fill(folder: Path) -> None:
        (folder / "checkpoint.json").write_text('{"step": 1, "time": 0.0, "meta": {}}')

    write_folder(store.folder / "step_000000001", fill)
    with pytest.raises(CheckpointError, match="was written by an earlier version of Echelon"):
        store.load(1)


def test_pruning_counts_only_good_ones(store: CheckpointStore) -> None:
    """Damaged ones must not push the last good ones out."""
    for step in range(1, 4):
        save(store, step)
    for step in (2, 3):
        harm(store.folder / f"step_{step:09d}" / "state" / "weights")
    save(store, 4)
    assert steps(store) == [1, 2, 3, 4]


def test_resume_below_a_damaged_one_keeps_what_it_saves(tmp_path: Path) -> None:
    """The checkpoint just saved stays, though a damaged one has a higher step."""
    store = CheckpointStore(tmp_path, "run", keep=1)
    save(store, 5)
    save(store, 9)
    harm(store.folder / "step_000000009" / "state" / "weights")
    save(store, 6)
    latest = store.latest_good()
    assert latest is not None
    assert latest.step == 6


def test_failed_save_leaves_the_others(store: CheckpointStore) -> None:
    """An error while saving passes through and costs nothing."""
    save(store, 1)

    def fail(folder: Path) -> None:
        raise RuntimeError("a runner died")

    with pytest.raises(RuntimeError, match="a runner died"):
        store.save(1, fail)
    latest = store.latest_good()
    assert latest is not None
    assert latest.step == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.load(7), "does not exist"),
        (lambda s: s.save(-1, lambda f: None), "expected an integer >= 0"),
        (lambda s: s.save(1, lambda f: None, {"x": object()}), "meta is not plain JSON"),
        (lambda s: CheckpointStore(s.folder, "run", keep=0), "expected at least 1"),
    ],
    ids=["unknown step", "negative step", "meta", "keep"],
)
def test_wrong_use_is_refused(store: CheckpointStore, call: object, message: str) -> None:
    """With what was wanted."""
    assert callable(call)
    with pytest.raises(CheckpointError, match=message):
        call(store)


def test_acknowledged_checkpoint_survives_kills(tmp_path: Path) -> None:
    """25 SIGKILLs at random moments of saving: the last acknowledged step is there and whole."""
    chance = random.Random(3)
    store = CheckpointStore(tmp_path, "run", keep=3)
    acknowledged = 0
    kills = 0
    while kills < 25:
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(acknowledged + 1)],
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            first = int(writer.stdout.readline())  # it is saving now
            time.sleep(chance.uniform(0.0, 0.1))
            writer.send_signal(signal.SIGKILL)
            acknowledged = max([first, *map(int, writer.stdout.read().split())])
        kills += 1
        latest = store.latest_good()
        assert latest is not None
        # The step after may be complete and not acknowledged yet.
        assert latest.step in (acknowledged, acknowledged + 1)
        assert (latest.state / "state.json").read_text() == str(latest.step)
        assert store.load(acknowledged).meta == {"value": acknowledged}
    save(store, acknowledged % 256)
    assert not list(tmp_path.glob(".*"))
