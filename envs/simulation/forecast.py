"""Online demand forecasts inside the simulator: exponential smoothing under a known calendar.

Demand of a period is level x multiplier (season, promotions: known ahead); the level and the
variance are smoothed as demand is seen. smoothing 0 keeps the prior: right for stationary demand
of known mean.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.errors import ConfigError
from envs.simulation.dated_horizons import DatedHorizons, dated_horizons
from envs.types import Floats, Ints


class ForecastArrays(NamedTuple):
    """What the observe event needs."""

    smoothing: float  # weight of the newest period, 0..1
    customer_pair: Ints  # [D]
    has_multiplier: bool
    multiplier: Floats  # [D, C]
    cumulative: Floats  # [D, C + longest horizon + 2] sums of the multiplier
    seen_lag: int  # periods between the calendar and the demand just seen
    first_ahead: int  # periods until the first demand not seen yet
    horizon: Ints  # [P] periods an order must cover, as usual
    path_horizon: Ints  # [P] the same down to the customer
    dates: DatedHorizons  # by how much that differs by date
    lead_sd: Floats  # [P] periods
    path_lead_sd: Floats  # [P] periods


def compile_forecast(net: CompiledNetwork, smoothing: float) -> ForecastArrays:
    """Prepare the forecasts of a network. Raises ConfigError for smoothing outside [0, 1)."""
    if not 0.0 <= smoothing < 1.0:
        raise ConfigError(f"forecast smoothing is {smoothing}; expected a number in [0, 1).")
    demand_first = net.arrays.switches.demand_first
    horizon = np.round(net.leads.pair).astype(np.int64) + net.review
    path_horizon = np.round(net.leads.path).astype(np.int64) + net.review
    known = net.demand.multiplier
    factors = np.ones((len(net.customer_pair), 1)) if known is None else known
    dates = dated_horizons(net, horizon)
    length = factors.shape[1] + int(path_horizon.max()) + int(dates.longer.max()) + 2
    wrapped = factors[:, np.arange(length) % factors.shape[1]]
    cumulative = np.concatenate([np.zeros((len(factors), 1)), np.cumsum(wrapped, axis=1)], axis=1)
    return ForecastArrays(
        smoothing, net.customer_pair, known is not None, factors, cumulative,
        0 if demand_first else 1, 1 if demand_first else 0,
        horizon, path_horizon, dates, *_lead_sd(net, dates),
    )  # fmt: skip


def _lead_sd(net: CompiledNetwork, dates: DatedHorizons) -> tuple[Floats, Floats]:
    """[P] of pairs, and of the way down; where dates are known, without what calendars do."""
    sd, own = net.leads.pair_sd, np.where(dates.row >= 0, net.leads.open_pair_sd, net.leads.pair_sd)
    return own, np.sqrt(np.maximum(net.leads.path_sd**2 - sd**2 + own**2, 0.0))
