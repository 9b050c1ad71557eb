"""What is written down while a sweep runs: curves, the log of trials, a child run per trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray.tune import Callback

from evaluation.progress import Progress
from evaluation.tracking.tracker import Tracker
from training.studies.sweep import State, Trial, TrialLog


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
        self._saved = saved
        self._log = TrialLog(folder / "trials.jsonl")
        self._tracker, self._progress = tracker, progress
        self._arguments, self._end_of_training = arguments, end
        self._curves: dict[int, list[tuple[float, float]]] = {}
        self._complete: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune keeps a copy for its own resumption, which doesn't need the log."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A validation, or the end."""
        number, (unit, most) = int(trial.config["trial"]), self._end_of_training
        if result.get("ended"):
            self._complete.add(number)
            return
        if result[unit] >= most:  # ASHA may judge it there, and stop what is over
            self._complete.add(number)
        curve = self._curves.setdefault(number, [])
        curve.append((float(result["seconds"]), float(result["cost"])))
        best = min(cost for points in self._curves.values() for _, cost in points)
        self._progress.update(
            len(self._log.read()),
            f"trial {number}, {result['seconds']:.0f} s: {result['cost']:.5g}, best {best:.5g}",
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It ended by itself, or ASHA stopped it."""
        number = int(trial.config["trial"])
        self._end(number, "finished" if number in self._complete else "stopped early")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It raised."""
        lines = str(trial.get_error() or "unknown").strip().splitlines()
        self._end(int(trial.config["trial"]), "failed", lines[-1][:300])

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
