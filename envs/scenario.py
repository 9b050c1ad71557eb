"""A scenario: a network, how long an episode is, and the base policy that learning corrects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

from envs.compiled.network import CompiledNetwork, compile_network
from envs.compiled.seasons import has_trend, write_out_seasons
from envs.dates import PERIODS_PER_YEAR, WHOLE_YEAR, date_of, parse_start_date, period_of
from envs.errors import ConfigError, did_you_mean, shown
from envs.network.checks import LONGEST_RUN
from envs.network.network import SupplyNetwork
from envs.network.plain import ADDED, plain_tree
from envs.observation.companions import CompanionsOf
from envs.policies import policy_class
from envs.reward import Preference
from envs.simulation.action_spaces import ActionSpace
from envs.trace.trace import Bootstrap

_CURRENCY = re.compile("[A-Z]{3}")
_LONGEST_MEMORY = 1_000
_MOST_COMPANIONS = 256  # a row's features are as many times longer


@dataclass(frozen=True)
class Split:
    """Calendar periods that an episode's evaluated part may cover: first..stop-1, stop excluded."""

    first: int
    stop: int


@dataclass(frozen=True)
class Scenario:
    """Everything that defines a problem. For the rest: `envs.scenarios.common.ScenarioConfig`."""

    name: str
    network: SupplyNetwork
    horizon: int
    warm_up: int = 0
    base_policy: str = "forecast_base_stock"
    policy_params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    smoothing: float = 0.0
    memory: int = 0
    companions: int = field(default=0, metadata=ADDED)
    companions_of: CompanionsOf = field(default=CompanionsOf.lanes, metadata=ADDED)
    identity: bool = field(default=False, metadata=ADDED)
    # calendar ranges of real data (train, tune, test); None where demand is drawn
    splits: Mapping[str, Split] | None = None
    period_name: str = "day"  # one of `PERIODS_PER_YEAR`
    currency: str = "EUR"  # of all costs: three capital letters (ISO 4217)
    # the resolved numbers the scenario was built from, for manifests and records
    config: Mapping[str, Any] = field(default_factory=dict)
    data_hash: str | None = None  # SHA-256 of the real data it was built from, if any
    # ISO date of calendar period 0; None: `envs.dates.DEFAULT_START`
    start_date: str | None = None
    bootstrap_length: int | None = None
    preference: Preference | None = None
    extra_heads: tuple[str, ...] = ()
    action_space: ActionSpace = ActionSpace.residual
    action_scale: float = field(default=1.0, metadata=ADDED)
    stress_of: str = ""

    def __post_init__(self) -> None:
        if self.horizon < 1 or self.warm_up < 0 or self.horizon + self.warm_up > LONGEST_RUN:
            raise ConfigError(
                f"scenario '{self.name}': horizon is {self.horizon} and warm_up {self.warm_up}; "
                f"expected horizon >= 1 and warm_up >= 0, at most {LONGEST_RUN} together."
            )
        if not 0 <= self.memory <= _LONGEST_MEMORY or not 0 <= self.companions <= _MOST_COMPANIONS:
            raise ConfigError(
                f"scenario '{self.name}': memory is {self.memory} and companions "
                f"{self.companions}; expected 0 to {_LONGEST_MEMORY} periods and 0 to "
                f"{_MOST_COMPANIONS} rows."
            )
        if not 0.0 < self.action_scale < float("inf"):
            raise ConfigError(
                f"scenario '{self.name}': action_scale is {self.action_scale}; expected a number "
                "> 0."
            )
        if not _CURRENCY.fullmatch(self.currency):
            raise ConfigError(
                f"scenario '{self.name}': currency is {shown(self.currency)}; expected three "
                "capital letters, such as EUR or USD."
            )
        if self.period_name not in PERIODS_PER_YEAR:
            raise ConfigError(
                f"scenario '{self.name}': period_name is '{self.period_name}'; expected one of "
                f"{', '.join(PERIODS_PER_YEAR)}.{did_you_mean(self.period_name, PERIODS_PER_YEAR)}"
            )
        self._dated  # noqa: B018 a wrong date is refused here, and seasons that don't fit
        policy_class(self.base_policy)
        plain_tree(self.policy_params, "policy_params")  # what can't be exported isn't simulated
        self.bootstrap("train")
        for split in self.splits or ():
            self.starts(split)

    @cached_property
    def compiled(self) -> CompiledNetwork:
        """The network as arrays; compiled once."""
        return compile_network(self._dated)

    @cached_property
    def _dated(self) -> SupplyNetwork:
        """The network with its seasons by date."""
        episode = self.warm_up + self.horizon
        return write_out_seasons(self.network, self.first_date, self.period_name, episode)

    @cached_property
    def repeats(self) -> bool:
        """Whether the calendar of demand goes on from its start after its end: demand is drawn,
        without a trend."""
        demands = [stock.demand for stock in self.network.stocks]
        is_drawn = all(demand is None or demand.process is not None for demand in demands)
        return is_drawn and not has_trend(self.network)

    @cached_property
    def by_date(self) -> bool:
        """Whether what is open, or what is wanted, depends on the date."""
        net = self.compiled
        return bool(
            net.demand.multiplier is not None
            or any(met.known for met in net.calendars)
            or any(r.calendar is not None for r in net.network.resources)
        )

    @property
    def first_date(self) -> date:
        """The date of calendar period 0."""
        return parse_start_date(self.start_date)

    def period_of(self, day: date) -> int:
        """Return the calendar period of a date; negative before `first_date`."""
        return period_of(day, self.first_date, self.period_name)

    def date_of(self, period: int) -> date:
        """Return the date on which a calendar period begins."""
        return date_of(period, self.first_date, self.period_name)

    def episode_length(self, split: str) -> int:
        """Return the periods per episode that count: real data are tuned and tested on in full."""
        if self.splits is None or split == "train":
            return self.horizon
        part = self._split(split)
        return part.stop - part.first

    def starts(self, split: str) -> tuple[int, int]:
        """Return (first, how many) calendar periods an episode of the split may begin at.

        The warm-up may reach back before the split: it only looks at the past. Where demand has a
        trend, an episode and a year's outlook end before the calendar does.
        Raises ConfigError where the split is unknown or too short, or the calendar.
        """
        if self.splits is None:
            length, episode = self.compiled.demand.calendar_length, self.warm_up + self.horizon
            if self.compiled.demand.multiplier is None:
                return (0, 1)
            if not has_trend(self.network):
                return (0, length)
            count = length - episode - WHOLE_YEAR[self.period_name]
            if count < 1:
                raise ConfigError(
                    f"scenario '{self.name}': demand has a trend, and the calendar of replayed "
                    f"demand has {length} periods; expected {episode} of an episode and a year "
                    "more. Shorten horizon, or leave the trend out."
                )
            return (0, count)
        part, length = self._split(split), self.episode_length(split)
        first = max(0, part.first - self.warm_up)
        last = part.stop - self.warm_up - length
        if last < first:
            raise ConfigError(
                f"scenario '{self.name}': horizon {length} and warm_up {self.warm_up} don't "
                f"fit the {split} split, periods {part.first} to {part.stop - 1}; shorten horizon."
            )
        return (first, last - first + 1)

    def bootstrap(self, split: str) -> Bootstrap | None:
        """Return how the split resamples replayed demand, if it does. Raises ConfigError."""
        length, splits = self.bootstrap_length, self.splits
        if length is None or (splits is not None and split != "train"):
            return None
        first, stop = 0, self.compiled.demand.calendar_length
        if splits is not None:
            part = self._split(split)
            first, stop = part.first, part.stop
        slack = 7 if length % 7 == 0 else 1  # any day of the week finds a stretch
        if not 1 <= length <= stop - first - slack + 1:
            raise ConfigError(
                f"scenario '{self.name}': bootstrap_length is {length}; expected at least 1 and at "
                f"most {stop - first - slack + 1} of the {stop - first} periods of history."
            )
        return Bootstrap(length, first, stop)

    def _split(self, name: str) -> Split:
        assert self.splits is not None
        if name not in self.splits:
            raise ConfigError(f"split '{name}' is unknown.{did_you_mean(name, self.splits)}")
        return self.splits[name]
