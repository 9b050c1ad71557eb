"""Numbers of periods that calendars make differ by date: what an order covers, when it arrives."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

from envs.compiled.calendars import place_of
from envs.kernel import kernel
from envs.network.calendar import Calendar, LaneCalendars
from envs.types import Ints


class DatedPeriods(NamedTuple):
    """By how many periods something is longer than usual; tables by date, of H kinds."""

    matter: bool  # for some row
    row: Ints  # [N] the table; -1: as usual on every date
    # [H, periods] by calendar period up to known_until, then one cycle that goes on for ever
    longer: Ints
    known_until: Ints  # [H] period, a multiple of the cycle
    cycle: Ints  # [H] periods


class Dated(NamedTuple):
    """What moves by date. Equal kinds share a table."""

    kind: Hashable
    calendars: Sequence[LaneCalendars]
    longer: Callable[[int], int]  # calendar period -> periods longer than usual


def dated_periods(rows: Sequence[Dated]) -> DatedPeriods:
    """Tabulate rows; those that no calendar moves are as usual."""
    row, known = np.full(len(rows), -1, np.int64), dict[Hashable, int]()
    tables: list[tuple[Ints, int, int]] = []
    for n, one in enumerate(rows):
        parts = [c for met in one.calendars for c in met.known]
        if not parts:
            continue
        if one.kind not in known:
            known[one.kind] = len(tables)
            tables.append(_table(parts, one.longer))
        row[n] = known[one.kind]
    width = max((values.size for values, _, _ in tables), default=1)
    longer = np.zeros((max(1, len(tables)), width), np.int64)
    for h, (values, _, _) in enumerate(tables):
        longer[h, : values.size] = values
    until = np.array([until for _, until, _ in tables] or [0], np.int64)
    cycle = np.array([cycle for _, _, cycle in tables] or [1], np.int64)
    return DatedPeriods(bool(tables), row, longer, until, cycle)


def _table(calendars: Sequence[Calendar], longer: Callable[[int], int]) -> tuple[Ints, int, int]:
    cycle = math.lcm(*(c.cycle for c in calendars))
    until = -(-max(c.known_until for c in calendars) // cycle) * cycle
    values = np.array([longer(t) for t in range(until + cycle)], np.int64)
    return values, until, cycle


@kernel
def longer_on(dated: DatedPeriods, n: int, period: int) -> int:
    """By how many periods row n is longer than usual in a calendar period."""
    row = dated.row[n]
    if row < 0:
        return 0
    place = place_of(period, dated.known_until[row], dated.cycle[row])
    longer: int = dated.longer[row, place]
    return longer
