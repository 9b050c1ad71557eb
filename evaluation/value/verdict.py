"""The judgement on one scenario: what learning saved, how sure that is, and what it cost.

Everything is computed here from the records of a study (`Record`, plain JSON on disk), so a report
can be made again without playing anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from envs.dates import PERIODS_PER_YEAR
from evaluation.comparison.compare import Estimate, estimate, verdict
from evaluation.optima.bound import Bound
from evaluation.value.interval import Crossed, crossed
from evaluation.value.measure import Played


class Verdict(StrEnum):
    """What to do, from the 95 % interval of what learning saves."""

    use_learning = "use learning"
    tie = "tie: keep the rule"
    rule_better = "rule better"


@dataclass(frozen=True)
class Prices:
    """What the report takes as given."""

    compute: float  # currency per CPU hour
    service_tolerance: float  # how much lower a fill rate may be and still be equal service


@dataclass(frozen=True)
class TrainedSeed:
    """One training: its policy on the common traces, and what it took."""

    seed: int
    played: Played
    cpu_seconds: float | None  # with validation and test; None: not known
    periods: float  # simulated for learning
    iterations: int
    best_iteration: int  # 0: none beat the rule on validation, so the correction is zero


@dataclass(frozen=True)
class Segment:
    """A part of the cost. saving: of every training seed, currency per period."""

    label: str
    classical: float
    learned: float
    seeds: tuple[float, ...]

    @property
    def verdict(self) -> Verdict:
        """By the interval over seeds, of the traces at hand; a tie with one seed."""
        return _verdict(estimate(np.array(self.seeds)))


@dataclass(frozen=True)
class BreakEven:
    """When the saving has paid for the training."""

    compute_cost: float  # currency, of one training (mean over seeds)
    periods: float  # infinite where nothing is saved
    years: float | None  # the same; None where nothing is saved

    def as_dict(self) -> dict[str, Any]:
        """Plain data; no periods where the saving never pays."""
        return {**asdict(self), "periods": self.periods if math.isfinite(self.periods) else None}


@dataclass(frozen=True)
class Judgement:
    """What learning saved on a scenario; costs in currency per period.

    captured: the saving's share of what the bound leaves to be saved, with the ends of its
        interval; None where there is no bound, or it leaves nothing.
    """

    classical: float
    learned: float
    saving: Crossed  # classical - learned, per seed and trace
    relative: float
    fill_rate: Crossed  # learned - classical
    equal_service: bool
    headroom: float | None  # what the bound leaves to be saved
    captured: tuple[float, float, float] | None
    break_even: BreakEven | None  # None where it isn't known what training took
    segments: tuple[Segment, ...]
    verdict: Verdict

    def as_dict(self) -> dict[str, Any]:
        """Plain data, every number finite."""
        return {
            "verdict": self.verdict.value,
            "equal_service": self.equal_service,
            "classical_cost_per_period": self.classical,
            "learned_cost_per_period": self.learned,
            "saving": self.saving.as_dict(),
            "relative_saving": self.relative,
            "fill_rate_difference": self.fill_rate.as_dict(),
            "headroom": self.headroom,
            "captured_share": None
            if self.captured is None
            else {"mean": self.captured[0], "ci95": list(self.captured[1:])},
            "break_even": None if self.break_even is None else self.break_even.as_dict(),
            "segments": [
                {
                    "segment": s.label,
                    "classical_cost_per_period": s.classical,
                    "learned_cost_per_period": s.learned,
                    "saving_of_seeds": list(s.seeds),
                    "verdict": s.verdict.value,
                }
                for s in self.segments
            ],
        }


def judge(
    classical: Played,
    seeds: Sequence[TrainedSeed],
    bound: Bound | None,
    *,
    bound_traces: int,
    period_name: str,
    prices: Prices,
) -> Judgement:
    """Weigh the best classical policy against all trainings, on the same traces.

    bound_traces: the first so many traces are those a simulated bound is the mean of: it is then
    compared with the classical cost of these, which takes most of the chance out of the headroom.
    """
    saving = crossed(np.array([np.subtract(classical.samples, s.played.samples) for s in seeds]))
    fill_rate = crossed(np.array([_fill_rate_change(classical, s.played) for s in seeds]))
    headroom = _headroom(classical, bound, bound_traces)
    return Judgement(
        classical=classical.cost,
        learned=float(np.mean([s.played.cost for s in seeds])),
        saving=saving,
        relative=saving.both.mean / abs(classical.cost) if classical.cost else 0.0,
        fill_rate=fill_rate,
        equal_service=fill_rate.both.mean >= -prices.service_tolerance,
        headroom=headroom,
        captured=_captured(saving, headroom, classical.cost),
        break_even=_break_even(saving.both.mean, seeds, period_name, prices),
        segments=_segments(classical, seeds),
        verdict=_verdict(saving.both),
    )


def _verdict(saving: Estimate) -> Verdict:
    """A saving is a negative cost difference: `compare.verdict` has the rule for those."""
    names = {"better": Verdict.rule_better, "worse": Verdict.use_learning, "tie": Verdict.tie}
    return names[verdict(saving)]


def _fill_rate_change(classical: Played, learned: Played) -> np.ndarray[Any, Any]:
    """[B] Common demand, so the mean of these is the difference of the two fill rates."""
    mean = float(np.mean(classical.demand))
    change = np.subtract(learned.sold, classical.sold)
    return change / mean if mean > 0.0 else np.zeros_like(change)


def _headroom(classical: Played, bound: Bound | None, bound_traces: int) -> float | None:
    """What the bound leaves to be saved, currency per period; None without a bound."""
    if bound is None:
        return None
    simulated = bound.half_width > 0.0
    costs = classical.trace_cost[:bound_traces] if simulated else classical.trace_cost
    return float(np.mean(costs)) - bound.cost


def _captured(
    saving: Crossed, headroom: float | None, cost: float
) -> tuple[float, float, float] | None:
    """(share, lower, upper) of the saving's interval, the headroom taken as exactly known. A
    headroom below a thousandth of the cost is none: shares of it would be noise."""
    if headroom is None or headroom <= 1e-3 * abs(cost):
        return None
    low, high = saving.both.interval
    return (saving.both.mean / headroom, low / headroom, high / headroom)


def _break_even(
    saving: float, seeds: Sequence[TrainedSeed], period_name: str, prices: Prices
) -> BreakEven | None:
    known = [s.cpu_seconds for s in seeds if s.cpu_seconds is not None]
    if len(known) < len(seeds):
        return None
    cost = float(np.mean(known)) / 3600.0 * prices.compute
    periods = cost / saving if saving > 0.0 else math.inf
    years = periods / PERIODS_PER_YEAR[period_name] if math.isfinite(periods) else None
    return BreakEven(cost, periods, years)


def _segments(classical: Played, seeds: Sequence[TrainedSeed]) -> tuple[Segment, ...]:
    segments = []
    for label, cost in classical.segments.items():
        learned = [s.played.segments.get(label, 0.0) for s in seeds]
        savings = tuple(cost - x for x in learned)
        segments.append(Segment(label, cost, float(np.mean(learned)), savings))
    return tuple(segments)
