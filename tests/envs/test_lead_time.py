"""Lead times: the table that is drawn from, and what comes out of a trace."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from envs.errors import NetworkError
from envs.network.lead_time import LeadTime

CASES = [
    LeadTime(0, 1.0, 0.8),
    LeadTime(2, 2.0, 1.0),
    LeadTime(24, 6.0, 6.0),
    LeadTime(1, 0.3, 1.0),
]


def test_constant() -> None:
    """Without a delay every shipment takes the minimum."""
    lead_time = LeadTime(3)
    assert lead_time.constant
    assert (lead_time.maximum, lead_time.mean(), lead_time.sd()) == (3, 3.0, 0.0)
    assert lead_time.probabilities().tolist() == [1.0]


@pytest.mark.parametrize("lead_time", CASES, ids=str)
def test_probabilities_are_the_rounded_gamma(lead_time: LeadTime) -> None:
    """P(minimum + k) is the gamma's mass that rounds to k; the tail is cut to the longest."""
    probabilities = lead_time.probabilities()
    shape = (lead_time.delay_mean / lead_time.delay_sd) ** 2
    delays = stats.gamma(shape, scale=lead_time.delay_mean / shape).rvs(
        400_000, random_state=np.random.default_rng(0)
    )
    longest = lead_time.maximum - lead_time.minimum
    seen = np.bincount(
        np.minimum(np.floor(delays + 0.5), longest).astype(int), minlength=longest + 1
    )
    assert probabilities.sum() == pytest.approx(1.0)
    assert probabilities.size == longest + 1
    assert (probabilities >= 0).all()
    assert np.abs(seen / seen.sum() - probabilities).max() < 0.004


@pytest.mark.parametrize(
    ("lead_time", "mean", "sd"),
    [
        (LeadTime(24, 6.0, 6.0), 30.0, 6.0),  # by sea, 30 +- 6 days
        (LeadTime(2, 3.0, 1.0), 5.0, 1.0),  # by air
    ],
)
def test_moments_are_as_asked(lead_time: LeadTime, mean: float, sd: float) -> None:
    """Mean and spread are minimum + delay's, but for rounding and the cut tail."""
    assert lead_time.mean() == pytest.approx(mean, rel=0.01)
    assert lead_time.sd() == pytest.approx(sd, rel=0.06)


def test_longest_cuts_the_tail() -> None:
    """What would take longer arrives at the longest."""
    cut = LeadTime(1, 5.0, 5.0, longest=4)
    assert cut.maximum == 4
    assert cut.probabilities()[-1] == pytest.approx(stats.gamma(1.0, scale=5.0).sf(2.5))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"minimum": -1}, "expected an integer >= 0"),
        ({"minimum": 1.5}, "expected an integer >= 0"),
        ({"minimum": True}, "expected an integer >= 0"),
        ({"minimum": 1, "delay_mean": -1.0, "delay_sd": 1.0}, "expected numbers >= 0"),
        ({"minimum": 1, "delay_mean": float("nan"), "delay_sd": 1.0}, "expected numbers >= 0"),
        ({"minimum": 1, "delay_mean": 1.0}, "expected both 0 (constant) or both > 0"),
        ({"minimum": 3, "delay_mean": 1.0, "delay_sd": 1.0, "longest": 2}, "expected >= minimum"),
    ],
)
def test_nonsense_is_refused(fields: dict[str, float], reason: str) -> None:
    """Times that can't be are refused, with the number that was given."""
    with pytest.raises(NetworkError, match="lead_time") as error:
        LeadTime(**fields)  # type: ignore[arg-type]
    assert reason in str(error.value)
