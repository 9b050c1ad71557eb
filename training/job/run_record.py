"""What a run is: its identity and what it was begun with, under a seal in its folder.

The identity is in every checkpoint of the run, so that those of another run are found.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from envs.errors import CheckpointError, EchelonError
from evaluation.files.sealed_json import read_sealed, write_sealed
from training.job.checkpoint import CheckpointStore

RECORD = "arguments.json"


@dataclass(frozen=True)
class RunRecord:
    """The content of `arguments.json`.

    run: the identity, random.
    command: that began the run; empty for a training inside of a sweep or a report.
    arguments: of the command, but for the folders.
    config: JSON text of every value of the resolved configuration, by dotted key.
    network: SHA-256 of the network file, where there is one.
    storage: where a copy of the run is kept.
    """

    run: str = field(default_factory=lambda: secrets.token_hex(16))
    command: str = ""
    arguments: Sequence[str] = ()
    config: Mapping[str, str] = field(default_factory=dict)
    network: str | None = None
    storage: str | None = None

    @classmethod
    def read(cls, folder: Path, *, error: type[EchelonError] = CheckpointError) -> Self:
        """Raises `error` where there is none, or where it is not as it was written."""
        plain = read_sealed(folder / RECORD, error=error)
        try:
            return cls(**plain)
        except TypeError:
            raise error(f"can't read '{folder / RECORD}' (another version's keys).") from None

    def write(self, folder: Path) -> None:
        """Make the folder the one of this run."""
        write_sealed(folder / RECORD, dataclasses.asdict(self))


def checkpoints_of(folder: Path, saved: Callable[[], None] = lambda: None) -> CheckpointStore:
    """Return the checkpoints of the run that lives in `folder`; one begins where there is none.

    saved: called after each save. Raises CheckpointError where the record is damaged.
    """
    if not (folder / RECORD).exists():
        RunRecord().write(folder)
    return CheckpointStore(folder / "checkpoints", RunRecord.read(folder).run, saved=saved)
