"""Checkpoints that are never lost once acknowledged, and never loaded when damaged.

One folder per step, written whole or not at all (``evaluation.files.atomic_folder``):

    step_000000120/
      checkpoint.json   step, time, meta
      state/            whatever ``write`` put there (RLlib's ``save_to_path``: it holds pickles,
                        so only the trainer that wrote it should read it)
      SHA256SUMS
    best.json           the step marked best
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.errors import CheckpointError
from evaluation.files.atomic_folder import recover_folder, verify_folder, write_file, write_folder

_DESCRIPTION = "checkpoint.json"
_BEST = "best.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """One verified checkpoint."""

    step: int
    path: Path  # the whole folder
    meta: Mapping[str, Any]

    @property
    def state(self) -> Path:
        """The folder that ``write`` filled."""
        return self.path / "state"


class CheckpointStore:
    """The checkpoints of one run; one process writes, any may read."""

    def __init__(self, folder: Path, keep: int = 3) -> None:
        if keep < 1:
            raise CheckpointError(f"keep is {keep}; expected at least 1. Keep one or more.")
        self.folder = Path(folder).absolute()
        self.keep = keep

    def save(
        self, step: int, write: Callable[[Path], object], meta: Mapping[str, Any] | None = None
    ) -> Path:
        """Save what ``write(empty_folder)`` leaves behind; when this returns, it is on the disk.

        A checkpoint of the same step gives way. Older ones are pruned: the newest ``keep`` that
        verify and the best one stay. Raises CheckpointError when the disk refuses; what ``write``
        raises passes through; the earlier checkpoints are untouched either way.
        """
        if step < 0:
            raise CheckpointError(f"Checkpoint step is {step}; expected an integer >= 0.")
        try:
            description = json.dumps({"step": step, "time": time.time(), "meta": dict(meta or {})})
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
        return path

    def latest_good(self) -> Checkpoint | None:
        """The newest checkpoint that verifies, or None; each bad one passed over is a warning."""
        self._recover()
        for step in sorted(self._steps(), reverse=True):
            try:
                return self.load(step)
            except CheckpointError as problem:
                _log.warning("Checkpoint of step %d passed over: %s", step, problem)
        return None

    def load(self, step: int) -> Checkpoint:
        """The checkpoint of that step, verified; CheckpointError names the bad file."""
        path = self._path(step)
        verify_folder(path, error=CheckpointError)
        try:
            description = json.loads((path / _DESCRIPTION).read_text(encoding="utf-8"))
            saved_step, meta = description["step"], dict(description["meta"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
            raise CheckpointError(
                f"File '{path / _DESCRIPTION}' can't be read: {problem!r}. Use another checkpoint."
            ) from problem
        if saved_step != step:
            raise CheckpointError(
                f"Folder '{path}' holds the checkpoint of step {saved_step}; expected step {step}. "
                "Give the folder its own name back."
            )
        return Checkpoint(step, path, meta)

    def mark_best(self, step: int) -> None:
        """Keep this one whatever comes; CheckpointError if it does not verify."""
        self.load(step)
        write_file(self.folder / _BEST, json.dumps({"step": step}).encode())

    def best(self) -> Checkpoint | None:
        """The checkpoint marked best, verified; None when none was marked."""
        step = self._best_step()
        return None if step is None else self.load(step)

    def _best_step(self) -> int | None:
        path = self.folder / _BEST
        if not path.exists():
            return None
        try:
            return int(json.loads(path.read_text(encoding="utf-8"))["step"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
            raise CheckpointError(
                f"File '{path}' can't be read: {problem!r}. Remove it, or mark the best again."
            ) from problem

    def _prune(self, saved: int) -> None:
        """Remove what is older than the newest ``keep`` good ones; when in doubt, keep."""
        try:
            stay = {saved, self._best_step()}
        except CheckpointError as problem:
            _log.warning("No checkpoint was pruned: %s", problem)
            return
        good = 0
        for step in sorted(self._steps(), reverse=True):
            if good >= self.keep:
                if step not in stay:
                    shutil.rmtree(self._path(step), ignore_errors=True)
                continue
            try:
                self.load(step)
                good += 1
            except CheckpointError as problem:
                _log.warning("Checkpoint of step %d is damaged: %s", step, problem)

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
