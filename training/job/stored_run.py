"""A run folder's copy in a storage, from which any machine can go on with the run.

The run folder stays on this machine's disk: nothing that learns waits for a storage. A thread
copies what is acknowledged here: records first, so that no metric is lost, then checkpoints, then
the policy, each a sealed folder (`evaluation.files.storage`):

    URI/record/000000007/            the small files: arguments, metrics, tracking; the last counts
    URI/checkpoints/step_000000120/
    URI/policy/
    URI/owner.json                   which process may write here: the one that began last

What a storage refuses is tried again with the next checkpoint, and said once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from envs.errors import CheckpointError, ConfigError, StorageError
from evaluation.files.atomic_folder import SUMS_FILE, write_folder
from evaluation.files.sealed_json import read_sealed, write_sealed
from evaluation.files.storage import Storage, open_storage
from training.job.run_record import RunRecord

CHECKPOINTS, POLICY, RECORDS = "checkpoints", "policy", "record"
_OWNER = "owner.json"
_STORED = "stored.json"  # of a record: what is there beside it, pruned later or not
_FOLDERS = ("network", "plots")  # of small files, which belong to the record
_RECORDS_KEPT = 2
_PATIENCE = 60.0  # seconds without progress that the end of a run waits for the storage
_HURRY = 8.0  # of a run that was told to stop

_log = logging.getLogger(__name__)


def run_uri(storage: str, folder: Path) -> str:
    """Return where in a storage the run of that folder is: at the same relative path."""
    path = Path(os.path.abspath(folder))
    here = Path.cwd()
    relative = path.relative_to(here).as_posix() if path.is_relative_to(here) else path.name
    return f"{storage.rstrip('/')}/{relative}"


@contextlib.contextmanager
def stored_run(folder: Path, uri: str | None, *, resumed: bool) -> Iterator[Callable[[], None]]:
    """Keep a copy of the run at `uri` while the block runs; None: keep none.

    Yields what is to be called when something new is saved.
    """
    if uri is None:
        yield lambda: None
    else:
        with StoredRun(folder, open_storage(uri), resumed=resumed) as run:
            yield run.saved


def is_stored(uri: str) -> bool:
    """Whether there is a run."""
    return bool(open_storage(uri).at(RECORDS).folders())


def fetch_run(uri: str, folder: Path) -> None:
    """Make a run folder of a stored run: its last good record, its good checkpoints, its policy.

    What is damaged is passed over with a warning. Raises StorageError where there is no run or no
    good record, CheckpointError where there were checkpoints and none is good.
    """
    storage = open_storage(uri)
    _fetch_record(storage, folder)
    listed = read_sealed(folder / _STORED, error=StorageError)["checkpoints"]
    (folder / _STORED).unlink()
    dataclasses.replace(RunRecord.read(folder), storage=uri).write(folder)
    there, good = storage.at(CHECKPOINTS).folders(), 0
    for name in there:
        good += _fetched(storage.at(CHECKPOINTS, name), folder / CHECKPOINTS / name)
    if not good and (there or any(name.startswith(CHECKPOINTS) for name in listed)):
        shutil.rmtree(folder)
        raise CheckpointError(
            f"None of the checkpoints in {uri}/{CHECKPOINTS} can be used, see the warnings; "
            "expected one that verifies. Bring back a copy of one, or begin a new run."
        )
    if POLICY in storage.folders():
        _fetched(storage.at(POLICY), folder / POLICY)


def _fetch_record(storage: Storage, folder: Path) -> None:
    """The last good one."""
    for name in reversed(storage.at(RECORDS).folders()):
        if _fetched(storage.at(RECORDS, name), folder):
            (folder / SUMS_FILE).unlink()
            return
    raise StorageError(
        f"There is no run at {storage.uri} whose record verifies; expected the place that the run "
        "named when it began. Check the address."
    )


def _fetched(place: Storage, folder: Path) -> bool:
    try:
        place.fetch(folder)
    except StorageError as problem:
        _log.warning("Passed over: %s", problem)
        return False
    return True


class StoredRun:
    """Keeps the copy of a run folder up to date while the block runs.

    Raises StorageError at its beginning where the storage can't be used, and at its end where the
    policy could not be stored.
    """

    def __init__(self, folder: Path, storage: Storage, *, resumed: bool) -> None:
        self.folder, self.storage = folder, storage
        self._is_resumed = resumed
        self._token = secrets.token_hex(16)
        self._stored: dict[str, bytes] = {}  # SHA256SUMS of what is there, by name
        self._next_record = 0
        self._wake = threading.Event()
        self._is_ending = False
        self._progress = time.monotonic()
        self._problem: StorageError | None = None
        self._lost: CheckpointError | None = None
        self._thread = threading.Thread(target=self._work, name="storage", daemon=True)

    def __enter__(self) -> Self:
        records = self.storage.at(RECORDS).folders()
        if records and not self._is_resumed:
            raise ConfigError(
                f"storage: {self.storage.uri} holds a run already; expected one run per place. "
                f"Give resume={self.storage.uri} to go on with it, or another out."
            )
        self._next_record = 1 + max((int(name) for name in records if name.isdigit()), default=-1)
        self.storage.write(
            _OWNER, {"token": self._token, "host": socket.gethostname(), "process": os.getpid()}
        )
        self._thread.start()
        return self

    def saved(self) -> None:
        """Something new is in the folder. Raises CheckpointError where the run is another's now."""
        if self._lost is not None:
            raise self._lost
        self._wake.set()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        patience = _PATIENCE if kind is None else _HURRY
        self._is_ending = True
        self._progress = time.monotonic()
        self._wake.set()
        while self._thread.is_alive() and time.monotonic() < self._progress + patience:
            self._thread.join(0.1)
        missing = self._missing()
        if not missing:
            _log.info("Stored in %s.", self.storage.uri)
            return
        what = (
            f"Not stored in {self.storage.uri}: {', '.join(missing)} ({self._problem or 'too slow'}"
            f") What is missing there is in '{self.folder}'; resume={self.folder} stores it."
        )
        if kind is None and POLICY in missing:
            raise StorageError(what)
        _log.warning("%s", what)

    def _work(self) -> None:
        is_last = False
        while not is_last:
            self._wake.wait()
            self._wake.clear()
            is_last = self._is_ending
            try:
                self._store_all()
            except StorageError as problem:
                if self._problem is None:
                    _log.warning(
                        "%s Training goes on; it is tried again at each checkpoint.", problem
                    )
                self._problem = problem
            except CheckpointError as lost:
                self._lost = lost
                return
            else:
                if self._problem is not None:
                    _log.warning("Storage %s takes everything again.", self.storage.uri)
                self._problem = None

    def _store_all(self) -> None:
        self._must_be_owner()
        here = self._sealed_folders()
        for name in [*self._stored]:
            if name not in here:  # pruned; first, as a full storage needs the room
                self.storage.at(name).remove()
                del self._stored[name]
        self._store_record()
        for name, path in here.items():
            self._store(name, path)

    def _must_be_owner(self) -> None:
        owner = self.storage.read(_OWNER)
        if owner is not None and owner["token"] != self._token:
            raise CheckpointError(
                f"Another process (number {owner['process']} on {owner['host']}) goes on with the "
                f"run in {self.storage.uri}; expected one at a time. This one has ended; what it "
                f"learned is in '{self.folder}'."
            )

    def _store_record(self) -> None:
        copy = self.folder / ".record"
        write_folder(copy, self._copy_record, replace=True, error=StorageError)
        number = self._next_record
        self.storage.at(RECORDS, f"{number:09d}").put(copy, self._tick)
        self._next_record += 1
        shutil.rmtree(copy, ignore_errors=True)
        for name in self.storage.at(RECORDS).folders()[:-_RECORDS_KEPT]:
            self.storage.at(RECORDS, name).remove()

    def _copy_record(self, target: Path) -> None:
        write_sealed(target / _STORED, {"checkpoints": sorted(self._stored)})
        for path in sorted(self.folder.iterdir()):
            if path.name.startswith(".") or path.name.endswith(".lock"):
                continue
            if path.is_file():
                shutil.copyfile(path, target / path.name)
            elif path.name in _FOLDERS:
                shutil.copytree(path, target / path.name)

    def _store(self, name: str, path: Path) -> None:
        try:
            sums = (path / SUMS_FILE).read_bytes()
            if self._stored.get(name) != sums:
                self.storage.at(name).put(path, self._tick)
                self._stored[name] = sums
        except (OSError, StorageError):
            if path.exists():  # else it was pruned meanwhile
                raise

    def _tick(self) -> None:
        self._progress = time.monotonic()

    def _sealed_folders(self) -> dict[str, Path]:
        """Of the run folder, by name; the policy last."""
        found = {
            f"{CHECKPOINTS}/{path.name}": path
            for path in sorted((self.folder / CHECKPOINTS).glob("step_*"))
        }
        policy = self.folder / POLICY
        return found | ({POLICY: policy} if policy.is_dir() else {})

    def _missing(self) -> list[str]:
        """Names of sealed folders that are here and not there."""
        return [
            name
            for name, path in self._sealed_folders().items()
            if (path / SUMS_FILE).exists()
            and self._stored.get(name) != (path / SUMS_FILE).read_bytes()
        ]
