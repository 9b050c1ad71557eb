"""Online demand forecasts inside the simulator: exponential smoothing under a known calendar.

Demand of a period is level x multiplier (season, promotions: known ahead); the level and the
variance are smoothed as demand is seen. smoothing 0 keeps the prior: right for stationary demand
of known mean.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.compiled.dated_periods import Dated, DatedPeriods, dated_periods
from envs.compiled.network import CompiledNetwork
from envs.errors import ConfigError
from envs.network.calendar import LaneCalendars
from envs.types import Floats, Ints


class ForecastArrays(NamedTuple):
    """What the observe event needs."""

    smoothing: float  # weight of the newest period, 0..1
    customer_pair: Ints  # [D]
    has_multiplier: bool
    season: Ints  # [D] which multiplier a stream has: most have one in common
    multiplier: Floats  # [seasons, C]
    cumulative: Floats  # [seasons, C + longest horizon + 2] sums of the multiplier
    seen_lag: int  # periods between the calendar and the demand just seen
    first_ahead: int  # periods until the first demand not seen yet
    horizon: Ints  # [P] periods an order must cover, as usual
    path_horizon: Ints  # [P] the same down to the customer
    dates: DatedPeriods  # [P] by how much that differs by date
    lead_sd: Floats  # [P] periods
    path_lead_sd: Floats  # [P] periods


def compile_forecast(net: CompiledNetwork, smoothing: float) -> ForecastArrays:
    """Prepare the forecasts of a network. Raises ConfigError for smoothing outside [0, 1)."""
    if not 0.0 <= smoothing < 1.0:
        raise ConfigError(f"forecast smoothing is {smoothing}; expected a number in [0, 1).")
    demand_first = net.arrays.switches.demand_first
    horizon = np.round(net.leads.pair).astype(np.int64) + net.review
    path_horizon = np.round(net.leads.path).astype(np.int64) + net.review
    dates = dated_periods([_dated(net, p, int(usual)) for p, usual in enumerate(horizon)])
    seasons = net.demand.seasons(int(path_horizon.max()) + int(dates.longer.max()))
    return ForecastArrays(
        smoothing, net.customer_pair, net.demand.multiplier is not None, *seasons,
        0 if demand_first else 1, 1 if demand_first else 0,
        horizon, path_horizon, dates, *_lead_sd(net, dates),
    )  # fmt: skip


def _dated(net: CompiledNetwork, p: int, usual: int) -> Dated:
    """What orders of pair p must cover where calendars close its lanes in regular use: the demand
    until the next order could have arrived, on a Friday more than on a Monday."""
    inbound, lanes = net.arrays.stocks.inbound, net.arrays.lanes
    entries = range(inbound.pointer[p], inbound.pointer[p + 1])
    ways = tuple(
        (net.calendars[q], int(lanes.information_delay[q]), round(net.leads.open_lane[q]), share)
        for q, share in ((int(inbound.index[i]), float(inbound.value[i])) for i in entries)
        if share > 0.0 and not lanes.expedite[q]
    )
    first = int(net.arrays.switches.demand_first)

    def longer(today: int) -> int:
        covers = sum(
            share * (_next_arrival(calendars, delay, lead, today) - today)
            for calendars, delay, lead, share in ways
        )
        return int(max(round(covers) - first, 0)) - usual

    return Dated((ways, usual), [calendars for calendars, *_ in ways], longer)


def _next_arrival(calendars: LaneCalendars, information_delay: int, lead: int, today: int) -> int:
    """The period in which what is ordered at the next chance after today arrives."""
    following = today + 1
    if calendars.ordering is not None:
        following = calendars.ordering.next_open(following)
    return calendars.arrival(following + information_delay, lead)


def _lead_sd(net: CompiledNetwork, dates: DatedPeriods) -> tuple[Floats, Floats]:
    """[P] of pairs, and of the way down; where dates are known, without what calendars do."""
    sd, own = net.leads.pair_sd, np.where(dates.row >= 0, net.leads.open_pair_sd, net.leads.pair_sd)
    return own, np.sqrt(np.maximum(net.leads.path_sd**2 - sd**2 + own**2, 0.0))
