"""What is written down while a sweep runs: curves, the log of trials, a child run per trial."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray.tune import Callback

from evaluation.progress import Progress
from evaluation.tracking.tracker import Tracker
from training.studies.sweep import State, Trial, TrialLog

_log = logging.getLogger(__name__)


class TrialRecorder(Callback):
    """Called by Tune with what happens to trials."""

    def __init__(
        self,
        folder: Path,
        tracker: Tracker,
        progress: Progress,
        arguments: Callable[[int], list[str]],
        end: tuple[str, float],
        saved: Callable[[], None] = lambda: None,
    ) -> None:
        """end: the value of a result (iteration, seconds) at which a training is over.

        saved: called after each trial.
        """
        self.folder, self._saved = folder, saved
        self._log = TrialLog(folder / "trials.jsonl")
        self._tracker, self._progress = tracker, progress
        self._arguments, self._end_of_training = arguments, end
        self._curves: dict[int, list[tuple[float, float]]] = {}
        self._ends: dict[int, tuple[State, str]] = {}  # number -> state, and why

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune keeps a copy for its own resumption, which doesn't need the log."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A validation, or the end; either has the whole curve, as a trial may begin anew."""
        number, (unit, most) = int(trial.config["trial"]), self._end_of_training
        self._curves[number] = [(float(s), float(cost)) for _, s, cost in result["curve"]]
        if result["ended"]:
            self._ends[number] = result["ended"], result["why"]
            return
        if result[unit] >= most:  # ASHA may judge it there, and stop what is over
            self._ends[number] = "finished", ""
        best = min(cost for points in self._curves.values() for _, cost in points)
        self._progress.update(
            len(self._log.read()),
            f"trial {number}, {result['seconds']:.0f} s: {result['cost']:.5g}, best {best:.5g}",
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It ended by itself, or ASHA stopped it."""
        number = int(trial.config["trial"])
        self._end(number, *self._ends.get(number, ("stopped early", "")))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its process is lost; Tune starts it anew."""
        _log.warning(
            "Trial %s was lost (%s): it goes on from its last checkpoint where there is room.",
            trial.config["trial"], _last_error(trial),
        )  # fmt: skip

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its process was lost too often."""
        self._end(int(trial.config["trial"]), "failed", _last_error(trial))

    def _end(self, number: int, state: State, why: str = "") -> None:
        curve = tuple(self._curves.get(number, ()))
        trial = Trial(number, tuple(self._arguments(number)), state, curve, why)
        self._log.append(asdict(trial))
        child = self._tracker.child(f"trial_{number:03d}")
        child.start(
            f"trial {number}",
            params=dict(argument.split("=", 1) for argument in trial.arguments),
            tags={"command": "sweep", "state": state, "why": why},
        )
        for step, (seconds, cost) in enumerate(curve):
            child.log_metrics(
                step, {"validation/cost_per_period": cost, "time/train_seconds": seconds}
            )
        child.finish("FAILED" if state == "failed" else "FINISHED")
        self._progress.update(len(self._log.read()), f"trial {number}: {state}")
        self._saved()


def _last_error(trial: Any) -> str:
    """The last line of what Ray said."""
    lines = Path(trial.error_file).read_text(encoding="utf-8").strip().splitlines()
    return lines[-1].strip()[:300]
