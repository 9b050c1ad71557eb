"""Compare policies on common traces: means, paired differences, 95 % intervals.

Where demand is drawn, traces are independent and the interval is over traces. Where real demand is
replayed there is one history: every trace sees the same demand, so the interval is over weeks
(blocks of 7 periods, averaged over traces), which is wider and shows how much the weeks vary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy import stats

from envs.kpis.pairs import EpisodeKpis
from envs.scenario import Scenario
from envs.types import Floats
from evaluation.comparison.rollout import Competitor, batches, play_batch
from evaluation.progress import SILENT, Progress
from evaluation.tasks import Task
from evaluation.workers import IN_PROCESS, Workers, results

_BLOCK = 7  # periods
_EQUAL_SERVICE = 0.005  # of the fill rate: less than so much lower is as good


@dataclass(frozen=True)
class Estimate:
    """A mean and the half-width of its 95 % interval, from `samples` independent values."""

    mean: float
    half_width: float
    samples: int

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end."""
        return (self.mean - self.half_width, self.mean + self.half_width)

    def as_dict(self) -> dict[str, Any]:
        """Plain data; an interval that one sample can't give is null."""
        known = np.isfinite(self.half_width)
        return {"mean": self.mean, "ci95": list(self.interval) if known else None}


def estimate(samples: Floats) -> Estimate:
    """Mean and Student's 95 % interval of independent samples; one sample has no interval."""
    if samples.size < 2:
        return Estimate(float(samples.mean()), float("inf"), samples.size)
    error = float(samples.std(ddof=1)) / np.sqrt(samples.size)
    return Estimate(
        float(samples.mean()), float(stats.t.ppf(0.975, samples.size - 1)) * error, samples.size
    )


@dataclass(frozen=True, eq=False)
class Evaluated:
    """One policy's results."""

    competitor: Competitor
    kpis: EpisodeKpis
    cost: Estimate  # currency per period
    difference: Estimate | None  # to the reference policy, paired; None: it is the reference
    relative: float | None  # the difference / the reference's cost
    service: float = 0.0  # fill rate - the reference's

    @property
    def verdict(self) -> str | None:
        """None for the reference. Better is only who serves as well: cheaper, who doesn't."""
        if self.difference is None:
            return None
        word = verdict(self.difference)
        is_cheaper = word == "better" and self.service < -_EQUAL_SERVICE
        return "cheaper, less service" if is_cheaper else word


@dataclass(frozen=True, eq=False)
class Comparison:
    """All policies on the same traces; the first is the reference. unit: what samples are."""

    scenario: Scenario
    policies: tuple[Evaluated, ...]
    seed: int
    traces: int
    split: str
    unit: str


def compare(
    scenario: Scenario,
    competitors: Sequence[Competitor],
    *,
    traces: int,
    seed: int,
    split: str = "test",
    workers: Workers = IN_PROCESS,
    progress: Progress = SILENT,
) -> Comparison:
    """Play every competitor on the same traces; a task is a competitor's batch of them."""

    def batch(competitor: Competitor, first: int, size: int, _: Progress) -> EpisodeKpis:
        seen = competitor.sees or scenario
        policy, correction = competitor.build(seen), competitor.correction
        return play_batch(seen, policy, correction, first=first, size=size, seed=seed, split=split)

    parted = batches(scenario, traces)
    tasks = [Task(c.name, partial(batch, c, *part)) for c in competitors for part in parted]
    parts = results(workers, f"play {traces} traces ({split})", tasks, progress)
    played = [
        EpisodeKpis.join(parts[i * len(parted) : (i + 1) * len(parted)])
        for i in range(len(competitors))
    ]
    samples = [independent_samples(scenario, result.cost) for result in played]
    evaluated = []
    for i, (competitor, result) in enumerate(zip(competitors, played, strict=True)):
        cost = estimate(samples[i])
        difference = None if i == 0 else estimate(samples[i] - samples[0])
        relative = None if difference is None else difference.mean / abs(float(samples[0].mean()))
        service = result.summary()["fill_rate"] - played[0].summary()["fill_rate"]
        evaluated.append(Evaluated(competitor, result, cost, difference, relative, service))
    unit = "traces" if scenario.splits is None else f"weeks of {_BLOCK} periods"
    return Comparison(scenario, tuple(evaluated), seed, traces, split, unit)


def independent_samples(scenario: Scenario, cost: Floats) -> Floats:
    """Costs [T, B] -> cost per period of each trace; of each full week where one history is
    replayed: weeks are nearer to independent than days."""
    if scenario.splits is None:
        return cost.mean(axis=0)
    per_period = cost.mean(axis=1)
    weeks = per_period.size // _BLOCK
    if weeks < 2:
        return per_period
    return per_period[: weeks * _BLOCK].reshape(weeks, _BLOCK).mean(axis=1)


def costs_of(comparison: Comparison) -> dict[str, float]:
    """Return the mean cost of each policy [currency per period]."""
    return {e.competitor.name: e.cost.mean for e in comparison.policies}


def difference_of(evaluated: Evaluated) -> dict[str, float]:
    """Return the paired difference to the reference and its 95 % interval [currency per period];
    empty for the reference, and where one sample gives no interval."""
    difference = evaluated.difference
    if difference is None or not np.isfinite(difference.half_width):
        return {}
    low, high = difference.interval
    return {"difference": difference.mean, "difference_low": low, "difference_high": high}


def verdicts_of(comparison: Comparison) -> dict[str, str]:
    """Return `verdict.NAME` of each policy that has one: see `Evaluated.verdict`."""
    return {
        f"verdict.{e.competitor.name}": e.verdict
        for e in comparison.policies
        if e.verdict is not None
    }


def verdict(difference: Estimate) -> str:
    """Say in one word what a paired cost difference shows: better, worse or tie."""
    low, high = difference.interval
    if high < 0:
        return "better"
    return "worse" if low > 0 else "tie"
