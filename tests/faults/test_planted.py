"""Would the seeds notice? Every fault that is planted here breaks one of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evaluation.files import atomic_folder, json_lines, storage
from evaluation.files.atomic_folder import SUMS_FILE, write_folder
from evaluation.files.sealed_json import sealed_bytes
from evaluation.files.storage import Storage
from evaluation.tracking import mlflow_destination, outbox
from evaluation.tracking.mlflow_destination import MlflowDestination
from evaluation.tracking.outbox import MetricsLog
from serving import live
from serving.live import LivePolicy
from tests.faults import (
    test_checkpoints,
    test_serving,
    test_stored_run,
    test_supervisor,
    test_tracking,
)
from tests.faults.seeds import play_seeds
from training.job import checkpoint, fetched_run, stored_run, supervisor
from training.job.checkpoint import CheckpointStore
from training.job.learning_loop import LearningLoop
from training.job.stored_run import StoredRun

SEEDS, SEEDS_OF_RARE = 400, 2_000  # at most
CHECKPOINTS, TRACKING, SERVING = test_checkpoints.Run, test_tracking.Run, test_serving.Site
STORED, LEARNING = test_stored_run.Site, test_supervisor.Run

_send = MlflowDestination.send
_store_all, _remove_all_but = StoredRun._store_all, StoredRun._remove_all_but


def nothing(*_: object, **__: object) -> None:
    """Done in place of something."""


def make_unflushed(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def write_in_place(path: Path, plain: Any) -> None:
    path.write_bytes(sealed_bytes(plain))


def seal_anew(folder: Path, fill: Callable[[Path], object], **options: Any) -> None:
    def fill_without_seal(place: Path) -> None:
        fill(place)
        (place / atomic_folder.SUMS_FILE).unlink()

    write_folder(folder, fill_without_seal, **options | {"sealed": False})


def nothing_checked(record: Any) -> Any:
    return {key: value for key, value in record.items() if key != "sha256"}


def record_always(log: MetricsLog, step: int, metrics: Any) -> None:
    log.append({"step": step, "time": 0.0, "metrics": metrics})


def send_once(destination: MlflowDestination, records: Any, state: Any) -> None:
    with contextlib.suppress(Exception):
        _send(destination, records, state)


def give_once(destination: MlflowDestination, name: str, alias: str, version: str) -> None:
    destination._client.set_registered_model_alias(name, alias, version)


def clock_of(version: Any) -> float:
    return float(version.tags["echelon.time"])


def put_list_first(place: Storage, folder: Path, progress: Any) -> None:
    with place._told("store"):
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):  # capitals come first
            place._copy_in(path, path.relative_to(folder).as_posix(), progress)


def put_again(run: StoredRun, name: str, path: Path) -> str:
    run._count += 1
    place = f"{name}/{1:06d}_{1:06d}_{0:08x}"
    run.storage.at(place).put(path, run._tick)
    return place


def store_record_first(run: StoredRun) -> None:
    here = {name: (path / SUMS_FILE).read_bytes() for name, path in run._sealed_folders().items()}
    run._stored = {name: (f"{name}/0", sums) for name, sums in here.items()}
    run._store_record()
    run._stored.clear()
    _store_all(run)


def remove_all(run: StoredRun, kept: set[str]) -> None:
    _remove_all_but(run, {max(place for place in kept if place.startswith("record"))})


def always(*_: object) -> bool:
    return True


def read_owner(run: StoredRun) -> Any:
    return run.storage.read("owner.json")


def give_last(loop: LearningLoop, algorithm: Any) -> Any:
    return algorithm.actors()


UNFLUSHED_OS = SimpleNamespace(fstat=os.fstat, strerror=os.strerror, fsync=nothing)
PLANTED: dict[str, tuple[Any, Any, str, Any]] = {
    "names are not flushed": (CHECKPOINTS, atomic_folder, "flush_directory", nothing),
    "files are not flushed": (CHECKPOINTS, atomic_folder, "flush_file", nothing),
    "folders above are not flushed": (CHECKPOINTS, atomic_folder, "make_folder", make_unflushed),
    "damage is not looked for": (CHECKPOINTS, checkpoint, "verify_folder", nothing),
    "what is half replaced is gone": (CHECKPOINTS, CheckpointStore, "_recover", nothing),
    "lines are not flushed": (TRACKING, json_lines, "os", UNFLUSHED_OS),
    "damaged lines are taken as they are": (TRACKING, json_lines, "unsealed", nothing_checked),
    "the run's folder is not flushed": (TRACKING, outbox, "make_folder", make_unflushed),
    "a resumed run records again": (TRACKING, MetricsLog, "record", record_always),
    "what is not taken counts as sent": (TRACKING, MlflowDestination, "send", send_once),
    "any clock is believed": (SERVING, mlflow_destination, "_recorded", clock_of),
    "the alias goes to who comes last": (SERVING, MlflowDestination, "_give_alias", give_once),
    "no copy of what is served is kept": (SERVING, LivePolicy, "_keep", nothing),
    "what is kept is named in place": (SERVING, live, "write_sealed", write_in_place),
    "what is kept is sealed anew": (SERVING, live, "write_folder", seal_anew),
    "what was kept may be unflushed": (SERVING, live, "flush_directory", nothing),
    "the list is stored first": (STORED, Storage, "put", put_list_first),
    "what is fetched is not compared": (STORED, atomic_folder, "verify_folder", nothing),
    "what is stored is not flushed": (STORED, storage, "flush_file", nothing),
    "stored names are not flushed": (STORED, storage, "flush_directory", nothing),
    "folders there are not flushed": (STORED, storage, "make_folder", make_unflushed),
    "a refusal counts as damage": (STORED, fetched_run, "is_damage", always),
    "all write to the same places": (STORED, StoredRun, "_put", put_again),
    "the record comes first": (STORED, StoredRun, "_store_all", store_record_first),
    "what is listed is removed": (STORED, StoredRun, "_remove_all_but", remove_all),
    "an older folder takes over": (STORED, stored_run, "unknown_record", nothing),
    "a damaged owner stays": (STORED, StoredRun, "_owner", read_owner),
    "it ends too early": (LEARNING, supervisor, "_MOST_LOSSES", 2),
    "it ends too late": (LEARNING, supervisor, "_MOST_LOSSES", 4),
    "it begins anew": (LEARNING, LearningLoop, "newest", nothing),
    "what a signal cut short is forgotten": (LEARNING, LearningLoop, "_catch_up", nothing),
    "the last is taken for the best": (LEARNING, LearningLoop, "best_actors", give_last),
}


RARE = (
    "what is half replaced is gone", "the run's folder is not flushed",
    "what is kept is sealed anew", "what was kept may be unflushed",
    "lines are not flushed", "an older folder takes over",
)  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.nightly] if n in RARE else []) for n in PLANTED],
)
def test_planted_fault_breaks_a_seed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, where, attribute, fault = PLANTED[name]
    monkeypatch.setattr(where, attribute, fault)
    seeds = range(SEEDS_OF_RARE if name in RARE else SEEDS)
    with pytest.raises(AssertionError, match="again: FAULT_SEED="):
        play_seeds(seeds, lambda world, folder: kind(world, folder).play())
