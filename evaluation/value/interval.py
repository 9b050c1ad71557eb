"""The interval of a mean over training seeds and common traces, two sources of chance at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.types import Floats
from evaluation.comparison.compare import Estimate, estimate


@dataclass(frozen=True)
class Crossed:
    """A mean over seeds and traces."""

    both: Estimate  # with its 95 % interval over seeds and traces
    traces: Estimate  # of the seeds at hand: its interval says nothing of other seeds
    seeds: tuple[float, ...]  # the mean of every seed

    @property
    def seed_sd(self) -> float:
        """Standard deviation between the seeds' means; 0 for one seed."""
        return float(np.std(self.seeds, ddof=1)) if len(self.seeds) > 1 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **self.both.as_dict(),
            "ci95_traces": self.traces.as_dict()["ci95"],
            "seeds": list(self.seeds),
            "seed_sd": self.seed_sd,
        }


def crossed(differences: Floats) -> Crossed:
    """Return the mean of paired differences [S seeds, n traces] and its intervals.

    Every seed is played on the same traces: a two-way crossed layout with random rows and columns,
    difference[s, t] = mean + seed[s] + trace[t] + rest[s, t]. The mean's variance is

        var(seed) / S + var(trace) / n + var(rest) / (S n).

    The variance of the row means / S and that of the column means / n estimate it, the last term
    counted twice. Each has its own few degrees of freedom, so each is widened by its own Student
    quantile t: half-width^2 = t(S - 1)^2 var(rows) / S + t(n - 1)^2 var(columns) / n, which covers
    the mean at least as often as it says (Banerjee 1960, Sankhya 22, 331-358). The layout: Searle,
    Casella and McCulloch (1992), Variance Components, section 4.3. With one seed nothing is known
    of others: the interval is then over traces alone, and speaks of that one trained policy.
    """
    rows, columns = differences.mean(axis=1), differences.mean(axis=0)
    over_seeds, over_traces = estimate(rows), estimate(columns)
    seeds = tuple(float(x) for x in rows)
    if len(rows) < 2:
        return Crossed(over_traces, over_traces, seeds)
    half_width = math.hypot(over_seeds.half_width, over_traces.half_width)
    return Crossed(Estimate(over_traces.mean, half_width, columns.size), over_traces, seeds)
