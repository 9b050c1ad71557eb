"""Customer demand: what can be drawn, and how its mean moves over the calendar.

A process is one frozen dataclass of numbers with one method, `distribution(factor)`: the SciPy
distribution of a period's demand when its mean is multiplied by `factor`. `envs.trace.tables` turns
it into inverse-CDF tables, so a draw costs the same for every process. To add a process: a class
and a line in `PROCESSES`; simulation, bounds and artifacts know processes by these alone, and
`Demand` refuses one that they couldn't handle.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Protocol

import numpy as np
from scipy import stats

from envs.errors import ConfigError, did_you_mean
from envs.network.plain import type_hints
from envs.network.season import Season
from envs.types import Floats

MOST_UNITS = 1e9  # per period: beyond it a number is a typing error
_LARGEST_COMPOUND = 1_000_000  # units that a period's orders may come to


class DemandProcess(Protocol):
    """Demand of one period, independent between periods.

    A frozen dataclass whose fields are numbers or truth values: its plain form in artifacts. From
    YAML, each is read from the field of that name of `DemandConfig`.
    """

    def distribution(self, factor: float) -> Any:
        """Return the distribution [units per period] at `factor` > 0 times the mean.

        A frozen SciPy distribution, or what has its `mean`, `std`, `ppf` and `cdf`, and `pmf` where
        demand is in whole units.
        """


@dataclass  # not frozen: OmegaConf makes entries of frozen classes read-only
class DemandConfig:
    """The numbers of a demand process; a process names which it needs."""

    distribution: str
    mean: float | None = None  # units per period
    standard_deviation: float | None = None  # units per period
    low: float | None = None  # units per period (uniform: included; step: before the change)
    high: float | None = None  # units per period (uniform: included; step: from the change on)
    change_period: int | None = None  # first period of `high` (step)
    order_size: float | None = None  # mean units per customer order, > 1 (compound)
    history: list[float] | None = None  # units in periods 0, 1, ..., replayed again and again
    whole_units: bool = True  # round draws to whole units
    weekday: list[float] | None = None  # 7 factors on the mean, Monday first
    yearly: list[float] | None = None  # 12 factors on the mean, January first
    trend: float = 0.0  # share per year since the start date: 0.1 is 10 % more each year

    @property
    def season(self) -> Season | None:
        """How the mean moves by date; None: it doesn't. Raises ConfigError."""
        season = Season(tuple(self.weekday or ()), tuple(self.yearly or ()), self.trend)
        return None if season == Season() else season

    def need(self, name: str) -> float:
        """Return a number this process can't do without. Raises ConfigError where it is missing,
        negative or more than `MOST_UNITS`."""
        value = getattr(self, name, None)
        if value is None or not 0.0 <= value <= MOST_UNITS:
            raise ConfigError(
                f"demand: {name} is {value}; expected a finite number >= 0, at most "
                f"{MOST_UNITS:g}, for distribution '{self.distribution}'. Set "
                f"scenario.demand.{name}=NUMBER, or '{name}' of that stock's demand in its network "
                "file."
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

    def __post_init__(self) -> None:
        mean, sd = self.mean, self.standard_deviation
        if not 0 < mean < sd**2:
            raise ConfigError(
                f"demand: negative_binomial needs standard_deviation^2 > mean > 0; got {sd}^2 and "
                f"{mean}. Use poisson for less spread."
            )

    def distribution(self, factor: float) -> Any:
        size = self.mean**2 / (self.standard_deviation**2 - self.mean)
        return stats.nbinom(size, size / (size + self.mean * factor))


@dataclass(frozen=True)
class Normal:
    """Normal clipped at zero, in whole units on request; the coefficient of variation stays."""

    mean: float
    standard_deviation: float
    whole_units: bool

    def __post_init__(self) -> None:
        if self.standard_deviation == 0.0:
            raise ConfigError(
                "demand: normal has standard_deviation 0; expected a number > 0. Use uniform with "
                "low equal to high for a constant."
            )

    def distribution(self, factor: float) -> Any:
        normal = stats.norm(self.mean * factor, self.standard_deviation * factor)
        return _Rounded(normal) if self.whole_units else normal


@dataclass(frozen=True)
class Uniform:
    """Uniform between low and high, both included; on whole units on request."""

    low: float
    high: float
    whole_units: bool

    def __post_init__(self) -> None:
        if self.high < self.low or (self.high == self.low and not self.whole_units):
            raise ConfigError(
                f"demand: uniform has low {self.low} and high {self.high}; expected low <= high, "
                "and low < high unless whole_units."
            )

    def distribution(self, factor: float) -> Any:
        low, high = self.low * factor, self.high * factor
        if self.whole_units:
            first, last = round(low), round(high)
            return stats.randint(first, last + 1) if first < last else _Constant(first)
        return stats.uniform(low, high - low)


@dataclass(frozen=True)
class Compound:
    """Intermittent demand: Poisson many orders a period, each of geometric size from 1 on
    ("stuttering Poisson"); a period has none with probability exp(-mean / order_size). Where the
    mean moves, more customers come; their orders stay as large."""

    mean: float
    order_size: float

    def __post_init__(self) -> None:
        if not self.order_size > 1.0:
            raise ConfigError(
                f"demand: compound has order_size {self.order_size}; expected a number > 1. Use "
                "poisson where customers order one unit each."
            )
        if self.mean * self.order_size > _LARGEST_COMPOUND:
            raise ConfigError(
                f"demand: compound has mean {self.mean:g} and order_size {self.order_size:g}; "
                f"expected a product of at most {_LARGEST_COMPOUND:g}. Count in larger units."
            )

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

    def cdf(self, k: Floats) -> Floats:
        below = np.clip(np.asarray(k, int), 0, self._cdf.size - 1)
        return np.where(np.asarray(k) < 0, 0.0, self._cdf[below])

    def ppf(self, u: float) -> float:
        return float(min(np.searchsorted(self._cdf, u), self._cdf.size - 1))

    def pmf(self, k: Floats) -> Floats:
        return self.cdf(k) - self.cdf(np.asarray(k) - 1)


class _Constant:
    """One whole number, for sure; SciPy's distributions divide by their spread."""

    def __init__(self, units: int) -> None:
        self._units = units

    def mean(self) -> float:
        return float(self._units)

    def std(self) -> float:
        return 0.0

    def cdf(self, k: Floats) -> Floats:
        return np.where(np.asarray(k) >= self._units, 1.0, 0.0)

    def ppf(self, u: Floats) -> Floats:
        return np.full(np.shape(u), float(self._units))

    def pmf(self, k: Floats) -> Floats:
        return np.where(np.asarray(k) == self._units, 1.0, 0.0)


class _Rounded:
    """A continuous distribution rounded to whole units, never below 0."""

    def __init__(self, continuous: Any) -> None:
        self._continuous = continuous
        self.mean, self.std = continuous.mean, continuous.std  # of what is rounded

    def cdf(self, k: Floats) -> Floats:
        return np.where(k < 0, 0.0, self._continuous.cdf(np.floor(k) + 0.5))

    def ppf(self, u: float) -> float:
        return max(0.0, float(np.round(self._continuous.ppf(u))))

    def pmf(self, k: Floats) -> Floats:
        return self.cdf(k) - self.cdf(np.asarray(k) - 1)


# The one registry: what can be simulated, exported, shown and bounded.
PROCESSES: dict[str, type[Any]] = {
    "poisson": Poisson,
    "geometric": Geometric,
    "negative_binomial": NegativeBinomial,
    "normal": Normal,
    "uniform": Uniform,
    "compound": Compound,
}


def process_name(process: DemandProcess) -> str:
    """Return the name that a process has in PROCESSES.

    Raises ConfigError where it has none, or where it couldn't be exported.
    """
    cls: type[Any] = type(process)
    names = [name for name, known in PROCESSES.items() if known is cls]
    if not names:
        raise ConfigError(
            f"demand: process {cls.__name__} isn't registered; expected one of "
            f"{', '.join(PROCESSES)}. Add it to PROCESSES in envs/network/demand.py; a process "
            "without a name can't be exported."
        )
    frozen = is_dataclass(cls) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    hints = type_hints(cls)  # type: ignore[arg-type] # as functools has it
    names_of = fields(cls) if frozen else ()
    odd = [f.name for f in names_of if hints[f.name] not in (int, float, bool)]
    if not frozen or odd or not hasattr(cls, "distribution"):
        trouble = f" (not of {', '.join(odd)})" if odd else ""
        raise ConfigError(
            f"demand: process {cls.__name__} can't be exported{trouble}; expected a frozen "
            "dataclass whose fields are int, float or bool, with a method distribution(factor)."
        )
    return names[0]


_DISCRETE: dict[object, bool] = {}  # SciPy takes a millisecond to build a distribution


def draws_whole_units(process: DemandProcess) -> bool:
    """Return whether a process is discrete."""
    if process not in _DISCRETE:
        _DISCRETE[process] = hasattr(process.distribution(1.0), "pmf")
    return _DISCRETE[process]


@dataclass(frozen=True, eq=False)
class Demand:
    """Demand of one stocked pair over a calendar: a drawn process, or a replayed history."""

    mean: float  # units per period at multiplier 1; the forecast starts from it
    standard_deviation: float  # the same
    process: DemandProcess | None = None
    history: Floats | None = field(default=None, repr=False)  # [T] units per period
    # [T] factors on the mean that are known ahead (season, promotions); cyclic for a drawn
    # process, as long as the history for a replayed one
    multiplier: Floats | None = field(default=None, repr=False)
    # share in [0, 1) of the variance that one factor, common to all pairs of the network with
    # correlation > 0, explains (a Gaussian copula)
    correlation: float = 0.0
    # the same factors by date, for a drawn process; a scenario, which has the dates, makes them a
    # multiplier
    season: Season | None = None

    def __post_init__(self) -> None:
        if (self.process is None) == (self.history is None):
            raise ConfigError("demand: expected either a process or a history, not both or none.")
        if self.season is not None and (self.process is None or self.multiplier is not None):
            other = "a replayed history" if self.process is None else "a multiplier"
            raise ConfigError(
                f"demand: weekday, yearly or trend is given beside {other}, which has its seasons "
                "in it; expected one of them. Leave weekday, yearly and trend out."
            )
        if self.process is not None:
            process_name(self.process)
        for name in ("history", "multiplier"):
            values = getattr(self, name)
            if values is not None and not ((values >= 0) & (values <= MOST_UNITS)).all():
                bad = int(np.flatnonzero(~((values >= 0) & (values <= MOST_UNITS)))[0])
                raise ConfigError(
                    f"demand: {name} is {values[bad]} in period {bad}; expected numbers >= 0, at "
                    f"most {MOST_UNITS:g}."
                )
        if not 0.0 <= self.correlation < 1.0:
            raise ConfigError(f"demand: correlation is {self.correlation}; expected [0, 1).")

    @property
    def is_whole(self) -> bool:
        """Whether nobody asks for a part of a unit."""
        if self.process is not None:
            return draws_whole_units(self.process)
        return bool((self.history == np.round(self.history)).all())  # type: ignore[arg-type]

    @classmethod
    def from_config(cls, config: DemandConfig, horizon: int, **fields: Any) -> Demand:
        """Build the demand a scenario's YAML describes.

        `step` is a history of `low`, then `high` from `change_period` on. Raises ConfigError.
        """
        fields = {"season": config.season, **fields}
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
        return cls(float(distribution.mean()), float(distribution.std()), process, **fields)


def build_process(config: DemandConfig) -> DemandProcess:
    """Build the named process. Raises ConfigError for an unknown name or a missing number."""
    if config.distribution not in PROCESSES:
        raise ConfigError(
            f"demand: distribution '{config.distribution}' is unknown."
            f"{did_you_mean(config.distribution, [*PROCESSES, 'step', 'history'])}"
        )
    cls = PROCESSES[config.distribution]
    hints = type_hints(cls)  # type: ignore[arg-type]
    numbers = {
        f.name: config.whole_units
        if f.name == "whole_units"
        else hints[f.name](config.need(f.name))
        for f in fields(cls)
    }
    process: DemandProcess = cls(**numbers)
    return process
