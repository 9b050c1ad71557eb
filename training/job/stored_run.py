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
import dataclasses
import logging
import os
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from envs.errors import CheckpointError, ConfigError, StorageError
from evaluation.files.atomic_folder import SUMS_FILE, write_folder
from evaluation.files.sealed_json import read_sealed, write_sealed
from evaluation.files.storage import Storage, is_damage, open_storage
from training.job.run_record import RunRecord

CHECKPOINTS, POLICY, RECORDS = "checkpoints", "policy", "record"
_OWNER = "owner.json"
_STORED = "stored.json"  # of a record: what belongs to it; of a run folder: what it knows of
_VERSION = re.compile(r"(\d{6})_\d{6}_[0-9a-f]{8}")  # of a folder: its last name
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


def has_gone_on(uri: str, folder: Path) -> bool:
    """Whether another process has stored more of the run than a folder, if it is there, knows of.

    Raises StorageError.
    """
    return _unknown_record(open_storage(uri).folders(), folder) is not None


def fetch_run(uri: str, folder: Path) -> None:
    """Make a run folder of a stored run: its last good record, and what it lists.

    What is damaged is passed over with a warning. Raises StorageError where the storage refuses,
    where there is no run or no good record, CheckpointError where there were checkpoints and none
    is good.
    """
    storage = open_storage(uri)
    records = _records(storage.folders())
    _fetch_record(storage, records, folder)
    try:
        listed: dict[str, str] = read_sealed(folder / _STORED, error=StorageError)["folders"]
        _fetch_listed(storage, listed, folder)
    except BaseException:
        shutil.rmtree(folder)
        raise
    _note_known(folder, 0, records)
    dataclasses.replace(RunRecord.read(folder), storage=uri).write(folder)


def _fetch_record(storage: Storage, records: list[str], folder: Path) -> None:
    """The last good one."""
    for name in reversed(records):
        if _fetched(storage.at(name), folder):
            (folder / SUMS_FILE).unlink()
            return
    raise StorageError(
        f"There is no run at {storage.uri} whose record verifies; expected the place that the run "
        "named when it began. Check the address."
    )


def _fetch_listed(storage: Storage, listed: Mapping[str, str], folder: Path) -> None:
    good = [name for name, place in listed.items() if _fetched(storage.at(place), folder / name)]
    checkpoints = [name for name in listed if name.startswith(f"{CHECKPOINTS}/")]
    if checkpoints and not {*checkpoints} & {*good}:
        raise CheckpointError(
            f"None of the checkpoints in {storage.uri}/{CHECKPOINTS} can be used, see the "
            "warnings; expected one that verifies. Bring back a copy of one, or begin a new run."
        )


def _fetched(place: Storage, folder: Path) -> bool:
    """False where it is damaged. Raises StorageError where the storage, or the disk, refuses: an
    earlier one must not take its place."""
    try:
        place.fetch(folder)
    except StorageError as problem:
        if not is_damage(problem):
            raise
        _log.warning("Passed over: %s", problem)
        return False
    return True


def _records(folders: Iterable[str]) -> list[str]:
    """The newest last."""
    return sorted(place for place in folders if place.startswith(f"{RECORDS}/"))


def _number(place: str) -> int:
    """Of the process that stored a folder; 0 where it is something else."""
    match = _VERSION.fullmatch(place.rpartition("/")[2])
    return int(match[1]) if match else 0


def _note_known(folder: Path, number: int, records: Sequence[str]) -> None:
    """A run folder has all of these records, and all that the process of that number stores."""
    write_sealed(folder / _STORED, {"number": number, "record": records[-1] if records else None})


def _unknown_record(there: Iterable[str], folder: Path) -> str | None:
    """The newest one, if it is of a state that the run folder, if there is one, never had."""
    newest = max(_records(there), default=None)
    if newest is None or not (folder / _STORED).exists():
        return newest
    known = read_sealed(folder / _STORED, error=StorageError)
    return None if newest == known["record"] or _number(newest) == known["number"] else newest


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
        records = _records(there)
        if records and not self._is_resumed:
            raise ConfigError(
                f"storage: {self.storage.uri} holds a run already; expected one run per place. "
                f"Give resume={self.storage.uri} to go on with it, or another out."
            )
        self._must_know(there)
        owner = self._owner() or {"number": 0}
        self._number = 1 + max([owner["number"], *map(_number, there)])
        self._own()
        self._must_know(self.storage.folders())  # the owner until now may have stored more
        _note_known(self.folder, self._number, records)
        self._thread.start()
        return self

    def _must_know(self, there: Sequence[str]) -> None:
        if _unknown_record(there, self.folder) is not None:
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
        write_sealed(target / _STORED, {"folders": folders})
        for folder in (self.folder, *(self.folder / name for name in sorted(self._folders))):
            for path in sorted(folder.glob("[!.]*")):
                if path.is_file() and path.suffix != ".lock" and path.name != _STORED:
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
            if part[0] in own and _VERSION.fullmatch(name) and name < newest
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
