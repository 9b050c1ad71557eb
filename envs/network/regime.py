"""Uncontrolled changes over time: suppliers, weather, machines, markets.

A regime is in one state at a time; each state multiplies what is exposed to it. It moves by a
process: a Markov chain, or an event at a date, as stress tests and what-if questions need it. To
add a process: a class with `step` and a line in `REGIME_PROCESSES`; trace, policies, bounds, tables
and artifacts know processes by these alone, and `Regime` refuses one that has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from typing import ClassVar

import numpy as np

from envs.errors import NetworkError
from envs.network.checks import at_least_zero, must_be_share, numbers_at_least_zero
from envs.network.plain import one_of
from envs.types import Floats

MULTIPLIERS = ("availability", "yield_share", "cost", "ordering", "transit", "receiving")


@dataclass(frozen=True)
class RegimeState:
    """What holds while the regime is in this state; everything defaults to "as usual".

    Availability, ordering, transit and receiving of 0 are the four kinds of disruption of Snyder
    et al. (2016, "OR/MS models for supply chain disruptions").
    """

    name: str
    # share of owed units that can ship, and of a resource's capacity; 0: shipments pause
    availability: float = 1.0
    lead_time: float = 1.0  # factor on lead times of what ships
    lead_time_spread: float = 1.0  # factor on their distance from the mean
    yield_share: float = 1.0  # usable share of what arrives
    cost: float = 1.0  # factor on unit and load costs
    demand: float = 1.0  # factor on mean demand
    ordering: float = 1.0  # 0 pauses placing orders
    transit: float = 1.0  # 0 pauses goods on their way
    receiving: float = 1.0  # 0 pauses receipts, which then wait outside

    def __post_init__(self) -> None:
        where = f"Regime state '{self.name}'"
        must_be_share(where, availability=self.availability, yield_share=self.yield_share)
        for name in ("ordering", "transit", "receiving"):
            value = getattr(self, name)
            if value not in (0.0, 1.0):
                raise NetworkError(f"{where}: {name} is {value}; expected 0 (paused) or 1.")
        numbers_at_least_zero(where, self)


class RegimeProcess:
    """How a regime moves between its states: a frozen dataclass of the numbers it needs.

    In YAML and artifacts they stand under its name in REGIME_PROCESSES; a single one stands alone.
    """

    is_chain: ClassVar[bool] = True  # the next state is drawn from today's row of `step`

    def step(self, states: int) -> Floats:
        """Return [states, states] the probability of the next state (column), given today's (row).

        Raises NetworkError where the process isn't one of so many states.
        """
        raise NotImplementedError

    def stationary(self, states: int) -> Floats:
        """Return [states] the long-run share of time in each, from which a chain starts."""
        system = np.vstack([self.step(states).T - np.eye(states), np.ones(states)])
        shares: Floats = np.linalg.lstsq(system, np.append(np.zeros(states), 1.0), rcond=None)[0]
        return shares

    def describe(self, period: str) -> str:
        """Return a few words for people; `period`: such as day."""
        return str(self)


@dataclass(frozen=True)
class MarkovChain(RegimeProcess):
    """A chain whose matrix is written out."""

    # the probability of the next state, a row per state; rows sum to 1
    transition: tuple[tuple[float, ...], ...]

    def step(self, states: int) -> Floats:
        return np.asarray(self.transition, float)

    def describe(self, period: str) -> str:
        return "Markov chain"


@dataclass(frozen=True)
class EventWindow(RegimeProcess):
    """An event: from as usual to struck, once and at a date, of two states.

    Periods count from the start of the simulation, warm-up included.
    """

    is_chain: ClassVar[bool] = False

    first: int = 0  # it begins in a period drawn uniformly from first..last
    last: int = 0
    duration: int | None = None  # periods it lasts; None: for good

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last:
            raise NetworkError(
                f"event window: first is {self.first}, last {self.last}; expected 0 <= first <= "
                "last."
            )
        if self.duration is not None and self.duration < 1:
            raise NetworkError(f"event window: duration is {self.duration}; expected 1 or more.")

    def step(self, states: int) -> Floats:
        """What is, stays: of a date nothing is known beforehand."""
        if states != 2:
            raise NetworkError(
                f"a schedule moves between exactly two states, as usual and struck; got {states}."
            )
        return np.eye(2)

    def stationary(self, states: int) -> Floats:
        """As usual."""
        return np.array([1.0, 0.0])

    def describe(self, period: str) -> str:
        when = f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"
        how_long = "for good" if self.duration is None else f"for {self.duration}"
        return f"event in {period} {when}, {how_long}"


# The one registry: what can be drawn, exported, shown and bounded, by its key in YAML.
REGIME_PROCESSES: dict[str, type[RegimeProcess]] = {
    "transition": MarkovChain,
    "schedule": EventWindow,
}
# Stand in every artifact, whatever the process: hashes stay what they were.
_ALWAYS: Mapping[str, object] = {"transition": [], "schedule": None}


@dataclass(frozen=True)
class ModeStates:
    """What a regime's states do to lanes of one mode: snow slows trucks, and grounds planes."""

    mode: str
    states: tuple[RegimeState, ...]


@dataclass(frozen=True)
class Regime:
    """A state that moves by itself."""

    id: str
    states: tuple[RegimeState, ...]
    # how it moves; in YAML under its name in REGIME_PROCESSES, as `transition: [[...]]`
    process: RegimeProcess = field(metadata=one_of(REGIME_PROCESSES, _ALWAYS))
    # periods until agents see the state; 0: at once; None: never, it is hidden
    seen_after: int | None = None
    # of a forecast 1, 2, ... periods ahead that agents see: the probability that it is the
    # true state; else it is drawn from the stationary distribution (or is state 0)
    forecast_accuracy: tuple[float, ...] = ()
    # other multipliers of the same states, for lanes of a mode
    by_mode: tuple[ModeStates, ...] = ()

    def __post_init__(self) -> None:
        where, size = f"Regime '{self.id}'", len(self.states)
        for own in self.by_mode:
            if [s.name for s in own.states] != [s.name for s in self.states]:
                raise NetworkError(
                    f"{where}: mode '{own.mode}' has states {[s.name for s in own.states]}; "
                    f"expected the regime's own, {[s.name for s in self.states]}."
                )
        if self.seen_after is not None:
            at_least_zero(where, seen_after=self.seen_after)
        for ahead, accuracy in enumerate(self.forecast_accuracy):
            must_be_share(where, **{f"forecast_accuracy[{ahead}]": accuracy})
        cls: type = type(self.process)
        frozen = is_dataclass(cls) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
        if cls not in REGIME_PROCESSES.values() or not frozen:
            raise NetworkError(
                f"{where}: process {cls.__name__} isn't registered, or no frozen dataclass; "
                "expected both. Add it to REGIME_PROCESSES in envs/network/regime.py; a process "
                "without a name can't be exported."
            )
        try:
            matrix = self.step()
        except NetworkError as error:
            raise NetworkError(f"{where}: {error}") from error
        if matrix.shape != (size, size) or (matrix < 0).any():
            raise NetworkError(
                f"{where}: transition has shape {matrix.shape}; expected "
                f"({size}, {size}) non-negative probabilities, one row per state."
            )
        if not np.allclose(matrix.sum(axis=1), 1.0, atol=1e-9):
            raise NetworkError(
                f"{where}: rows of transition sum to {matrix.sum(axis=1).tolist()}; "
                "expected 1 each."
            )

    def for_mode(self, mode: str) -> Regime:
        """Return the regime as lanes of this mode feel it."""
        for own in self.by_mode:
            if own.mode == mode:
                return replace(self, states=own.states, by_mode=())
        return self

    def step(self) -> Floats:
        """Return [states, states] the probability of the next state (column), given today's."""
        return self.process.step(len(self.states))

    def stationary(self) -> Floats:
        """Return the long-run share of time in every state; of an event: as usual."""
        return self.process.stationary(len(self.states))

    def mean(self, multiplier: str) -> float:
        """Return the long-run mean of a multiplier."""
        return float(self.stationary() @ [getattr(s, multiplier) for s in self.states])

    def mean_square(self, multiplier: str) -> float:
        """Return the long-run mean of its square."""
        return float(self.stationary() @ [getattr(s, multiplier) ** 2 for s in self.states])
