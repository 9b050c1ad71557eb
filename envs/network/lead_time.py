"""How long a shipment takes: a constant, and a random delay where there is one.

To add a distribution of delays: a function and a line in `DELAYS`; all else reads a lead time
for its probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from scipy import stats

from envs.errors import NetworkError
from envs.network.checks import LONGEST_DELAY, few_periods, must_know
from envs.network.plain import ADDED


def _gamma(mean: float, sd: float) -> Any:
    shape = (mean / sd) ** 2
    return stats.gamma(shape, scale=mean / shape)


# The one registry: name -> (mean, sd) [periods] -> a frozen SciPy distribution of delays.
DELAYS: dict[str, Callable[[float, float], Any]] = {"gamma": _gamma}


@dataclass(frozen=True)
class LeadTime:
    """`minimum` periods plus a random delay, rounded to whole periods."""

    minimum: int = 1  # whole periods >= 0
    delay_mean: float = 0.0  # periods
    delay_sd: float = 0.0  # periods; 0 and 0 give a constant lead time
    # whole periods; longer draws are cut to it (default: the 99.9 % point)
    longest: int | None = None
    no_overtaking: bool = False  # what ships later never arrives earlier
    # the distribution of the delay, by its name in `DELAYS`
    delay: str = field(default="gamma", metadata=ADDED)

    def __post_init__(self) -> None:
        few_periods("", lead_time=self.minimum)
        if not (0 <= self.delay_mean <= LONGEST_DELAY and 0 <= self.delay_sd <= LONGEST_DELAY):
            raise NetworkError(
                f"lead_time delay has mean {self.delay_mean} and sd {self.delay_sd}; expected "
                f"numbers >= 0, at most {LONGEST_DELAY}."
            )
        if (self.delay_mean == 0) != (self.delay_sd == 0):
            raise NetworkError(
                f"lead_time delay has mean {self.delay_mean} and sd {self.delay_sd}; expected both "
                "0 (constant) or both > 0."
            )
        must_know("lead_time", "delay", self.delay, DELAYS)
        if not self.minimum <= self.maximum <= LONGEST_DELAY:
            raise NetworkError(
                f"lead_time longest is {self.maximum}; expected >= minimum, {self.minimum}, and at "
                f"most {LONGEST_DELAY}."
            )

    @property
    def constant(self) -> bool:
        """Whether every draw is the same."""
        return self.delay_mean == 0

    @property
    def maximum(self) -> int:
        """The longest lead time that can be drawn [periods]."""
        if self.constant:
            return self.minimum
        if self.longest is not None:
            return self.longest
        return _longest(self)

    def probabilities(self) -> np.ndarray:
        """Return P(lead time = minimum + k), k = 0..maximum-minimum; sums to 1."""
        return _probabilities(self)

    def mean(self) -> float:
        """Return the mean lead time [periods]."""
        probabilities = self.probabilities()
        return self.minimum + float(probabilities @ np.arange(len(probabilities)))

    def sd(self) -> float:
        """Return the standard deviation of the lead time [periods]."""
        probabilities = self.probabilities()
        k = np.arange(len(probabilities), dtype=float)
        variance = float(probabilities @ k**2) - float(probabilities @ k) ** 2
        return math.sqrt(max(variance, 0.0))


# Computed once for equal lead times: a network has many lanes and few kinds of them.
@cache
def _longest(lead_time: LeadTime) -> int:
    try:
        delay = float(_delay(lead_time).ppf(0.999))
    except OverflowError:
        delay = math.nan
    if not math.isfinite(delay):
        raise NetworkError(
            f"lead_time delay has mean {lead_time.delay_mean} and sd {lead_time.delay_sd}, of "
            "which no distribution can be computed; expected numbers of like size."
        )
    return lead_time.minimum + math.ceil(delay)


@cache
def _probabilities(lead_time: LeadTime) -> np.ndarray:
    if lead_time.constant:
        probabilities = np.ones(1)
    else:
        edges = np.arange(lead_time.maximum - lead_time.minimum) + 0.5
        cdf = np.append(_delay(lead_time).cdf(edges), 1.0)
        probabilities = np.diff(cdf, prepend=0.0)
    probabilities.flags.writeable = False
    return probabilities


def _delay(lead_time: LeadTime) -> Any:
    return DELAYS[lead_time.delay](lead_time.delay_mean, lead_time.delay_sd)
