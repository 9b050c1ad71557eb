"""Calendars as people write them: by name, by days of the week, and with dates of holidays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from envs.dates import DEFAULT_START, PERIODS_PER_DAY
from envs.errors import ConfigError, did_you_mean, shown
from envs.network.calendar import Calendar
from envs.network.plain import Reader, must_know_keys, wrong

_WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_KEYS = ("cycle", "open", "closed_on", "open_on")


@dataclass(frozen=True)
class CalendarReader:
    """Reads a calendar: the name of a shared one, or its keys.

    shared: name -> keys, as under `calendars`. start_date: of period 0, YYYY-MM-DD.
    period_name: one of `envs.dates.PERIODS_PER_YEAR`.
    """

    shared: Mapping[Any, Any]
    start_date: str | None
    period_name: str
    _read: dict[str, Calendar] = field(default_factory=dict)

    def __call__(self, value: Any, where: str) -> Any:
        """Return the calendar. Raises ConfigError naming `where`."""
        if isinstance(value, Calendar):
            return value
        if isinstance(value, str):
            return self._named(value, where)
        if not isinstance(value, Mapping):
            raise wrong(where, value, "the name of a calendar, or open: days")
        must_know_keys(value, _KEYS, where)
        spelled: dict[str, Any] = dict(value)
        days = value.get("open")
        if isinstance(days, list | tuple) and any(_is_name(day) for day in days):
            spelled |= self._week(days, value, where)
        for key in ("closed_on", "open_on"):
            if isinstance(value.get(key), list | tuple):
                spelled[key] = [
                    period
                    for i, day in enumerate(value[key])
                    for period in self._periods(day, f"{where}.{key}[{i}]")
                ]
        return spelled

    def _named(self, name: str, where: str) -> Calendar:
        if name not in self.shared:
            nearest = did_you_mean(name, [str(known) for known in self.shared])
            raise ConfigError(
                f"{where}: calendar '{name}' is not defined; expected one of `calendars`, or keys "
                f"such as open: [mon, tue].{nearest}"
            )
        if name not in self._read:
            value, path = self.shared[name], f"calendars.{name}"
            if not isinstance(value, Mapping | Calendar):
                raise wrong(path, value, "keys such as open: [mon, tue]")
            self._read[name] = Reader(forms={Calendar: self}).part(Calendar, value, path)
        return self._read[name]

    def _week(self, days: Any, value: Mapping[str, Any], where: str) -> dict[str, Any]:
        """`cycle` and `open` of days of the week."""
        if "cycle" in value:
            raise ConfigError(
                f"{where}: cycle is {shown(value['cycle'])} beside days of the week; expected one "
                "of them: leave cycle out, or give open as numbers from 0 to cycle - 1."
            )
        per_day, start = self._per_day(where), self._start or DEFAULT_START
        wanted = {self._weekday(day, f"{where}.open[{i}]") for i, day in enumerate(days)}
        cycle = 7 * per_day
        first = start.weekday()
        open_periods = [t for t in range(cycle) if (first + t // per_day) % 7 in wanted]
        return {"cycle": cycle, "open": open_periods}

    def _weekday(self, day: Any, where: str) -> int:
        text = day.lower() if _is_name(day) else ""
        found = [i for i, name in enumerate(_WEEK) if len(text) > 2 and name.startswith(text)]
        if not found:
            raise wrong(where, day, "a day of the week: mon, tue, wed, thu, fri, sat or sun")
        return found[0]

    def _periods(self, day: Any, where: str) -> list[Any]:
        """The periods of a date, those before period 0 left out; a number stays one."""
        if isinstance(day, str) and not day.lstrip("-").isdigit():
            try:
                when = date.fromisoformat(day)
            except ValueError:
                raise wrong(where, day, "a date, YYYY-MM-DD, or the number of a period") from None
            if self._start is None:
                raise ConfigError(
                    f"{where} is {day}, but the network has no start_date to count from; expected "
                    "start_date: YYYY-MM-DD, the date of period 0."
                )
            per_day = self._per_day(where)
            first = (when - self._start).days * per_day
            return [t for t in range(first, first + per_day) if t >= 0]
        return [day]

    def _per_day(self, where: str) -> int:
        if self.period_name not in PERIODS_PER_DAY:
            raise ConfigError(
                f"{where}: periods are {self.period_name}s, which have no days of their own; "
                f"expected period_name {', '.join(PERIODS_PER_DAY)}, or numbers of periods."
            )
        return PERIODS_PER_DAY[self.period_name]

    @property
    def _start(self) -> date | None:
        try:
            return None if self.start_date is None else date.fromisoformat(self.start_date)
        except ValueError:
            return None  # the scenario refuses it


def _is_name(day: Any) -> bool:
    return isinstance(day, str) and day.isalpha()
