"""The judgement on a scenario, from numbers small enough to work out by hand."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from evaluation.optima.bound import Bound, BoundKind
from evaluation.value.measure import Played
from evaluation.value.verdict import Judgement, Prices, TrainedSeed, Verdict, judge

PRICES = Prices(compute=0.36, service_tolerance=0.005)
RULE = np.array([10.0, 12.0, 8.0, 10.0])


def played(costs: np.ndarray, fill_rate: float = 0.95) -> Played:
    """A policy with these costs on four traces of 100 units demanded; two node kinds."""
    cost = tuple(float(x) for x in costs)
    mean = float(costs.mean())
    return Played(
        trace_cost=cost,
        samples=cost,
        sold=(100.0 * fill_rate,) * len(cost),
        demand=(100.0,) * len(cost),
        segments={"node kind store": 0.75 * mean, "node kind warehouse": 0.25 * mean},
        kpis={"fill_rate": fill_rate},
    )


def seed(number: int, costs: np.ndarray, fill_rate: float = 0.95) -> TrainedSeed:
    """A training of 1,000 CPU seconds, so of 0.10 currency."""
    return TrainedSeed(number, played(costs, fill_rate), 1000.0, 1e6, 100, 60)


def judged(
    learned: list[np.ndarray], bound: Bound | None = None, fill_rate: float = 0.95
) -> Judgement:
    """The rule against these policies."""
    seeds = [seed(i, costs, fill_rate) for i, costs in enumerate(learned)]
    return judge(
        played(RULE), seeds, bound, bound_traces=2, period_name="day", prices=PRICES
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        pytest.param(-1.0, Verdict.use_learning, id="cheaper on every trace"),
        pytest.param(1.0, Verdict.rule_better, id="dearer on every trace"),
        pytest.param(0.0, Verdict.tie, id="the rule itself"),
    ],
)
def test_the_verdict_follows_the_interval(change: float, verdict: Verdict) -> None:
    """Three seeds, almost alike."""
    noise = np.array([0.01, -0.01, 0.02, -0.02]) * (change != 0.0)
    result = judged([RULE + change + noise, RULE + change - noise, RULE + change])
    assert result.verdict is verdict
    assert result.saving.both.mean == pytest.approx(-change, abs=1e-9)
    assert result.relative == pytest.approx(-change / 10.0, abs=1e-9)


def test_seeds_that_disagree_are_a_tie() -> None:
    """One training saves 2, another costs 2: their mean is no promise, however many traces."""
    assert judged([RULE - 2.0, RULE + 1.0]).verdict is Verdict.tie


def test_the_captured_share_is_of_what_the_bound_leaves() -> None:
    """Rule 10, learned 9, optimum 8: half is captured."""
    result = judged([RULE - 1.0, RULE - 1.0], Bound(8.0, BoundKind.exact, "by hand"))
    assert result.headroom == pytest.approx(2.0)
    assert result.captured is not None
    assert result.captured == pytest.approx((0.5, 0.5, 0.5))


def test_a_simulated_bound_is_compared_on_its_own_traces() -> None:
    """The bound is of the first two traces, where the rule costs 11: the headroom is 11 - 8."""
    bound = Bound(8.0, BoundKind.bound, "hindsight", half_width=0.5)
    assert judged([RULE - 1.0], bound).headroom == pytest.approx(3.0)


@pytest.mark.parametrize("cost", [10.0, 10.5, 9.995])
def test_where_the_rule_is_optimal_there_is_no_share(cost: float) -> None:
    """A long-run optimum may lie above the mean of a few traces; dividing by that means nothing."""
    assert judged([RULE - 1.0], Bound(cost, BoundKind.exact, "by hand")).captured is None


def test_poorer_service_is_marked() -> None:
    """0.95 against 0.94 is a point lower, tolerated is half a point; 0.946 passes."""
    worse = judged([RULE - 1.0, RULE - 1.0], fill_rate=0.94)
    assert not worse.equal_service
    assert worse.fill_rate.both.mean == pytest.approx(-0.01)
    assert judged([RULE - 1.0, RULE - 1.0], fill_rate=0.946).equal_service
    assert judged([RULE - 1.0, RULE - 1.0], fill_rate=0.99).equal_service


def test_break_even() -> None:
    """A training costs 1,000 / 3,600 h x 0.36 = 0.10; a saving of 0.01 a day pays it in 10 days."""
    even = judged([RULE - 0.01, RULE - 0.01]).break_even
    assert even is not None
    assert even.compute_cost == pytest.approx(0.1)
    assert even.periods == pytest.approx(10.0)
    assert even.years == pytest.approx(10.0 / 365.0)


def test_what_saves_nothing_never_pays() -> None:
    """And its JSON holds no infinity."""
    result = judged([RULE + 1.0, RULE + 1.0])
    assert result.break_even is not None
    assert math.isinf(result.break_even.periods)
    plain = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert plain["break_even"]["periods"] is None


def test_unknown_training_cost_gives_no_break_even() -> None:
    """A policy trained elsewhere."""
    one = dataclasses.replace(seed(0, RULE - 1.0), cpu_seconds=None)
    result = judge(played(RULE), [one], None, bound_traces=2, period_name="day", prices=PRICES)
    assert result.break_even is None


def test_segments_add_up_and_have_their_own_verdict() -> None:
    """Savings of 1 in all, three quarters of it in the stores, on every seed."""
    result = judged([RULE - 1.0, RULE - 1.1, RULE - 0.9])
    assert sum(s.classical - s.learned for s in result.segments) == pytest.approx(1.0)
    store = next(s for s in result.segments if s.label == "node kind store")
    assert store.classical - store.learned == pytest.approx(0.75)
    assert store.verdict is Verdict.use_learning
    assert judged([RULE - 1.0]).segments[0].verdict is Verdict.tie  # one seed shows nothing
