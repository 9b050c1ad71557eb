"""A run folder's copy in a storage, from which any machine can go on with the run.

The run folder stays on this machine's disk: nothing that learns waits for a storage. A thread
copies what is acknowledged here, each piece a sealed folder (`evaluation.files.storage`), the
record last: it lists the others. What a record lists is the run; anything else is left over.

    URI/checkpoints/step_000000120/000002_000007_1f2e3d4c/
    URI/policy/000002_000009_1f2e3d4c/
    URI/record/000002_000008_1f2e3d4c/   small files: arguments, metrics, tracking, what is listed
    URI/owner.json                       which process may write here: the one that began last

No folder is ever written twice: the last part of its name is the number of the process, one higher
than that of any before it, a count, and chance. So a process that lives on after another one has
taken over, or a request that arrives late, replaces nothing, and the higher name is the newer one.

Trainings inside of a sweep or a report have places of their own below it.

What a storage refuses is tried again with the next checkpoint, and said once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from envs.errors import CheckpointError, ConfigError, StorageError
from evaluation.files.atomic_folder import SUMS_FILE, write_folder
from evaluation.files.sealed_json import write_sealed
from evaluation.files.storage import Storage, is_damage, open_storage
from training.job.fetched_run import (
    CHECKPOINTS,
    POLICY,
    RECORDS,
    STORED,
    VERSION,
    fetch_run,
    has_gone_on,
    note_known,
    number_of,
    records_of,
    unknown_record,
)

_OWNER = "owner.json"
_FOLDERS = ("network", "plots")  # whose files belong to the record
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
def stored_run(
    folder: Path, uri: str | None, *, resumed: bool, parts: Collection[str] = ()
) -> Iterator[Callable[[], None]]:
    """Keep a copy of the run at `uri` while the block runs; None: keep none.

    parts: more folders whose files belong to the record.

    Yields what is to be called when something new is saved.
    """
    if uri is None:
        yield lambda: None
    else:
        with StoredRun(folder, open_storage(uri), resumed=resumed, parts=parts) as run:
            yield run.saved


@contextlib.contextmanager
def stored_part(folder: Path, uri: str | None) -> Iterator[Callable[[], None]]:
    """As `stored_run`, for a training of a sweep or a report: another node may have begun it.

    What that has stored is fetched first.
    """
    if uri is not None and has_gone_on(uri, folder):
        fetched = folder.with_name(f".{folder.name}.fetched")
        shutil.rmtree(fetched, ignore_errors=True)
        fetch_run(uri, fetched)
        shutil.rmtree(folder, ignore_errors=True)
        fetched.rename(folder)
    with stored_run(folder, uri, resumed=True) as saved:
        yield saved


class StoredRun:
    """Keeps the copy of a run folder up to date while the block runs.

    Raises StorageError at its beginning where the storage can't be used, and at its end where the
    policy could not be stored.
    """

    def __init__(
        self, folder: Path, storage: Storage, *, resumed: bool, parts: Collection[str] = ()
    ) -> None:
        self.folder, self.storage = folder, storage
        self._folders = {*_FOLDERS, *parts}
        self._is_resumed = resumed
        self._token = secrets.token_hex(16)
        self._number = self._count = 0  # of this process; of the folders that it has stored
        self._stored: dict[str, tuple[str, bytes]] = {}  # by name: place there, SHA256SUMS
        self._listed: dict[str, tuple[str, bytes]] = {}  # the same, of the last record
        self._before: set[str] | None = None  # places of the record before it, and its own
        self._wake = threading.Event()
        self._is_ending = False
        self._progress = time.monotonic()
        self._problem: Exception | None = None
        self._lost: CheckpointError | None = None
        self._thread = threading.Thread(target=self._work, name="storage", daemon=True)

    def __enter__(self) -> Self:
        there = self.storage.folders()
        records = records_of(there)
        if records and not self._is_resumed:
            raise ConfigError(
                f"storage: {self.storage.uri} holds a run already; expected one run per place. "
                f"Give resume={self.storage.uri} to go on with it, or another out."
            )
        self._must_know(there)
        owner = self._owner() or {"number": 0}
        self._number = 1 + max([owner["number"], *map(number_of, there)])
        self._own()
        self._must_know(self.storage.folders())  # the owner until now may have stored more
        note_known(self.folder, self._number, records)
        self._thread.start()
        return self

    def _must_know(self, there: Sequence[str]) -> None:
        if unknown_record(there, self.folder) is not None:
            raise ConfigError(
                f"storage: another process has gone on with the run in {self.storage.uri}, since "
                f"'{self.folder}' was left or fetched; expected its last state. Give "
                f"resume={self.storage.uri} to go on with that."
            )

    def saved(self) -> None:
        """Something new is in the folder. Raises CheckpointError where the run is another's now."""
        if self._lost is not None:
            raise self._lost
        self._wake.set()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        patience = _PATIENCE if kind is None else _HURRY
        self._is_ending = True
        self._progress = time.monotonic()
        self._wake.set()
        while self._thread.is_alive() and time.monotonic() < self._progress + patience:
            self._thread.join(0.1)
        missing = self._missing()
        if not missing and (self._problem is not None or self._thread.is_alive()):
            missing = [RECORDS]
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
            except (OSError, StorageError) as problem:
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
        held = self.folder / ".held"
        here = self._hold(held)
        for name, path in here.items():
            sums = (path / SUMS_FILE).read_bytes()
            if name not in self._stored or self._stored[name][1] != sums:
                self._stored[name] = self._put(name, path), sums
        self._stored = {name: kept for name, kept in self._stored.items() if name in here}
        record = self._store_record()
        self._owner_there()  # else what was stored may lie below a mount point
        shutil.rmtree(held, ignore_errors=True)
        self._listed = dict(self._stored)
        kept = {record, *(place for place, _ in self._stored.values())}
        if self._before is not None:  # else another process's record is the one before
            self._remove_all_but(kept | self._before)
        self._before = kept

    def _hold(self, held: Path) -> dict[str, Path]:
        """Links to all that is here now, by name: training prunes meanwhile, and a record has to
        list no less than the one before it."""
        while True:
            shutil.rmtree(held, ignore_errors=True)
            here = self._sealed_folders()
            try:
                for name, path in here.items():
                    shutil.copytree(path, held / name, copy_function=os.link)
            except OSError:
                if all(path.exists() for path in here.values()):
                    raise
            else:
                return {name: held / name for name in here}

    def _owner(self) -> dict[str, Any] | None:
        """What is there of it; None where there is nothing, and empty where it is damaged."""
        try:
            return self.storage.read(_OWNER)
        except StorageError as problem:
            if not is_damage(problem):
                raise
            return {}

    def _own(self) -> None:
        self.storage.write(
            _OWNER,
            {"token": self._token, "number": self._number, "host": socket.gethostname(),
             "process": os.getpid()},
        )  # fmt: skip

    def _owner_there(self) -> dict[str, Any]:
        """As `_owner`; raises StorageError where there is nothing."""
        owner = self._owner()
        if owner is None:
            self._stored, self._listed = {}, {}  # whatever is there when it is back
            raise StorageError(
                f"Storage {self.storage.uri}: what this run has stored there is gone. Mount it "
                f"again, or bring it back; resume={self.folder} stores everything anew."
            )
        return owner

    def _must_be_owner(self) -> None:
        owner = self._owner_there()
        if not owner:
            self._own()
        elif owner["token"] != self._token:
            raise CheckpointError(
                f"Another process (number {owner['process']} on {owner['host']}) goes on with the "
                f"run in {self.storage.uri}; expected one at a time. This one has ended; what it "
                f"learned is in '{self.folder}'."
            )

    def _put(self, name: str, path: Path) -> str:
        """Store a sealed folder where none was; returns the place."""
        self._count += 1
        place = f"{name}/{self._number:06d}_{self._count:06d}_{self._token[:8]}"
        self.storage.at(place).put(path, self._tick)
        return place

    def _store_record(self) -> str:
        copy = self.folder / ".record"
        write_folder(copy, self._copy_record, replace=True, error=StorageError)
        place = self._put(RECORDS, copy)
        shutil.rmtree(copy, ignore_errors=True)
        return place

    def _copy_record(self, target: Path) -> None:
        folders = {name: place for name, (place, _) in self._stored.items()}
        write_sealed(target / STORED, {"folders": folders})
        for folder in (self.folder, *(self.folder / name for name in sorted(self._folders))):
            for path in sorted(folder.glob("[!.]*")):
                if path.is_file() and path.suffix != ".lock" and path.name != STORED:
                    copy = target / path.relative_to(self.folder)
                    copy.parent.mkdir(exist_ok=True)
                    shutil.copyfile(path, copy)

    def _remove_all_but(self, kept: set[str]) -> None:
        """Of what this process and earlier ones have stored, whole or not."""
        newest = f"{self._number:06d}_{self._count:06d}_{self._token[:8]}"
        own = (CHECKPOINTS, POLICY, RECORDS)  # else it is of a training inside of this run
        parts = (name.split("/") for name in self.storage.files())
        found = {
            "/".join(part[: i + 1])
            for part in parts
            for i, name in enumerate(part)
            if part[0] in own and VERSION.fullmatch(name) and name < newest
        }
        for place in sorted(found - kept):
            self.storage.at(place).remove()

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
            and self._listed.get(name, ("", b""))[1] != (path / SUMS_FILE).read_bytes()
        ]
