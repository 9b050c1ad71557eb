"""What the kernels that write observations read, beside the network and the state."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.dates import DAYS_PER_YEAR, PERIODS_PER_DAY, PERIODS_PER_YEAR
from envs.observation.features import Columns, Layout, calendars_of_goods, relative_price
from envs.trace.trace import Trace
from envs.types import Bools, Floats, Floats32, Ints


class ObservationArrays(NamedTuple):
    """Of one setting; the arrays of its trace are shared with it."""

    at: Columns
    lane_slots: int  # inbound lanes that are shown, at most
    lane_size: int  # columns of a lane
    inverse_scale: Floats32  # [P] 1 / mean demand per period
    week_sin: Floats32  # [C]
    week_cos: Floats32  # [C]
    year_sin: Floats32  # [C]
    year_cos: Floats32  # [C]
    price: Floats  # [Q] unit cost / cheapest on the lanes to the pair - 1
    watched: Bools  # [Q] exposed to a regime that agents see or get forecasts of
    # Of what agents see or are told, and 1 of all else; the last column is of what is unknown, the
    # long-run mean.
    usable: Floats  # [Q, G, states + 1] share of orders that go through in a state
    speed: Floats  # [Q, F, G, states + 1] usable / lead-time factor in a state of the forecast
    closing: Ints  # [Q, 3] rows of the calendars of shipping, transit and receiving, or -1
    usual_lead: Ints  # [Q] periods from shipping to arrival
    protection_interval: Floats  # [P] expected lead time and review, periods
    factor: Floats  # [V, B] of the trace
    seen: Ints  # [G, B] of the trace
    forecast: Ints  # [F, G, B] of the trace
    calendar: Ints  # [B] of the trace
    offset: Ints  # [B] of the trace
    scratch: Floats  # [2, B]


def compile_observation(
    net: CompiledNetwork, layout: Layout, trace: Trace, period_name: str
) -> ObservationArrays:
    """Gather what kernels need to write the features of a layout."""
    period = np.arange(net.demand.calendar_length)
    per_day = PERIODS_PER_DAY.get(period_name)
    # A period longer than a day has no day of the week.
    week = 2.0 * np.pi * period / (7.0 * per_day if per_day else 1.0)
    per_year = per_day * DAYS_PER_YEAR if per_day else PERIODS_PER_YEAR[period_name]
    year = 2.0 * np.pi * period / per_year
    usable, speed = _by_state(net)
    watched = np.zeros(len(net.network.lanes), bool)
    if usable.size:
        watched = (usable != 1.0).any(axis=(1, 2)) | (speed != 1.0).any(axis=(1, 2, 3))
    return ObservationArrays(
        at=layout.at,
        lane_slots=layout.lane_slots,
        lane_size=layout.lane_size,
        inverse_scale=(1.0 / net.arrays.stocks.demand_rate).astype(np.float32),
        week_sin=np.sin(week).astype(np.float32),
        week_cos=np.cos(week).astype(np.float32),
        year_sin=np.sin(year).astype(np.float32),
        year_cos=np.cos(year).astype(np.float32),
        price=relative_price(net),
        watched=watched,
        usable=usable,
        speed=speed,
        closing=calendars_of_goods(net.arrays),
        usual_lead=np.array([round(q.lead_time.mean()) for q in net.network.lanes], np.int64),
        protection_interval=np.maximum(net.leads.pair + net.review, 1.0),
        factor=trace.factor,
        seen=trace.seen,
        forecast=trace.forecast,
        calendar=trace.calendar,
        offset=trace.offset,
        scratch=np.zeros((2, trace.offset.size)),
    )


def _by_state(net: CompiledNetwork) -> tuple[Floats, Floats]:
    """usable and speed; empty where agents see nothing of regimes."""
    regimes, lanes = net.network.regimes, net.network.lanes
    width = max((len(r.states) for r in regimes), default=0) + 1
    ahead = max((len(r.forecast_accuracy) for r in regimes), default=0)
    if not ahead and all(r.seen_after is None for r in regimes):
        return np.ones((0, 0, 0)), np.ones((0, 0, 0, 0))  # not read
    usable = np.ones((len(lanes), len(regimes), width))
    speed = np.ones((len(lanes), ahead, len(regimes), width))
    by_resource = {r.id: set(r.regimes) for r in net.network.resources}
    for q, lane in enumerate(lanes):
        for g, regime in enumerate(regimes):
            known, usual = [*range(len(regime.states)), -1], regime.stationary()
            share = slow = np.ones(len(usual))
            if any(regime.id in by_resource[use.resource] for use in lane.resources):
                share = np.array([s.availability for s in regime.states])
            if regime.id in lane.regimes:
                states = regime.for_mode(lane.mode).states
                share = np.array([s.availability * s.ordering * s.transit for s in states])
                slow = np.array([max(s.lead_time, 1e-3) for s in states])
            if regime.seen_after is not None:
                usable[q, g, known] = [*share, usual @ share]
            fast = share / slow
            speed[q, : len(regime.forecast_accuracy), g, known] = np.array([*fast, usual @ fast])[
                :, None
            ]
    return usable, speed
