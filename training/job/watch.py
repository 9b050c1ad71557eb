"""What is seen of a training while it runs, wherever that is: tracking, and Ray's metrics."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from ray.util.metrics import Gauge

from training.job.account import in_one_line

# Behind the ray_ that Ray puts before: name -> metric of the run, and what it says.
_GAUGES = {
    "echelon_iteration": ("time/iteration", "Iterations that are done."),
    "echelon_rows_per_second": ("sampling/rows_per_second", "Node, SKU and period, simulated."),
    "echelon_runners": ("cluster/runners", "Runners that are alive."),
    "echelon_scaling_efficiency": (
        "cluster/scaling_efficiency",
        "Share of the runners' time in which they play.",
    ),
    "echelon_effective_share": ("time/effective_share", "Share of the time that was learned in."),
}


class Watch:
    """Called with the numbers of every iteration.

    run: its name, which tells gauges of several trainings apart. rows: (node, SKU) pairs. log:
    called with the same numbers and rows simulated per second.
    """

    def __init__(
        self, run: str, rows: int, log: Callable[[int, Mapping[str, float]], None]
    ) -> None:
        self._run, self._rows, self._log = run, rows, log
        self._before: tuple[float, float] | None = None  # periods and seconds
        self._last: dict[str, float] = {}
        self._efficiency, self._counted = 0.0, 0
        self._gauges: dict[str, Gauge] = {}

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Pass the numbers on; to Ray where a cluster was joined, which alone shows them."""
        values = {**values, **self._speed(values)}
        self._log(step, values)
        self._last |= values
        if "cluster/scaling_efficiency" in values:
            self._efficiency += values["cluster/scaling_efficiency"]
            self._counted += 1
        if not os.environ.get("RAY_ADDRESS"):
            return
        for name, (key, description) in _GAUGES.items():
            if key in values:
                if name not in self._gauges:
                    self._gauges[name] = Gauge(name, description, tag_keys=("run",))
                self._gauges[name].set(values[key], tags={"run": self._run})

    def _speed(self, values: Mapping[str, float]) -> dict[str, float]:
        periods = values.get("sampling/num_env_steps_sampled_lifetime")
        seconds = values.get("time/train_seconds")
        if periods is None or seconds is None:
            return {}
        before, self._before = self._before, (periods, seconds)
        if before is None or seconds <= before[1]:
            return {}
        speed = self._rows * (periods - before[0]) / (seconds - before[1])
        return {"sampling/rows_per_second": speed}

    @property
    def summary(self) -> str:
        """What the training took, in one line; '' where it learned nothing."""
        mean = {"cluster/scaling_efficiency": self._efficiency / max(1, self._counted)}
        return in_one_line(self._last | (mean if self._counted else {}))
