"""Calendars: in which periods something is open."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from envs.errors import NetworkError
from envs.network.checks import few_periods
from envs.network.plain import ADDED
from envs.types import Bools

_LONGEST_JOINT = 100_000  # periods after which calendars that meet repeat
_LAST_DAY = 100_000  # period


@dataclass(frozen=True)
class Calendar:
    """Periods in which something is open: those t with t mod `cycle` in `open`, and exceptions.

    closed_on, open_on: periods (dates, in YAML) that are closed or open whatever the cycle says:
      holidays, an extra Saturday. From the last exception on, the cycle alone is known.
    """

    cycle: int = 7
    open: tuple[int, ...] = ()
    closed_on: tuple[int, ...] = field(default=(), metadata=ADDED)
    open_on: tuple[int, ...] = field(default=(), metadata=ADDED)

    def __post_init__(self) -> None:
        days = sorted(set(self.open))
        few_periods("calendar ", cycle=self.cycle)
        if self.cycle < 1 or not days or days[0] < 0 or days[-1] >= self.cycle:
            raise NetworkError(
                f"calendar has cycle {self.cycle} and open {list(self.open)}; expected a cycle >= "
                "1 and at least one open period from 0 to cycle - 1."
            )
        both = sorted(set(self.closed_on) & set(self.open_on))
        if both:
            raise NetworkError(
                f"calendar: period {both[0]} is in closed_on and in open_on; expected one of them."
            )
        for t in (*self.closed_on, *self.open_on):
            if not 0 <= t <= _LAST_DAY:
                raise NetworkError(
                    f"calendar: closed_on or open_on has period {t}; expected 0 to {_LAST_DAY}, "
                    "counted from the network's start_date."
                )

    @cached_property
    def table(self) -> Bools:
        """[known_until + cycle] whether it is open; its last cycle goes on for ever."""
        is_open = np.zeros(self.cycle, bool)
        is_open[list(self.open)] = True
        is_open = np.tile(is_open, self.known_until // self.cycle + 1)
        is_open[list(self.closed_on)], is_open[list(self.open_on)] = False, True
        return is_open

    def is_open(self, period: int) -> bool:
        """Return whether it is open in a period; before 0, the cycle alone is known."""
        known = 0 <= period < self.known_until
        return bool(self.table[period if known else self.known_until + period % self.cycle])

    def next_open(self, period: int) -> int:
        """Return the first open period from `period` on."""
        while not self.is_open(period):
            period += 1
        return period

    @property
    def exceptions(self) -> tuple[int, ...]:
        """Periods that differ from the cycle."""
        return (*self.closed_on, *self.open_on)

    @cached_property
    def known_until(self) -> int:
        """The first multiple of the cycle from which on there are no exceptions."""
        last = max(self.exceptions, default=-1)
        return -(-(last + 1) // self.cycle) * self.cycle

    @property
    def longest_gap(self) -> int:
        """Periods from an open one to the next, at most; exceptions left aside: what a rule covers
        all year isn't a holiday's gap."""
        days = sorted(set(self.open))
        following = [*days[1:], days[0] + self.cycle]
        return max(b - a for a, b in zip(days, following, strict=True))


def joint(calendars: Iterable[Calendar | None]) -> Calendar | None:
    """Return when all of them are open; None: always.

    Raises NetworkError where that is never, or where they repeat too late.
    """
    known = list(dict.fromkeys(c for c in calendars if c is not None))
    if len(known) < 2:
        return known[0] if known else None
    cycle = math.lcm(*(c.cycle for c in known))
    if cycle > _LONGEST_JOINT:
        raise NetworkError(
            f"calendars have cycles {sorted({c.cycle for c in known})}, which meet again only "
            f"after {cycle} periods; expected at most {_LONGEST_JOINT}."
        )
    usual = tuple(t for t in range(cycle) if all(t % c.cycle in c.open for c in known))
    if not usual:
        raise NetworkError(
            f"calendars with open {' and '.join(str(list(c.open)) for c in known)} are never open "
            "together; expected a period that is in all of them."
        )
    days = sorted({t for c in known for t in c.exceptions})
    is_open = {t: all(c.is_open(t) for c in known) for t in days}
    return Calendar(
        cycle,
        usual,
        closed_on=tuple(t for t in days if t % cycle in usual and not is_open[t]),
        open_on=tuple(t for t in days if t % cycle not in usual and is_open[t]),
    )


class LaneCalendars(NamedTuple):
    """The calendars of a lane and of its ends, met; None: always open."""

    ordering: Calendar | None = None  # when orders can be placed
    shipping: Calendar | None = None  # when goods leave
    transit: Calendar | None = None  # when they move: a lead time counts these periods alone
    receiving: Calendar | None = None  # when they are let in
    # goods are received after they ship: what leaves in a period in which nothing moves is not yet
    # on its way then
    leaves_before_receipts: bool = False

    @property
    def known(self) -> tuple[Calendar, ...]:
        """Those that are sometimes closed."""
        calendars = (self.ordering, self.shipping, self.transit, self.receiving)
        return tuple(calendar for calendar in calendars if calendar is not None)

    def usual(self) -> LaneCalendars:
        """Return them without exceptions."""
        calendars = (self.ordering, self.shipping, self.transit, self.receiving)
        ordering, shipping, transit, receiving = (
            c and Calendar(c.cycle, c.open) for c in calendars
        )
        late = self.leaves_before_receipts
        return LaneCalendars(ordering, shipping, transit, receiving, late)

    def arrival(self, period: int, lead: int) -> int:
        """Return in which period goods arrive that could leave in `period`, lead periods away."""
        if self.shipping is not None:
            period = self.shipping.next_open(period)
        if self.transit is None:
            period += lead
        else:
            if self.leaves_before_receipts or lead == 0:
                period = self.transit.next_open(period)
            for _ in range(lead):
                period = self.transit.next_open(period + 1)
        return period if self.receiving is None else self.receiving.next_open(period)

    def way_left(self, today: int, due_in: int) -> int:
        """Return in how many of the periods until they arrive goods on their way still have to
        move; today: calendar period."""
        late = self.leaves_before_receipts
        first, last = today + 1 - late, today + due_in
        if self.transit is None or last < first:
            return due_in
        moves = sum(self.transit.is_open(t) for t in range(first, last + 1))
        return moves - late + (not self.transit.is_open(last))

    def due_in(self, today: int, way_left: int) -> int:
        """Return in how many periods goods arrive that still have to move in `way_left` of them."""
        if self.transit is None:
            return way_left
        period = today - self.leaves_before_receipts
        for _ in range(way_left + self.leaves_before_receipts):
            period = self.transit.next_open(period + 1)
        return period - today
