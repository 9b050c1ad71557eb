"""A run folder made of its copy in a storage, which lies there as `stored_run` keeps it."""

from __future__ import annotations

import dataclasses
import logging
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from envs.errors import CheckpointError, StorageError
from evaluation.files.atomic_folder import SUMS_FILE
from evaluation.files.sealed_json import read_sealed, write_sealed
from evaluation.files.storage import Storage, is_damage, open_storage
from training.job.run_record import RunRecord

CHECKPOINTS, POLICY, RECORDS = "checkpoints", "policy", "record"
STORED = "stored.json"  # of a record: what belongs to it; of a run folder: what it knows of
VERSION = re.compile(r"(\d{6})_\d{6}_[0-9a-f]{8}")  # of a folder: its last name

_log = logging.getLogger(__name__)


def has_gone_on(uri: str, folder: Path) -> bool:
    """Whether another process has stored more of the run than a folder, if it is there, knows of.

    Raises StorageError.
    """
    return unknown_record(open_storage(uri).folders(), folder) is not None


def fetch_run(uri: str, folder: Path) -> None:
    """Make a run folder of a stored run: its last good record, and what it lists.

    What is damaged is passed over with a warning. Raises StorageError where the storage refuses,
    where there is no run or no good record, CheckpointError where there were checkpoints and none
    is good.
    """
    storage = open_storage(uri)
    records = records_of(storage.folders())
    _fetch_record(storage, records, folder)
    try:
        listed: dict[str, str] = read_sealed(folder / STORED, error=StorageError)["folders"]
        _fetch_listed(storage, listed, folder)
    except BaseException:
        shutil.rmtree(folder)
        raise
    note_known(folder, 0, records)
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


def records_of(folders: Iterable[str]) -> list[str]:
    """The newest last."""
    return sorted(place for place in folders if place.startswith(f"{RECORDS}/"))


def number_of(place: str) -> int:
    """Of the process that stored a folder; 0 where it is something else."""
    match = VERSION.fullmatch(place.rpartition("/")[2])
    return int(match[1]) if match else 0


def note_known(folder: Path, number: int, records: Sequence[str]) -> None:
    """A run folder has all of these records, and all that the process of that number stores."""
    write_sealed(folder / STORED, {"number": number, "record": records[-1] if records else None})


def unknown_record(there: Iterable[str], folder: Path) -> str | None:
    """The newest one, if it is of a state that the run folder, if there is one, never had."""
    newest = max(records_of(there), default=None)
    if newest is None or not (folder / STORED).exists():
        return newest
    known = read_sealed(folder / STORED, error=StorageError)
    return None if newest == known["record"] or number_of(newest) == known["number"] else newest
