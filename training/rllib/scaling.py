"""What remote runners do with the time of an iteration.

Of an iteration of T seconds, n runners were asked for A seconds; runner i worked on it for w_i
seconds, in c_i of which it had a core:

    scaling_efficiency     sum(c_i) / (n T): 1 of a runner that plays without a pause
    waiting_share          (n max(w_i) - sum(w_i)) / (n T): for the slowest runner
    communication_share    (A - max(w_i)) / T: requests, models, slopes and samples on their way
    learning_share         (T - A) / T: the learner's step, and bookkeeping

What is left to 1, sum(w_i - c_i) / (n T), is that others had the cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Spent(NamedTuple):
    """What a runner took for what it was asked."""

    wall: float  # seconds
    cpu: float  # seconds of the processor, all threads together


class IterationTimes:
    """Of one iteration."""

    def __init__(self) -> None:
        self._runners = 0  # that were asked at once
        self._asked = 0.0  # seconds in which runners played, and their answers came
        self._slowest = 0.0  # seconds of the slowest runner, round by round
        self._waiting = 0.0  # runner seconds
        self._working = 0.0  # runner seconds with a core

    def note_round(self, runners: int, seconds: float, spent: Mapping[int, Spent]) -> None:
        """So many runners were asked at once, and these answered."""
        self._runners = max(self._runners, runners)
        self._asked += seconds
        walls = [one.wall for one in spent.values()]
        slowest = max(walls, default=0.0)
        self._slowest += slowest
        self._waiting += runners * slowest - sum(walls)
        self._working += sum(min(one.cpu, one.wall) for one in spent.values())

    def note_fetched(self, seconds: float) -> None:
        """An answer lay with its runner, and was fetched."""
        self._asked += seconds

    def shares(self, seconds: float) -> dict[str, float]:
        """Of an iteration of so many seconds; empty where no runner was asked anything."""
        if not self._runners or seconds <= 0.0:
            return {}
        return {
            "scaling_efficiency": self._working / (self._runners * seconds),
            "waiting_share": self._waiting / (self._runners * seconds),
            "communication_share": max(0.0, self._asked - self._slowest) / seconds,
            "learning_share": max(0.0, seconds - self._asked) / seconds,
        }
