"""What key figures are counted in."""

from __future__ import annotations

from envs.scenario import Scenario

_SHARES = (
    "fill_rate", "ready_rate", "cycle_service_level", "otif_outbound", "otif_inbound",
    "bottleneck_utilisation", "load_fill",
)  # fmt: skip
_PERIODS = (
    "days_of_supply", "forward_days_of_supply", "backlog_age", "time_to_survive",
    "time_to_recover", "time_to_shift",
)  # fmt: skip
SHARE = "%"


def unit_of(figure: str, scenario: Scenario) -> str:
    """Return the unit of a figure of `EpisodeKpis.summary`, or of a cost; a share is in %."""
    period = scenario.period_name
    if figure in _SHARES or figure.endswith("_share"):
        return SHARE
    if figure in _PERIODS:
        return f"{period}s"
    if figure.startswith("bullwhip_"):
        return "CV² of orders / of demand"
    if figure.startswith("nervousness_"):
        return "change / mean order"
    units = {"turns": "a year", "co2": f"kg per {period}", "lost_sales": f"units per {period}"}
    return {**units, "failures": "count"}.get(figure, cost_unit(scenario))


def cost_unit(scenario: Scenario) -> str:
    """Return the unit of costs."""
    return f"{scenario.currency} per {scenario.period_name}"


def in_words(scenario: Scenario) -> str:
    """Return what a reader has to know of money and time, in one line."""
    text = f"Costs in {cost_unit(scenario)}"
    if scenario.start_date is None:
        return text
    return f"{text}; {scenario.period_name} 0 is {scenario.first_date:%A} {scenario.start_date}"
