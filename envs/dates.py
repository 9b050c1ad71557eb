"""How long periods are, and which period of the calendar a date is in."""

from __future__ import annotations

import math
import re
from datetime import date, timedelta
from typing import NamedTuple

from envs.errors import ConfigError, shown

# Period 0 of a network that says no start_date. A Monday: of a weekly calendar 0 is Monday, 6 is
# Sunday.
DEFAULT_START = date(2000, 1, 3)
# What a period can be, and how many there are in a year (a shift: eight hours).
PERIODS_PER_YEAR = {
    "hour": 8760.0, "shift": 1095.0, "day": 365.0, "week": 52.0, "month": 12.0, "year": 1.0,
}  # fmt: skip
# The same of a year in whole weeks: what can be repeated without moving the days of the week.
WHOLE_YEAR = {"hour": 8736, "shift": 1092, "day": 364, "week": 52, "month": 12, "year": 1}
PERIODS_PER_DAY = {"hour": 24, "shift": 3, "day": 1}
DAYS_PER_YEAR = 365.25
_DATE = re.compile(r"(19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}")


def parse_start_date(start_date: str | None) -> date:
    """Return the date of calendar period 0. Raises ConfigError unless it is YYYY-MM-DD."""
    if start_date is None:
        return DEFAULT_START
    try:
        if _DATE.fullmatch(start_date):
            return date.fromisoformat(start_date)
    except ValueError:  # no such day
        pass
    raise ConfigError(
        f"start_date is {shown(start_date)}; expected the date of period 0 as YYYY-MM-DD, from "
        "1900-01-01 to 2199-12-31."
    )


def whole_week(period_name: str) -> int:
    """Return how many periods bring the same day of the week again; 1 where they are longer."""
    return 7 * PERIODS_PER_DAY[period_name] if period_name in PERIODS_PER_DAY else 1


def period_of(day: date, start: date, period_name: str) -> int:
    """Return the period that `day` is in, or begins with; `start` begins period 0.

    period_name: one of `PERIODS_PER_YEAR`.
    """
    days = (day - start).days
    if period_name in PERIODS_PER_DAY:
        return days * PERIODS_PER_DAY[period_name]
    if period_name == "week":
        return days // 7
    months = 12 * (day.year - start.year) + day.month - start.month - (day.day < start.day)
    return months if period_name == "month" else months // 12


def date_of(period: int, start: date, period_name: str) -> date:
    """Return the date on which a period begins, as `period_of` counts them."""
    if period_name in PERIODS_PER_DAY:
        return start + timedelta(period // PERIODS_PER_DAY[period_name])
    if period_name == "week":
        return start + timedelta(7 * period)
    months = start.month - 1 + period * (1 if period_name == "month" else 12)
    year, month = start.year + months // 12, months % 12 + 1
    following = date(year + month // 12, month % 12 + 1, 1)
    # The last day of a shorter month.
    return min(date(year, month, 1) + timedelta(start.day - 1), following - timedelta(1))


class Dates(NamedTuple):
    """The dates of periods. first: on which period 0 begins."""

    first: date
    period_name: str

    def period_of(self, day: date) -> int:
        """Return the period of a date; negative before `first`."""
        return period_of(day, self.first, self.period_name)

    def date_of(self, period: int) -> date:
        """Return the date on which a period begins."""
        return date_of(period, self.first, self.period_name)


def in_calendar(period: int, length: int, period_name: str) -> int:
    """Return the period of a calendar of `length` periods that stands for any period.

    Outside it, `period` moves by whole weeks, so that it stays the same day of the week, and by
    about whole years into the calendar's first or last one, where it has a year.
    """
    if 0 <= period < length:
        return period
    week, year = whole_week(period_name), WHOLE_YEAR[period_name]
    if length < year:
        return period % max(length - length % week, min(length, week))
    longer = year if period_name in ("month", "year") else year * DAYS_PER_YEAR / 364.0
    beyond = period - length + 1 if period >= length else period
    years = math.copysign(math.ceil(abs(beyond) / longer), beyond)
    moved = period - week * round(years * longer / week)
    if moved < 0:
        moved += year
    return moved if moved < length else moved - year
