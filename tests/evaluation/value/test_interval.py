"""The interval over seeds and traces, against cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.comparison.compare import estimate
from evaluation.value.interval import crossed


def test_one_seed_has_the_paired_interval_over_traces() -> None:
    """Nothing is known of other seeds: Student's interval of the trace differences."""
    differences = np.array([[1.0, 2.0, 4.0, 5.0]])
    result = crossed(differences)
    assert result.both == result.traces == estimate(differences[0])
    assert result.both.mean == pytest.approx(3.0)
    # sd of 1, 2, 4, 5 is sqrt(10 / 3); t(0.975, 3) = 3.182446.
    assert result.both.half_width == pytest.approx(3.182446 * np.sqrt(10 / 3 / 4), rel=1e-6)
    assert result.seed_sd == 0.0


def test_traces_that_agree_leave_the_interval_over_seeds() -> None:
    """Every trace gives a seed's mean exactly: Student's interval of the seeds' means."""
    means = np.array([1.0, 2.0, 4.0, 5.0])
    result = crossed(np.repeat(means[:, None], 50, axis=1))
    assert result.both.half_width == pytest.approx(estimate(means).half_width, rel=1e-9)
    assert result.traces.half_width == 0.0
    assert result.seeds == tuple(means)


def test_equal_seeds_leave_the_interval_over_traces() -> None:
    """Five trainings that ended in the same policy are one policy."""
    trace = np.random.default_rng(0).normal(2.0, 3.0, 40)
    result = crossed(np.repeat(trace[None, :], 5, axis=0))
    assert result.both.half_width == pytest.approx(estimate(trace).half_width, rel=1e-9)


def test_no_difference_is_known_exactly() -> None:
    """A correction of zero: the interval has no width, and no NaN comes of it."""
    result = crossed(np.zeros((5, 20)))
    assert (result.both.mean, result.both.half_width) == (0.0, 0.0)


def test_the_two_variances_add_up() -> None:
    """By hand: seed means 0 and 2 (variance 2 / 2), trace means 0, 1, 2 (variance 1 / 3), and
    Student's quantiles 12.7062 (1 degree of freedom) and 4.30265 (2)."""
    differences = np.array([[-1.0, 0.0, 1.0], [1.0, 2.0, 3.0]])
    wanted = np.sqrt(12.7062**2 * 1.0 + 4.30265**2 / 3)
    assert crossed(differences).both.half_width == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("seeds", "seed_sd", "trace_sd", "rest_sd"),
    [
        pytest.param(2, 1.0, 1.0, 1.0, id="two seeds, which dominate"),
        pytest.param(5, 1.0, 1.0, 1.0, id="five seeds, which dominate"),
        pytest.param(5, 0.0, 3.0, 1.0, id="traces alone"),
        pytest.param(5, 0.5, 3.0, 1.0, id="both"),
        pytest.param(5, 0.0, 0.0, 1.0, id="neither: the rest is counted twice, so it is wide"),
    ],
)
def test_it_covers_the_truth_as_often_as_it_says(
    seeds: int, seed_sd: float, trace_sd: float, rest_sd: float
) -> None:
    """2,000 crossed experiments with mean 1: the interval holds 1 in 95 % of them, or more."""
    rng, traces, runs = np.random.default_rng(1), 40, 2000
    hits = 0
    for _ in range(runs):
        differences = (
            1.0
            + rng.normal(0.0, 1.0, (seeds, 1)) * seed_sd
            + rng.normal(0.0, 1.0, (1, traces)) * trace_sd
            + rng.normal(0.0, 1.0, (seeds, traces)) * rest_sd
        )
        low, high = crossed(differences).both.interval
        hits += low <= 1.0 <= high
    assert hits / runs > 0.94


def test_ignoring_the_seeds_would_claim_too_much() -> None:
    """What the interval is for: seeds differ, and an interval over traces alone misses the truth
    far more often than one time in twenty."""
    rng, runs, hits = np.random.default_rng(2), 500, 0
    for _ in range(runs):
        differences = rng.normal(0.0, 1.0, (5, 1)) + rng.normal(0.0, 1.0, (5, 100))
        low, high = crossed(differences).traces.interval
        hits += low <= 0.0 <= high
    assert hits / runs < 0.5
