"""How long a shipment takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from envs.errors import NetworkError

__all__ = ["LeadTime"]


@dataclass(frozen=True)
class LeadTime:
    """`minimum` periods plus a gamma distributed delay, rounded to whole periods.

    minimum: whole periods >= 0. delay_mean, delay_sd: periods; 0 and 0 give a constant lead time.
    longest: whole periods; longer draws are cut to it (default: the 99.9 % point).
    """

    minimum: int
    delay_mean: float = 0.0
    delay_sd: float = 0.0
    longest: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.minimum, bool) or self.minimum != int(self.minimum) or self.minimum < 0:
            raise NetworkError(f"lead_time is {self.minimum}; expected an integer >= 0.")
        if not (self.delay_mean >= 0 and self.delay_sd >= 0):
            raise NetworkError(
                f"lead_time delay has mean {self.delay_mean} and sd {self.delay_sd}; expected "
                "numbers >= 0."
            )
        if (self.delay_mean == 0) != (self.delay_sd == 0):
            raise NetworkError(
                f"lead_time delay has mean {self.delay_mean} and sd {self.delay_sd}; expected both "
                "0 (constant) or both > 0."
            )
        if self.longest is not None and self.longest < self.minimum:
            raise NetworkError(
                f"lead_time longest is {self.longest}; expected >= minimum, {self.minimum}."
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
        return self.minimum + math.ceil(float(self._gamma().ppf(0.999)))

    def probabilities(self) -> np.ndarray:
        """Return P(lead time = minimum + k), k = 0..maximum-minimum; sums to 1."""
        if self.constant:
            return np.ones(1)
        edges = np.arange(self.maximum - self.minimum) + 0.5
        cdf = np.append(self._gamma().cdf(edges), 1.0)
        return np.diff(cdf, prepend=0.0)

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

    def _gamma(self) -> Any:
        shape = (self.delay_mean / self.delay_sd) ** 2
        return stats.gamma(shape, scale=self.delay_mean / shape)
