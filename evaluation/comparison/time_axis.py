"""Periods on the axis of a plot: as dates, where the scenario has them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from matplotlib.axes import Axes

from envs.scenario import Scenario

_MOST = 7  # ticks

# From the finest: what ticks begin, and how they are written.
_UNITS: tuple[tuple[Callable[[date], object], Callable[[date], str]], ...] = (
    (lambda d: d, lambda d: f"{d:%a} {d.day} {d:%b}"),
    (lambda d: d.isocalendar()[:2], lambda d: f"{d.day} {d:%b}"),
    (lambda d: (d.year, d.month), lambda d: f"{d:%b %Y}"),
    (lambda d: (d.year, (d.month - 1) // 3), lambda d: f"{d:%b %Y}"),
    (lambda d: d.year, lambda d: f"{d:%Y}"),
)


def label_periods(axis: Axes, scenario: Scenario, first: int, count: int, what: str) -> None:
    """Label the x axis of `count` periods, drawn at 0, 1, ..., of which `first` is the calendar
    period of 0. what: the periods are called by their name and this."""
    label = f"{scenario.period_name}{what}"
    if scenario.start_date is not None:
        days = [scenario.date_of(first + t) for t in range(count)]
        label += f", from {days[0]:%a} {days[0].isoformat()}"
        ticks, labels = _date_ticks(days)
        axis.set_xticks(ticks, labels)
    elif scenario.by_date:
        label += f", from {scenario.period_name} {first} (no start_date gives dates)"
    axis.set_xlabel(label)


def _date_ticks(days: list[date]) -> tuple[list[int], list[str]]:
    """Where days, weeks, months, quarters or years begin: the finest of which all, or
    every other, leave few ticks."""
    for unit_of, written in _UNITS:
        units = [unit_of(day) for day in days]
        ticks = [t for t in range(1, len(days)) if units[t] != units[t - 1]]
        if len(ticks) <= 2 * _MOST or written is _UNITS[-1][1]:
            break
    ticks = ticks[:: max(1, -(-len(ticks) // _MOST))] or [0]
    return ticks, [written(days[t]) for t in ticks]
