"""Random damage to what a run leaves: found, or without an effect; never used."""

from __future__ import annotations

import collections
import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from echelon import main
from envs.errors import EchelonError
from evaluation.artifact.artifact import load_artifact
from tests.benchmarks.fault_parts.row import Row, say
from training.job.fetched_run import fetch_run
from training.job.run_record import RECORD, RunRecord, checkpoints_of

_RUN = [
    "train", "scenario=lost_sales", "scenario.base_policy=base_stock", "smoke=true",
    "checkpoint_every=1", "register=false", "tracking.enabled=false", "resources=local",
]  # fmt: skip
Files = dict[str, bytes]


def files_of(folder: Path) -> Files:
    """What is in it, by relative name."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


class Left:
    """A run that ended, its copy in a storage, and what both were before any damage."""

    def __init__(self, folder: Path) -> None:
        self.run, self.there, self.back = (folder / name for name in ("run", "stored", "back"))
        if main([*_RUN, f"out={self.run}", f"storage={folder / 'root'}"]) != 0:
            raise RuntimeError("the training failed")
        shutil.move(folder / "root" / "run", self.there)
        fetch_run(str(self.there), self.back)
        self.fetched = files_of(self.back)
        shutil.rmtree(self.back)
        self.record = RunRecord.read(self.run)
        self.version = load_artifact(self.run / "policy").version
        self.checkpoints = {
            step: files_of(checkpoints_of(self.run).load(step).path) for step in (1, 2, 3)
        }

    def resume(self) -> None:
        """As `resume=FOLDER` reads it."""
        assert RunRecord.read(self.run) == self.record
        store = checkpoints_of(self.run)
        for found in (store.latest_good(), store.best()):
            if found is not None:
                assert files_of(found.path) == self.checkpoints[found.step]

    def load(self) -> None:
        """As serving and evaluation read it."""
        assert load_artifact(self.run / "policy").version == self.version

    def fetch(self) -> None:
        """As another machine reads it."""
        shutil.rmtree(self.back, ignore_errors=True)
        fetch_run(str(self.there), self.back)
        for name, content in files_of(self.back).items():
            # An earlier record has fewer metrics; its own seal says that it is whole.
            if name in self.fetched and name.startswith(("checkpoints/", "policy/")):
                assert content == self.fetched[name], name
        assert RunRecord.read(self.back).run == self.record.run


def _flip(path: Path, other: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes() or b"?")
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def _truncate(path: Path, other: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(max(1, len(content)))])


def _remove(path: Path, other: Path, chance: random.Random) -> None:
    path.unlink()


def _swap(path: Path, other: Path, chance: random.Random) -> None:
    mine, others = path.read_bytes(), other.read_bytes()
    path.write_bytes(others)
    other.write_bytes(mine)


_KINDS: dict[str, Callable[[Path, Path, random.Random], None]] = {
    "bit": _flip, "end": _truncate, "file": _remove, "swap": _swap,
}  # fmt: skip


def corruptions(folder: Path, count: int) -> list[Row]:
    """One at a time; then everything is as it was again."""
    left, chance = Left(folder), random.Random(2)
    logging.disable()  # thousands of warnings
    targets: dict[str, tuple[Path, list[str], Callable[[], None]]] = {
        "checkpoints": (left.run, [RECORD, *_below(left.run, "checkpoints/")], left.resume),
        "artifact": (left.run, _below(left.run, "policy/"), left.load),
        "storage": (left.there, _below(left.there, ""), left.fetch),
    }
    outcomes: collections.Counter[tuple[str, str]] = collections.Counter()
    unnoticed: list[str] = []
    for number in range(count):
        what = chance.choice(list(targets))
        root, names, read = targets[what]
        kind = chance.choice(list(_KINDS))
        name, other = (chance.choice(names) for _ in range(2))
        before = (root / name).read_bytes(), (root / other).read_bytes()
        _KINDS[kind](root / name, root / other, chance)
        try:
            read()
            outcomes[what, "passed over"] += 1
        except EchelonError:
            outcomes[what, "refused"] += 1
        except Exception as problem:
            unnoticed.append(f"{what}: {kind} of {name} ({other}): {problem!r}")
        for path, content in zip((root / name, root / other), before, strict=True):
            path.write_bytes(content)
        if number % 1000 == 999:
            say(f"corruption {number + 1} of {count}: {len(unnoticed)} unnoticed")
    logging.disable(logging.NOTSET)
    for line in unnoticed[:20]:
        say(line)
    told = "; ".join(f"{what} {how}: {n}" for (what, how), n in sorted(outcomes.items()))
    return [
        Row(f"{count} random corruptions", f"{told}; unnoticed or harmful: {len(unnoticed)}",
            "nothing that was damaged was used", None, "none unnoticed", not unnoticed)
    ]  # fmt: skip


def _below(folder: Path, prefix: str) -> list[str]:
    return [name for name in files_of(folder) if name.startswith(prefix)]
