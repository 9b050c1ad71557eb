"""Checkpoints that are never lost once acknowledged, and never loaded when damaged.

One folder per step, written whole or not at all (``evaluation.files.atomic_folder``):

    step_000000120/
      checkpoint.json   run, step, time, cost, meta
      state/            whatever ``write`` put there (training/rllib/saved_state.py: numbers alone)
      SHA256SUMS

Each says which run it is of and what its models cost on validation: the best is the one of the
lowest cost. So nothing that decides what is resumed or exported lies outside of a seal.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from envs.errors import CheckpointError
from evaluation.files.atomic_folder import recover_folder, verify_folder, write_folder

_DESCRIPTION = "checkpoint.json"

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Checkpoint:
    """One verified checkpoint."""

    step: int
    path: Path  # the whole folder
    meta: Mapping[str, Any]
    cost: float | None = None  # on validation; None: these models were not validated

    @property
    def state(self) -> Path:
        """The folder that ``write`` filled."""
        return self.path / "state"

    def value(self, name: str, kind: type[T]) -> T:
        """One of `meta`. Raises CheckpointError where it isn't of that kind."""
        value = self.meta.get(name)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise CheckpointError(
                f"File '{self.path / _DESCRIPTION}': meta.{name} is {str(value)[:60]}; expected a "
                f"{kind.__name__}. Take that step's folder away to go on with an earlier one."
            )
        return value


class CheckpointStore:
    """The checkpoints of one run; one process writes, any may read.

    run: its identity; a checkpoint of another one is as good as damaged.
    saved: called after each save.
    """

    def __init__(
        self, folder: Path, run: str, keep: int = 3, saved: Callable[[], None] = lambda: None
    ) -> None:
        if keep < 1:
            raise CheckpointError(f"keep is {keep}; expected at least 1. Keep one or more.")
        self.folder = Path(folder).absolute()
        self.run, self.keep, self._saved = run, keep, saved

    def save(
        self,
        step: int,
        write: Callable[[Path], object],
        meta: Mapping[str, Any] | None = None,
        cost: float | None = None,
    ) -> Path:
        """Save what ``write(empty_folder)`` leaves behind; when this returns, it is on the disk.

        cost: of these models on validation, where they were validated.

        A checkpoint of the same step gives way. Older ones are pruned: the newest ``keep`` that
        verify and the best one stay. Raises CheckpointError when the disk refuses; what ``write``
        raises passes through; the earlier checkpoints are untouched either way.
        """
        if step < 0:
            raise CheckpointError(f"Checkpoint step is {step}; expected an integer >= 0.")
        try:
            description = json.dumps(
                {"run": self.run, "step": step, "time": time.time(), "cost": cost,
                 "meta": dict(meta or {})}
            )  # fmt: skip
        except (TypeError, ValueError) as problem:
            raise CheckpointError(
                f"Checkpoint of step {step}: meta is not plain JSON ({problem}). Convert it."
            ) from problem

        def fill(temporary: Path) -> None:
            (temporary / "state").mkdir()
            write(temporary / "state")
            (temporary / _DESCRIPTION).write_text(description, encoding="utf-8")

        path = self._path(step)
        self._recover()
        write_folder(path, fill, replace=True, error=CheckpointError)
        self._prune(step)
        self._saved()
        return path

    def latest_good(self) -> Checkpoint | None:
        """The newest checkpoint that verifies, each bad one passed over with a warning.

        None where none was saved yet; CheckpointError where there are some and none verifies.
        """
        good = next(self._good(), None)
        if good is None and (steps := self._steps()):
            raise CheckpointError(
                f"None of the {len(steps)} checkpoints in '{self.folder}' can be used, see the "
                "warnings; expected one that verifies. Bring back a copy of one, or begin a new "
                "run in another folder."
            )
        return good

    def best(self) -> Checkpoint | None:
        """The checkpoint of the lowest cost among those that verify; None where none was validated.

        Each bad one passed over is a warning.
        """
        return _best(self._good())

    def after(self, step: int) -> list[Checkpoint]:
        """The checkpoints of later steps that verify, oldest first."""
        return [good for good in self._good() if good.step > step][::-1]

    def _good(self) -> Iterator[Checkpoint]:
        """Yield what verifies, newest first."""
        self._recover()
        for step in sorted(self._steps(), reverse=True):
            try:
                yield self.load(step)
            except CheckpointError as problem:
                _log.warning("Checkpoint of step %d passed over: %s", step, problem)

    def load(self, step: int) -> Checkpoint:
        """The checkpoint of that step, verified; CheckpointError names the bad file."""
        path = self._path(step)
        verify_folder(path, error=CheckpointError)
        try:
            description = json.loads((path / _DESCRIPTION).read_text(encoding="utf-8"))
            if "run" not in description:
                raise CheckpointError(
                    f"Folder '{path}' was written by an earlier version of Echelon, which can't be "
                    "gone on with; begin a new run (start=RUN begins with the policy of one)."
                )
            run, saved_step = description["run"], description["step"]
            cost, meta = description["cost"], dict(description["meta"])
            if cost is not None and type(cost) not in (int, float):
                raise TypeError(f"cost is {cost!r}")
        except CheckpointError:
            raise
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
            raise CheckpointError(
                f"File '{path / _DESCRIPTION}' can't be read: {problem!r}. Use another checkpoint."
            ) from problem
        if run != self.run:
            raise CheckpointError(
                f"Folder '{path}' holds a checkpoint of another run, {run}; expected one of "
                f"{self.run}. Put it back to where it belongs."
            )
        if saved_step != step:
            raise CheckpointError(
                f"Folder '{path}' holds the checkpoint of step {saved_step}; expected step {step}. "
                "Give the folder its own name back."
            )
        return Checkpoint(step, path, meta, cost)

    def _prune(self, saved: int) -> None:
        """Remove what is older than the newest ``keep`` good ones; what doesn't verify stays."""
        good = list(self._good())
        best = _best(good)
        for checkpoint in good[self.keep :]:
            if checkpoint is not best and checkpoint.step != saved:
                shutil.rmtree(checkpoint.path, ignore_errors=True)

    def _path(self, step: int) -> Path:
        return self.folder / f"step_{step:09d}"

    def _steps(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        names = (path.name.removeprefix("step_") for path in self.folder.glob("step_*"))
        return [int(name) for name in names if name.isdigit()]

    def _recover(self) -> None:
        """Clear or put back what killed writers left, for any step."""
        if self.folder.is_dir():
            for leftover in list(self.folder.glob(".step_*")):
                recover_folder(self.folder / leftover.name.split(".")[1])


def _best(checkpoints: Iterable[Checkpoint]) -> Checkpoint | None:
    """The one of the lowest cost, the first of equal ones."""
    costs = [(c.cost, c.step, c) for c in checkpoints if c.cost is not None]
    return min(costs, key=lambda one: one[:2])[2] if costs else None
