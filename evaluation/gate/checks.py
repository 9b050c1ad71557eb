"""The checks: each a figure, a verdict and a reason, from one paired comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from envs.scenario import Scenario
from envs.types import Floats
from evaluation.comparison.compare import Comparison, Evaluated, estimate
from evaluation.gate.config import GateConfig
from evaluation.tuning.search import stock_classes

_FEWEST_FOR_TAIL = 20  # episodes
_RESAMPLES = 2_000
_ROUNDING = 1e-9


class Verdict(StrEnum):
    """What a check says; only a failed one blocks."""

    passed = "pass"
    failed = "fail"
    no_evidence = "no evidence yet"


@dataclass(frozen=True)
class Check:
    """One check. figure: a share, as -0.03; None where there is none."""

    name: str
    verdict: Verdict
    figure: float | None
    reason: str


def check_all(
    comparison: Comparison, config: GateConfig, *, champion: str | None
) -> tuple[Check, ...]:
    """Return every check of the gate.

    comparison: of the reference, the version and the tuned rule, in this order. The reference is
        the present champion; without one, the rule stands first, and not again.
    champion: its version.
    """
    reference, version, rule = (comparison.policies * 2)[:3]  # two: the rule is the first again
    against = "the tuned rule" if champion is None else f"version {champion}"
    groups = _groups(comparison.scenario)
    return (
        _cost(version, reference, against, None if champion else config.tie_margin),
        _service(version, rule, groups, config),
        _segments(version, reference, groups, champion, config),
        _tail(version, reference, against),
        *(Check(name, Verdict.no_evidence, None, reason) for name, reason in _LATER),
    )


_LATER = (
    ("backtest", "it needs a backtest on the last weeks of real demand"),
    ("stress", "it needs the stress library: survival times under failures"),
    ("limits", "no limits on planners' load and nervousness are set"),
    ("shadow", "it needs logs of proposals made beside the champion's"),
    ("canary", "it needs logs of a part of the items"),
)


def _cost(
    version: Evaluated, reference: Evaluated, against: str, tie_margin: float | None
) -> Check:
    """By the paired 95 % interval. tie_margin: of the first version; None: of all that follow."""
    difference, mean = version.difference, reference.cost.mean
    assert difference is not None
    size = abs(mean) or 1.0
    low, high = (end / size for end in difference.interval)
    limit = 0.0 if tie_margin is None else tie_margin
    good = high < 0.0 if tie_margin is None else high <= limit
    wanted = "it must lie below 0" if tie_margin is None else f"it must end by {limit:+.2%}"
    return Check(
        "cost",
        Verdict.passed if good else Verdict.failed,
        difference.mean / size,
        f"95 % interval {low:+.2%} to {high:+.2%} of the cost of {against}, {mean:.5g}: {wanted}",
    )


def _service(
    version: Evaluated, rule: Evaluated, groups: NDArray[np.str_], config: GateConfig
) -> Check:
    """The group of class A that misses its target most."""
    target, worst, where = config.target_fill_rate, np.inf, ""
    for group in dict.fromkeys(groups):
        if group.endswith("/A"):
            rows = groups == group
            wanted = _fill_rate(rule, rows) if target is None else target
            got = _fill_rate(version, rows)
            if got - wanted < worst:
                worst, where = got - wanted, f"{group}: {got:.2%}, target {wanted:.2%}"
    if not where:
        return Check("service", Verdict.no_evidence, None, "no customers ask for anything")
    by = "" if target is not None else ", what the tuned rule reaches"
    return Check(
        "service",
        Verdict.passed if worst >= -config.service_margin - _ROUNDING else Verdict.failed,
        float(worst),
        f"fill rate of {where}{by}: it may be missed by {config.service_margin:.2%}",
    )


def _segments(
    version: Evaluated, reference: Evaluated, groups: NDArray[np.str_], champion: str | None,
    config: GateConfig,
) -> Check:  # fmt: skip
    """The group whose fill rate loses most. Fails where more is lost than is permitted, and that
    is no chance of the traces. A first version has no champion to lose to."""
    worst, where, certain = np.inf, "", False
    for group in dict.fromkeys(groups):
        rows = groups == group
        before = _fill_rate(reference, rows)
        if before > 0.0 and (lost := _fill_rate(version, rows) / before - 1.0) < worst:
            worst, where = lost, str(group)
            change = version.kpis.pair_sold[rows] - reference.kpis.pair_sold[rows]
            certain = estimate(change.sum(axis=0)).interval[1] < 0.0
    if not where:
        return Check("segments", Verdict.no_evidence, None, "no customers ask for anything")
    beside = f"fill rate of {where} beside"
    if champion is None:
        reason = f"{beside} the tuned rule's: only a champion's is held against it"
        return Check("segments", Verdict.no_evidence, float(worst), reason)
    fails = worst < -config.segment_margin - _ROUNDING and certain
    return Check(
        "segments",
        Verdict.failed if fails else Verdict.passed,
        float(worst),
        f"{beside} version {champion}'s: it may lose {config.segment_margin:.2%}",
    )


def _tail(version: Evaluated, reference: Evaluated, against: str) -> Check:
    """CVaR: mean cost of the worst tenth of the episodes; its interval by resampling episodes."""
    ours, theirs = (e.kpis.cost.mean(axis=0) for e in (version, reference))
    if ours.size < _FEWEST_FOR_TAIL:
        return Check(
            "tail", Verdict.no_evidence, None,
            f"{ours.size} episodes have no worst tenth to speak of: gate.traces >= "
            f"{_FEWEST_FOR_TAIL}",
        )  # fmt: skip
    draws = np.random.default_rng(0).integers(ours.size, size=(_RESAMPLES, ours.size))
    changes = _worst_tenth(ours[draws]) - _worst_tenth(theirs[draws])
    base = float(_worst_tenth(theirs[None])[0])
    size = abs(base) or 1.0
    low, high = (float(end) / size for end in np.quantile(changes, (0.025, 0.975)))
    figure = (float(_worst_tenth(ours[None])[0]) - base) / size
    return Check(
        "tail",
        Verdict.failed if low > 0.0 else Verdict.passed,
        figure,
        f"95 % interval {low:+.2%} to {high:+.2%} of the mean cost of the worst tenth of episodes "
        f"of {against}, {base:.5g}: it must not lie above 0",
    )


def _worst_tenth(cost: Floats) -> Floats:
    """[N, B] -> [N]."""
    count = max(1, round(0.1 * cost.shape[1]))
    worst: Floats = np.sort(cost, axis=1)[:, -count:].mean(axis=1)
    return worst


def _groups(scenario: Scenario) -> NDArray[np.str_]:
    """[D] node kind and class A, B or C of every customer-facing pair."""
    return stock_classes(scenario, "abc")[scenario.compiled.customer_pair]


def _fill_rate(evaluated: Evaluated, rows: NDArray[np.bool_]) -> float:
    """Units served at once / units demanded, of these pairs; 1 where nothing is asked for."""
    demand = float(evaluated.kpis.pair_demand[rows].sum())
    return float(evaluated.kpis.pair_sold[rows].sum()) / demand if demand else 1.0


def failed(checks: Sequence[Check]) -> list[str]:
    """Return the names of those that failed."""
    return [check.name for check in checks if check.verdict is Verdict.failed]
