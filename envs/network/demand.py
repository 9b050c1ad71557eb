"""Customer demand: what can be drawn, and how its mean moves over the calendar.

A process is one class with one method, `distribution(factor)`: the SciPy distribution of a
period's demand when its mean is multiplied by `factor`. `envs.trace.trace` turns it into
inverse-CDF tables, so a draw costs the same for every process. To add a process: a class, a line in
`PROCESSES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from envs.errors import ConfigError, did_you_mean

__all__ = ["PROCESSES", "Demand", "DemandConfig", "DemandProcess", "build_process"]


class DemandProcess(Protocol):
    """Demand of one period, independent between periods."""

    def distribution(self, factor: float) -> Any:
        """Return the frozen SciPy distribution [units per period] at `factor` times the mean."""


@dataclass  # not frozen: OmegaConf makes entries of frozen classes read-only
class DemandConfig:
    """The numbers of a demand process; a process names which it needs.

    mean: units per period. standard_deviation: units per period.
    order_size: mean units per customer order, > 1 (compound). history: units in periods 0, 1, ...,
    replayed, from the start again after the last.
    low, high: units per period (uniform: both included; step: before and after).
    change_period: first period of `high` (step). whole_units: round draws to whole units.
    """

    distribution: str = "poisson"
    mean: float | None = None
    standard_deviation: float | None = None
    low: float | None = None
    high: float | None = None
    change_period: int | None = None
    order_size: float | None = None
    history: list[float] | None = None
    whole_units: bool = True

    def need(self, name: str, minimum: float = 0.0) -> float:
        """Return a number this process can't do without. Raises ConfigError if missing or low."""
        value = getattr(self, name)
        if value is None or not minimum <= value < float("inf"):
            raise ConfigError(
                f"demand: {name} is {value}; expected a finite number >= {minimum:g} for "
                f"distribution '{self.distribution}'."
            )
        return float(value)


@dataclass(frozen=True)
class Poisson:
    """Poisson with the given mean."""

    mean: float

    def distribution(self, factor: float) -> Any:
        return stats.poisson(self.mean * factor)


@dataclass(frozen=True)
class Geometric:
    """Number of failures before the first success: starts at 0, P(k) = p(1-p)^k, p = 1/(1+mean)."""

    mean: float

    def distribution(self, factor: float) -> Any:
        return stats.nbinom(1, 1.0 / (1.0 + self.mean * factor))


@dataclass(frozen=True)
class NegativeBinomial:
    """Negative binomial by mean and standard deviation; its dispersion stays as the mean moves."""

    mean: float
    standard_deviation: float

    def distribution(self, factor: float) -> Any:
        size = self.mean**2 / (self.standard_deviation**2 - self.mean)
        return stats.nbinom(size, size / (size + self.mean * factor))


@dataclass(frozen=True)
class Normal:
    """Normal clipped at zero, in whole units if asked; the coefficient of variation stays."""

    mean: float
    standard_deviation: float
    whole_units: bool

    def distribution(self, factor: float) -> Any:
        normal = stats.norm(self.mean * factor, self.standard_deviation * factor)
        return _Rounded(normal) if self.whole_units else normal


@dataclass(frozen=True)
class Uniform:
    """Uniform between low and high, both included; on whole units if asked."""

    low: float
    high: float
    whole_units: bool

    def distribution(self, factor: float) -> Any:
        low, high = self.low * factor, self.high * factor
        if self.whole_units:
            return stats.randint(round(low), round(high) + 1)
        return stats.uniform(low, high - low)


@dataclass(frozen=True)
class Compound:
    """Intermittent demand: Poisson many orders a period, each of geometric size from 1 on
    ("stuttering Poisson"); a period has none with probability exp(-mean / order_size). Where the
    mean moves, more customers come; their orders stay as large."""

    mean: float
    order_size: float

    def distribution(self, factor: float) -> Any:
        return _StutteringPoisson(self.mean * factor / self.order_size, 1.0 / self.order_size)


class _StutteringPoisson:
    """Sum of Poisson(orders) sizes, each P(k) = stop (1 - stop)^(k-1) for k = 1, 2, ...

    Panjer (1981): k P(k) = orders stop sum_j j (1 - stop)^(j-1) P(k - j), here as the equivalent
    recursion over two terms: k P(k) = (2 (k - 1) q + orders stop) P(k - 1) - (k - 2) q^2 P(k - 2),
    with q = 1 - stop.
    """

    def __init__(self, orders: float, stop: float) -> None:
        self._orders, self._stop = orders, stop
        q, largest = 1.0 - stop, int(self.mean() + 12.0 * self.std() + 40.0 / stop)
        log_p = np.full(largest + 1, -np.inf)  # exp(-orders) may be no number above 0
        log_p[0] = -orders
        for k in range(1, largest + 1):
            first = (2.0 * (k - 1) * q + orders * stop) / k
            ratio = np.exp(log_p[k - 2] - log_p[k - 1]) if k > 1 else 0.0
            log_p[k] = log_p[k - 1] + np.log(first - (k - 2) / k * q * q * ratio)
        self._cdf = np.minimum(np.cumsum(np.exp(log_p)), 1.0)

    def mean(self) -> float:
        return self._orders / self._stop

    def std(self) -> float:
        """Orders times the second moment of their size, (2 - stop) / stop^2."""
        return float(np.sqrt(self._orders * (2.0 - self._stop)) / self._stop)

    def cdf(self, k: NDArray[np.float64]) -> NDArray[np.float64]:
        below = np.clip(np.asarray(k, int), 0, self._cdf.size - 1)
        return np.where(np.asarray(k) < 0, 0.0, self._cdf[below])

    def ppf(self, u: float) -> float:
        return float(min(np.searchsorted(self._cdf, u), self._cdf.size - 1))

    def pmf(self, k: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.cdf(k) - self.cdf(np.asarray(k) - 1)


class _Rounded:
    """A continuous distribution rounded to whole units, never below 0."""

    def __init__(self, continuous: Any) -> None:
        self._continuous = continuous

    def cdf(self, k: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(k < 0, 0.0, self._continuous.cdf(np.floor(k) + 0.5))

    def ppf(self, u: float) -> float:
        return max(0.0, float(np.round(self._continuous.ppf(u))))

    def pmf(self, k: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.cdf(k) - self.cdf(np.asarray(k) - 1)


def _poisson(config: DemandConfig) -> DemandProcess:
    return Poisson(config.need("mean"))


def _geometric(config: DemandConfig) -> DemandProcess:
    return Geometric(config.need("mean"))


def _negative_binomial(config: DemandConfig) -> DemandProcess:
    mean, sd = config.need("mean"), config.need("standard_deviation")
    if not 0 < mean < sd**2:
        raise ConfigError(
            f"demand: negative_binomial needs standard_deviation^2 > mean > 0; got {sd}^2 and "
            f"{mean}. Use poisson for less spread."
        )
    return NegativeBinomial(mean, sd)


def _normal(config: DemandConfig) -> DemandProcess:
    mean, sd = config.need("mean"), config.need("standard_deviation")
    if sd == 0.0:
        raise ConfigError(
            "demand: normal has standard_deviation 0; expected a number > 0. Use uniform with low "
            "equal to high for a constant."
        )
    return Normal(mean, sd, config.whole_units)


def _uniform(config: DemandConfig) -> DemandProcess:
    low, high = config.need("low"), config.need("high")
    if high < low or (high == low and not config.whole_units):
        raise ConfigError(
            f"demand: uniform has low {low} and high {high}; expected low <= high, and low < high "
            "unless whole_units."
        )
    return Uniform(low, high, config.whole_units)


def _compound(config: DemandConfig) -> DemandProcess:
    mean, size = config.need("mean"), config.need("order_size", 1.0)
    if size == 1.0:
        raise ConfigError(
            "demand: compound has order_size 1; expected a number > 1. Use poisson where customers "
            "order one unit each."
        )
    return Compound(mean, size)


PROCESSES: dict[str, Callable[[DemandConfig], DemandProcess]] = {
    "poisson": _poisson,
    "geometric": _geometric,
    "negative_binomial": _negative_binomial,
    "normal": _normal,
    "uniform": _uniform,
    "compound": _compound,
}


@dataclass(frozen=True, eq=False)
class Demand:
    """Demand of one stocked pair over a calendar.

    process: drawn demand; or `history`: known quantities, replayed [T] units per period.
    multiplier: [T] factors on the mean that are known ahead (season, promotions); cyclic for a
      drawn process, as long as the history for a replayed one.
    correlation: share in [0, 1) of the variance that one factor, common to all pairs of the
      network with correlation > 0, explains (a Gaussian copula).
    mean, standard_deviation: units per period at multiplier 1; the forecast starts from them.
    """

    mean: float
    standard_deviation: float
    process: DemandProcess | None = None
    history: NDArray[np.float64] | None = field(default=None, repr=False)
    multiplier: NDArray[np.float64] | None = field(default=None, repr=False)
    correlation: float = 0.0

    def __post_init__(self) -> None:
        if (self.process is None) == (self.history is None):
            raise ConfigError("demand: expected either a process or a history, not both or none.")
        for name in ("history", "multiplier"):
            values = getattr(self, name)
            if values is not None and not (np.isfinite(values).all() and (values >= 0).all()):
                bad = int(np.flatnonzero(~(np.isfinite(values) & (values >= 0)))[0])
                raise ConfigError(
                    f"demand: {name} is {values[bad]} in period {bad}; expected numbers >= 0."
                )
        if not 0.0 <= self.correlation < 1.0:
            raise ConfigError(f"demand: correlation is {self.correlation}; expected [0, 1).")

    @classmethod
    def from_config(cls, config: DemandConfig, horizon: int, **fields: Any) -> Demand:
        """Build the demand a scenario's YAML describes.

        `step` is a history of `low`, then `high` from `change_period` on. Raises ConfigError.
        """
        if config.distribution == "history":
            replayed = np.array(config.history or [], float)
            if not replayed.size:
                raise ConfigError("demand: history is empty; expected units per period, a list.")
            mean, spread = float(replayed.mean()), float(replayed.std())
            return cls(mean, spread, history=replayed, **fields)
        if config.distribution == "step":
            low, high = config.need("low"), config.need("high")
            change = int(config.need("change_period"))
            history = np.where(np.arange(horizon) < change, low, high).astype(float)
            return cls(low, 0.0, history=history, **fields)
        process = build_process(config)
        distribution = process.distribution(1.0)
        if isinstance(distribution, _Rounded):
            return cls(config.need("mean"), config.need("standard_deviation"), process, **fields)
        return cls(float(distribution.mean()), float(distribution.std()), process, **fields)


def build_process(config: DemandConfig) -> DemandProcess:
    """Build the named process. Raises ConfigError for an unknown name or a missing number."""
    if config.distribution not in PROCESSES:
        raise ConfigError(
            f"demand: distribution '{config.distribution}' is unknown."
            f"{did_you_mean(config.distribution, [*PROCESSES, 'step', 'history'])}"
        )
    return PROCESSES[config.distribution](config)
