"""A run's copy in a storage: what is there, what faults cost, and going on with it elsewhere."""

from __future__ import annotations

import copy
import functools
import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echelon import main
from envs.errors import CheckpointError, ConfigError, StorageError
from evaluation.artifact.artifact import load_artifact
from evaluation.files.atomic_folder import file_hash, write_folder
from evaluation.files.storage import Storage, open_storage
from tests.s3_server import SECRET, s3_server
from tests.waiting import wait_for
from training.commands.arguments import keep_record, network_of, with_resumed
from training.job.checkpoint import CheckpointStore
from training.job.fetched_run import RECORDS, fetch_run, has_gone_on
from training.job.run_record import RunRecord, checkpoints_of
from training.job.stored_run import StoredRun, run_uri, stored_part, stored_run


class Run:
    """A run folder without a training, and its place in a storage."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uri = folder / "run", str(folder / "there")
        self.place = Path(self.uri)
        RunRecord(command="train", storage=self.uri).write(self.folder)
        (self.folder / "tracking.lock").touch()

    def save(self, step: int, saved: Callable[[], None] = lambda: None) -> None:
        """A metric and a checkpoint."""
        with (self.folder / "metrics.jsonl").open("a") as log:
            log.write(f'{{"step": {step}}}\n')
        store = checkpoints_of(self.folder, saved)
        store.save(step, lambda path: (path / "weights").write_bytes(bytes([step]) * 9000), {}, 1.0)

    def export(self) -> None:
        write_folder(self.folder / "policy", lambda path: (path / "a").touch(), replace=True)

    def wait_for(self, step: int) -> None:
        """Return when it is stored."""
        wait_for(lambda: step in self.stored)

    @property
    def stored(self) -> list[int]:
        """Steps that are whole in the storage."""
        names = open_storage(self.uri).at("checkpoints").folders()
        return sorted({int(name.removeprefix("step_").split("/")[0]) for name in names})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """An empty run."""
    return Run(tmp_path)


def harm(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def more_than(items: list[int], count: int) -> bool:
    return len(items) > count


def latest(store: CheckpointStore) -> int:
    found = store.latest_good()
    assert found is not None
    return found.step


def test_a_run_comes_back_elsewhere(run: Run, tmp_path: Path) -> None:
    """Checkpoints as they are kept here, the newest record, the policy; of its own place."""
    with stored_run(run.folder, run.uri, resumed=False) as saved:
        for step in range(1, 7):
            run.save(step, saved)
            run.wait_for(step)
        run.export()
    assert run.stored == [1, 4, 5, 6]  # 1 is the best
    fetch_run(run.uri, tmp_path / "back")
    store = checkpoints_of(tmp_path / "back")
    assert latest(store) == 6
    best = store.best()
    assert best is not None
    assert best.step == 1
    assert (tmp_path / "back" / "metrics.jsonl").read_text().count("\n") == 6
    assert (tmp_path / "back" / "policy" / "a").exists()
    assert not (tmp_path / "back" / "tracking.lock").exists()
    assert {path.name for path in (tmp_path / "back").iterdir()} == {
        "arguments.json", "checkpoints", "metrics.jsonl", "policy", "stored.json",
    }  # fmt: skip
    shutil.copytree(run.uri, tmp_path / "moved")
    fetch_run(str(tmp_path / "moved"), tmp_path / "again")
    assert RunRecord.read(tmp_path / "again").storage == str(tmp_path / "moved")


def test_what_another_node_has_stored_is_taken_where_it_is_farther(
    run: Run, tmp_path: Path
) -> None:
    """Of a training in a sweep or a report, which goes from node to node."""
    here, there = Run(tmp_path / "a"), Run(tmp_path / "b")
    here.uri = there.uri = run.uri

    def goes_on(node: Run, *steps: int) -> int:
        with stored_part(node.folder, node.uri) as saved:
            node.folder.mkdir(parents=True, exist_ok=True)
            found = checkpoints_of(node.folder).latest_good()
            for step in steps:
                node.save(step, saved)
        return 0 if found is None else found.step

    shutil.rmtree(here.folder)
    shutil.rmtree(there.folder)
    assert goes_on(here, 1, 2) == 0
    assert goes_on(there, 3, 4) == 2
    assert goes_on(here, 5) == 4
    shutil.rmtree(there.uri)
    assert goes_on(here) == 5
    assert there.stored == [1, 3, 4, 5]  # 1 is the best
    with stored_part(tmp_path / "c", None):
        assert not (tmp_path / "c").exists()


def test_a_training_inside_of_a_run_is_kept(run: Run, tmp_path: Path) -> None:
    """Of a sweep or a report, which is stored again and again in the place around it."""
    part = Run(tmp_path / "part")
    part.uri = f"{run.uri}/trial_000"
    with stored_run(run.folder, run.uri, resumed=False, parts=["few"]) as saved:
        with stored_part(part.folder, part.uri) as part_saved:
            part.save(1, part_saved)
        for step in range(1, 6):
            (run.folder / "few").mkdir(exist_ok=True)
            (run.folder / "few" / "classical.json").write_text(str(step))
            run.save(step, saved)
            run.wait_for(step)
    assert part.stored == [1]
    fetch_run(part.uri, tmp_path / "trial")
    fetch_run(run.uri, tmp_path / "back")
    assert (tmp_path / "back" / "few" / "classical.json").read_text() == "5"


def test_a_used_place_is_refused(run: Run) -> None:
    """Unless its run goes on."""
    with stored_run(run.folder, run.uri, resumed=False):
        pass
    with (
        pytest.raises(ConfigError, match=r"holds a run already; .* Give resume="),
        stored_run(run.folder, run.uri, resumed=False),
    ):
        pass
    with stored_run(run.folder, run.uri, resumed=True):
        pass


def test_only_the_process_that_began_last_writes(run: Run) -> None:
    """The earlier one is told at its next checkpoint, and stores nothing more."""
    with StoredRun(run.folder, open_storage(run.uri), resumed=False) as first:
        run.save(1, first.saved)
        wait_for(lambda: run.stored == [1])
        with StoredRun(run.folder, open_storage(run.uri), resumed=True):
            pass
        run.save(2, first.saved)
        wait_for(lambda: not first._thread.is_alive())
        with pytest.raises(CheckpointError, match=r"Another process \(number .*goes on with"):
            first.saved()
        records = open_storage(run.uri).at("record").folders()
    assert open_storage(run.uri).at("record").folders() == records


def test_a_storage_that_is_gone_and_back_loses_nothing(
    run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said once, tried again with the next checkpoint."""
    put, tries = Storage.put, list[int]()

    def gone(self: Storage, *args: Any) -> None:
        tries.append(1)
        raise StorageError("gone.")

    with stored_run(run.folder, run.uri, resumed=False) as saved:
        monkeypatch.setattr(Storage, "put", gone)
        for step in (1, 2):
            before = len(tries)
            run.save(step, saved)
            wait_for(functools.partial(more_than, tries, before))
        assert run.stored == []
        monkeypatch.setattr(Storage, "put", put)
        run.save(3, saved)
        wait_for(lambda: run.stored == [1, 2, 3])
    assert caplog.text.count("gone. Training goes on") == 1
    assert "takes everything again" in caplog.text


def test_a_storage_that_is_not_mounted_is_not_written_to(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """What would lie below the mount point is no copy; what is missing is made up later."""
    with stored_run(run.folder, run.uri, resumed=False) as saved:
        run.save(1, saved)
        run.wait_for(1)
        # Its record, too: what fails while that is written has a message of its own.
        wait_for(lambda: open_storage(run.uri).at(RECORDS).folders())
        wait_for(lambda: not (run.folder / ".held").exists())
        run.place.rename(run.place.with_name("unmounted"))
        run.save(2, saved)
        wait_for(lambda: "what this run has stored there is gone" in caplog.text)
        assert not run.place.exists()
        run.place.with_name("unmounted").rename(run.place)
        run.save(3, saved)
        wait_for(lambda: run.stored == [1, 2, 3])
    assert "takes everything again" in caplog.text


def test_the_end_says_what_is_not_stored(
    run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error where that is the policy; a warning for the rest; no other error is hidden."""

    def full(self: Storage, *args: Any) -> None:
        raise StorageError("no space left on device.")

    told = rf"Not stored in .*: .*policy \(no space left.* resume={run.folder} stores it"
    with stored_run(run.folder, run.uri, resumed=False) as saved:
        monkeypatch.setattr(Storage, "put", full)
        run.save(1, saved)
    assert "Not stored in" in caplog.text
    assert "checkpoints/step_000000001" in caplog.text
    run.export()
    with pytest.raises(StorageError, match=told), stored_run(run.folder, run.uri, resumed=True):
        pass
    with (
        pytest.raises(RuntimeError, match="learning failed"),
        stored_run(run.folder, run.uri, resumed=True),
    ):
        raise RuntimeError("learning failed")
    monkeypatch.undo()
    with stored_run(run.folder, run.uri, resumed=True):
        pass  # all that was missing
    assert run.stored == [1]
    assert len(open_storage(run.uri).at("policy").folders()) == 1
    caplog.clear()
    with stored_run(run.folder, run.uri, resumed=True) as saved:
        saved()
        wait_for(lambda: len(open_storage(run.uri).at("record").folders()) == 2)
        monkeypatch.setattr(Storage, "put", full)
    assert ": record (no space left" in caplog.text


def test_a_slow_storage_holds_nothing_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does the end wait for ever for one that has stopped answering."""
    let, put = threading.Event(), Storage.put

    def slow(self: Storage, *args: Any) -> None:
        let.wait()
        put(self, *args)

    monkeypatch.setattr(Storage, "put", slow)
    monkeypatch.setattr("training.job.stored_run._PATIENCE", 0.1)
    run.export()

    def train() -> None:
        with stored_run(run.folder, run.uri, resumed=False) as saved:
            for step in (1, 2, 3):
                run.save(step, saved)

    with pytest.raises(StorageError, match=r"policy \(too slow\)"):
        train()
    assert run.stored == []
    let.set()


def test_a_place_that_cannot_be_used_is_told_at_the_beginning(run: Run) -> None:
    """Before hours are spent."""
    run.place.write_text("a file")
    with (
        pytest.raises(StorageError, match=r"can't list .* Check that it can be reached"),
        stored_run(run.folder, run.uri, resumed=False),
    ):
        pass


def test_a_damaged_object_costs_its_checkpoint_alone(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The one before takes its place; of records, too; where none is left, nothing begins anew."""
    with stored_run(run.folder, run.uri, resumed=False) as saved:
        for step in (1, 2):
            run.save(step, saved)
            run.wait_for(step)
    records = sorted((run.place / "record").iterdir())
    assert len(records) == 2
    [weights] = (run.place / "checkpoints/step_000000002").glob("*/state/weights")
    harm(weights)
    fetch_run(run.uri, tmp_path / "back")
    assert latest(checkpoints_of(tmp_path / "back")) == 1
    assert "Passed over: File" in caplog.text
    harm(records[-1] / "metrics.jsonl")
    fetch_run(run.uri, tmp_path / "before")
    assert latest(checkpoints_of(tmp_path / "before")) == 1
    [sums] = (run.place / "checkpoints/step_000000001").glob("*/SHA256SUMS")
    sums.unlink()
    for name in ("x", "y"):
        with pytest.raises(CheckpointError, match=r"None of the checkpoints in .* begin a new run"):
            fetch_run(run.uri, tmp_path / name)
        assert not (tmp_path / name).exists()
        shutil.rmtree(run.place / "checkpoints", ignore_errors=True)
    shutil.rmtree(run.place / "record")
    with pytest.raises(StorageError, match="There is no run at"):
        fetch_run(run.uri, tmp_path / "z")


def test_a_refusal_is_not_damage(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody goes on from an earlier checkpoint because one request failed."""
    with stored_run(run.folder, run.uri, resumed=False):
        run.save(1)
        run.save(2)
    copy_out = Storage._copy_out

    def refused(self: Storage, name: str, target: Path) -> None:
        if "step_000000002" in self.uri:
            raise OSError("connection reset")
        copy_out(self, name, target)

    monkeypatch.setattr(Storage, "_copy_out", refused)
    with pytest.raises(StorageError, match="connection reset"):
        fetch_run(run.uri, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_folder_that_was_left_behind_is_refused(run: Run, tmp_path: Path) -> None:
    """Its older state doesn't take the place of what another machine has stored since."""
    with stored_run(run.folder, run.uri, resumed=False):
        run.save(1)
    assert not has_gone_on(run.uri, run.folder)
    fetch_run(run.uri, tmp_path / "elsewhere" / "run")
    other = copy.copy(run)
    other.folder = tmp_path / "elsewhere" / "run"
    with stored_run(other.folder, other.uri, resumed=True):
        other.save(2)
    assert has_gone_on(run.uri, run.folder)
    assert not has_gone_on(run.uri, other.folder)
    with (
        pytest.raises(ConfigError, match=r"another process has gone on .* Give resume="),
        stored_run(run.folder, run.uri, resumed=True),
    ):
        pass
    assert run.stored == [1, 2]


def test_a_damaged_owner_is_written_again(run: Run) -> None:
    """Else nothing would be stored any more."""
    with stored_run(run.folder, run.uri, resumed=False) as saved:
        run.save(1, saved)
        run.wait_for(1)
        harm(run.place / "owner.json")
        run.save(2, saved)
        run.wait_for(2)
    assert open_storage(run.uri).read("owner.json")


def test_places_are_as_folders_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same relative path; the name alone of a folder elsewhere."""
    monkeypatch.chdir(tmp_path)
    assert run_uri("s3://b/p/", Path("outputs/a")) == "s3://b/p/outputs/a"
    assert run_uri("s3://b/p", tmp_path / "outputs" / "a") == "s3://b/p/outputs/a"
    assert run_uri("s3://b/p", Path("/elsewhere/a")) == "s3://b/p/a"


SMALL = [
    "scenario=lost_sales", "scenario.base_policy=base_stock", "smoke=true", "checkpoint_every=1",
    "register=false", "tracking.enabled=false",
]  # fmt: skip


def test_arguments_come_from_the_storage(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the place of the run, or by its relative path in a storage; a new folder each time."""
    monkeypatch.chdir(tmp_path)
    network = tmp_path / "network.yaml"
    network.write_text("name: shop\n")
    kept = RunRecord(
        command="train", arguments=[f"network={network}", "seed=3"], network=file_hash(network)
    )
    keep_record(run.folder, kept)
    with stored_run(run.folder, run.uri, resumed=False):
        pass
    shutil.rmtree(run.folder)
    network.unlink()
    shutil.copytree(run.uri, tmp_path / "root" / "runs" / "there")
    for folder, typed in {
        "outputs/fetched/there": [f"resume={run.uri}"],
        "outputs/fetched/there_2": ["resume=runs/there", f"storage={tmp_path / 'root'}"],
    }.items():
        found = with_resumed(typed, "train", "a run", ConfigError)
        assert {"seed=3", f"resume={folder}", f"out={folder}"} <= set(found)
        assert network_of(found) == Path(folder) / "network" / "network.yaml"
    with pytest.raises(StorageError, match="There is no run at"):
        with_resumed(["resume=nowhere", f"storage={tmp_path}"], "train", "a run", ConfigError)


@pytest.mark.nightly
def test_a_run_goes_on_on_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """From the storage alone, an S3 server; its secret is nowhere."""
    caplog.set_level(logging.INFO)
    with s3_server() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        first, second = tmp_path / "first", tmp_path / "second"
        first.mkdir()
        monkeypatch.chdir(first)
        assert main(["train", *SMALL, "out=runs/a", "storage=s3://bucket/team"]) == 0
        assert main(["train", *SMALL, "out=runs/a", "storage=s3://bucket/team"]) == 1
        shutil.move(first, tmp_path / "gone")
        second.mkdir()
        monkeypatch.chdir(second)
        again = ["train", "resume=s3://bucket/team/runs/a", "algorithm.iterations=4"]
        assert main(again) == 0
        folder = second / "outputs" / "fetched" / "a"
        assert latest(checkpoints_of(folder)) == 4
        assert (folder / "metrics.jsonl").read_text().count('"time/iteration"') == 4
        assert load_artifact(folder / "policy").manifest
        # By its relative path, as in a job whose working directory is a fresh one.
        again = ["train", "resume=runs/a", "storage=s3://bucket/team", "algorithm.iterations=5"]
        assert main(again) == 0
        assert latest(checkpoints_of(second / "outputs" / "fetched" / "a_2")) == 5
        fetch_run("s3://bucket/team/runs/a", tmp_path / "stored")
        assert latest(checkpoints_of(tmp_path / "stored")) == 5
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 20
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
