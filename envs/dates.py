"""How long periods are, and which period of the calendar a date is in."""

from __future__ import annotations

from datetime import date, timedelta

# Period 0 of a network that says no start_date. A Monday: of a weekly calendar 0 is Monday, 6 is
# Sunday.
DEFAULT_START = date(2000, 1, 3)
# What a period can be, and how many there are in a year (a shift: eight hours).
PERIODS_PER_YEAR = {
    "hour": 8760.0, "shift": 1095.0, "day": 365.0, "week": 52.0, "month": 12.0, "year": 1.0,
}  # fmt: skip
PERIODS_PER_DAY = {"hour": 24, "shift": 3, "day": 1}


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
