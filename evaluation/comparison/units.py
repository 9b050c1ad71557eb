"""What key figures are counted in: the one place that spells units, for all commands."""

from __future__ import annotations

from typing import Protocol

from envs.dates import parse_start_date

_SHARES = (
    "fill_rate", "ready_rate", "cycle_service_level", "otif_outbound", "otif_inbound",
    "bottleneck_utilisation", "load_fill",
)  # fmt: skip
_PERIODS = (
    "days_of_supply", "forward_days_of_supply", "backlog_age", "time_to_survive",
    "time_to_recover", "time_to_shift",
)  # fmt: skip
SHARE = "%"


class Counted(Protocol):
    """What has costs and periods: a `Scenario`, or a report's record of one."""

    @property
    def currency(self) -> str:
        """Three capital letters."""

    @property
    def period_name(self) -> str:
        """What a period is."""

    @property
    def start_date(self) -> str | None:
        """ISO date of calendar period 0."""

    @property
    def by_date(self) -> bool:
        """Whether anything depends on dates."""


def name_of(figure: str, counted: Counted) -> str:
    """Return what a figure of `EpisodeKpis.summary` is called: `days_of_supply` counts periods,
    whatever they are."""
    return figure.replace("days_of", f"{counted.period_name}s_of")


def unit_of(figure: str, counted: Counted) -> str:
    """Return the unit of a figure of `EpisodeKpis.summary`, or of a cost; a share is in %."""
    period = counted.period_name
    if figure in _SHARES or figure.endswith("_share"):
        return SHARE
    if figure in _PERIODS:
        return f"{period}s"
    if figure.startswith("bullwhip_"):
        return "CV² of orders / of demand"
    if figure.startswith("nervousness_"):
        return "change / mean order"
    units = {"turns": "a year", "co2": f"kg per {period}", "lost_sales": f"units per {period}"}
    return {**units, "failures": "count"}.get(figure, cost_unit(counted))


def cost_unit(counted: Counted) -> str:
    """Return the unit of costs."""
    return f"{counted.currency} per {counted.period_name}"


def in_words(counted: Counted) -> str:
    """Return what a reader has to know of money and time, in one line."""
    return "; ".join(filter(None, (f"Costs in {cost_unit(counted)}", first_period(counted))))


def first_period(counted: Counted) -> str:
    """Say when period 0 is, where it is known, or where calendars have to assume it; else ""."""
    if counted.start_date is None and not counted.by_date:
        return ""
    first, day = (
        f"{counted.period_name} 0 is",
        f"{parse_start_date(counted.start_date):%A %Y-%m-%d}",
    )
    if counted.start_date is None:
        return f"{first} taken as {day}, as no start_date says when it is"
    return f"{first} {day}"
