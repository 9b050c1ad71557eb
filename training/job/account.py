"""What a training takes: time, nodes and money, over all its interruptions."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

import ray


def nodes_and_gpus() -> tuple[int, float]:
    """Return how many nodes of Ray are alive, and their GPUs; this machine alone without a
    cluster."""
    if not (os.environ.get("RAY_ADDRESS") and ray.is_initialized()):
        return 1, 0.0
    alive = [node for node in ray.nodes() if node["Alive"]]
    return max(1, len(alive)), sum(node["Resources"].get("GPU", 0.0) for node in alive)


class Account:
    """Counts from when it is made; `go_on` adds what an interrupted training had counted.

    price_per_hour: currency per node. most: currency; None: no limit. nodes: see
    `nodes_and_gpus`. clock: seconds.
    """

    def __init__(
        self,
        price_per_hour: float,
        most: float | None,
        nodes: Callable[[], tuple[int, float]] = nodes_and_gpus,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._price_per_hour, self._most = price_per_hour, most
        self._nodes_of_now, self._clock = nodes, clock
        self._begun = self._last = clock()
        self._wall = self._node_seconds = 0.0
        self._nodes, self._gpus = 1, 0.0
        self._first: float | None = None  # seconds until the first iteration was done
        self._start: float | None = None  # seconds before anything was learned

    def go_on(self, kept: Mapping[str, float]) -> None:
        """Add what `kept` gave; once, by the process that resumes."""
        self._wall += float(kept["wall"])
        self._node_seconds += float(kept["node_seconds"])
        self._start = kept.get("start")

    @property
    def kept(self) -> dict[str, float]:
        """What a checkpoint holds of it."""
        start = {} if self._start is None else {"start": self._start}
        return {"wall": self._wall, "node_seconds": self._node_seconds, **start}

    def note(self) -> None:
        """Count up to now; after every iteration."""
        now = self._clock()
        if self._first is None:
            self._first = now - self._begun
        self._nodes, self._gpus = self._nodes_of_now()
        self._wall += now - self._last
        self._node_seconds += self._nodes * (now - self._last)
        self._last = now

    @property
    def price(self) -> float:
        """Currency, until now."""
        return self._price_per_hour * self._node_seconds / 3600.0

    @property
    def is_spent(self) -> bool:
        """Whether the price has reached its limit."""
        return self._most is not None and self.price >= self._most

    def metrics(self, learned: float) -> dict[str, float]:
        """Numbers of a run.

        learned: seconds in which what is learned now was learned; the others were needed to begin,
            or were lost to faults: waiting for what was lost, and learning once more what was not
            saved. What a process that was lost did after its last checkpoint isn't known.
        """
        if self._start is None:
            self._start = max(0.0, self._wall - learned)
        found = {
            "time/to_first_iteration_seconds": self._first or 0.0,
            "time/lost_seconds": max(0.0, self._wall - self._start - learned),
            "time/effective_share": learned / self._wall if self._wall > 0.0 else 1.0,
            "cluster/nodes": float(self._nodes),
            "cluster/gpus": self._gpus,
            "cluster/node_hours": self._node_seconds / 3600.0,
        }
        return found | ({"cluster/price": self.price} if self._price_per_hour else {})


def in_one_line(metrics: Mapping[str, float]) -> str:
    """Return what a training took, from its metrics; '' where it learned nothing."""
    if "cluster/node_hours" not in metrics:
        return ""
    text = _counted(metrics["cluster/nodes"], "node")
    if metrics["cluster/gpus"]:
        text += f", {_counted(metrics['cluster/gpus'], 'GPU')}"
    if "cluster/runners" in metrics:
        text += f", {_counted(metrics['cluster/runners'], 'runner')}"
    if "cluster/scaling_efficiency" in metrics:
        text += f" (scaling efficiency {metrics['cluster/scaling_efficiency']:.0%})"
    text += (
        f": first iteration after {metrics['time/to_first_iteration_seconds']:.0f} s, "
        f"{metrics['time/effective_share']:.0%} of the time learned, "
        f"{metrics['time/lost_seconds']:.0f} s lost to faults, "
        f"{metrics['cluster/node_hours']:.2g} node-hours"
    )
    if "cluster/price" in metrics:
        text += f", price {metrics['cluster/price']:.2f}"
    return f"{text}."


def _counted(number: float, what: str) -> str:
    return f"{number:g} {what}{'s' * (number != 1)}"
