"""How the mean of demand moves by date: days of the week, months, a trend."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from envs.dates import PERIODS_PER_DAY, date_of
from envs.errors import ConfigError
from envs.types import Floats

_MOST = 1000.0  # a factor beyond it is a typing error
_STEP = 0.02  # logarithmic grid of factors with a trend, which would all be different


@dataclass(frozen=True)
class Season:
    """Factors on the mean, which is that of a period of factor 1 at the start date; their product
    where there are several. Days of a week or month in which they differ are averaged."""

    weekday: tuple[float, ...] = ()  # 7, Monday first; empty: all days are alike
    yearly: tuple[float, ...] = ()  # 12, January first; empty: all months are alike
    trend: float = 0.0  # share per year since the start date: 0.1 is 10 % more each year

    def __post_init__(self) -> None:
        for name, many, first in (("weekday", 7, "Monday"), ("yearly", 12, "January")):
            factors = getattr(self, name)
            fits = all(0.0 <= f <= _MOST for f in factors) and any(factors)
            if factors and not (len(factors) == many and fits):
                raise ConfigError(
                    f"demand: {name} is {[*factors[:13]]}; expected {many} numbers from 0 to "
                    f"{_MOST:g}, {first} first, not all 0."
                )
        if not -1.0 < self.trend <= 10.0:
            raise ConfigError(
                f"demand: trend is {self.trend}; expected a share per year > -1 and <= 10, such "
                "as 0.1 for 10 % more each year."
            )

    def factors(self, first: date, period_name: str, periods: int) -> Floats:
        """Return [T] factors of the periods from `first` on.

        Rounded to three digits; with a trend to steps of 2 %. Raises ConfigError for a season that
        periods are too long for.
        """
        for name, long in (("weekday", ("week", "month", "year")), ("yearly", ("year",))):
            if getattr(self, name) and period_name in long:
                raise ConfigError(
                    f"demand: {name} is given, but a period is a {period_name}; expected shorter "
                    "periods. Leave it out, or set period_name."
                )
        begin = [(date_of(t, first, period_name) - first).days for t in range(periods + 1)]
        by_day = self._by_day(np.datetime64(first) + np.arange(begin[-1] + 1))
        if period_name in PERIODS_PER_DAY:
            return by_day[begin[:-1]]
        return _rounded(np.add.reduceat(by_day, begin)[:-1] / np.diff(begin), self.trend)

    def _by_day(self, days: np.ndarray) -> Floats:
        factor = np.ones(days.size)
        if self.weekday:
            factor *= np.array(self.weekday)[(days.astype(np.int64) + 3) % 7]  # 1970: a Thursday
        if self.yearly:
            factor *= np.array(self.yearly)[days.astype("datetime64[M]").astype(np.int64) % 12]
        factor *= (1.0 + self.trend) ** (np.arange(days.size) / 365.25)
        return _rounded(factor, self.trend)


def _rounded(factors: Floats, trend: float) -> Floats:
    """Every factor is a distribution to draw from: not too many of them."""
    if trend != 0.0:
        steps = np.round(np.log(np.maximum(factors, 1e-9)) / _STEP)
        factors = np.where(factors > 0.0, np.exp(_STEP * steps), 0.0)
    return np.array([float(f"{factor:.3g}") for factor in factors])
