"""What the kernels that write observations read, beside the network and the state."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.observation.features import Columns, Layout, relative_price
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
    usable: Floats  # [Q, G, states] share of orders that go through in a state
    speed: Floats  # [Q, G, states] usable / lead-time factor, of what is forecast
    protection_interval: Floats  # [P] expected lead time and review, periods
    factor: Floats  # [V, B] of the trace
    seen: Ints  # [G, B] of the trace
    forecast: Ints  # [F, G, B] of the trace
    calendar: Ints  # [B] of the trace
    offset: Ints  # [B] of the trace
    scratch: Floats  # [B]


def compile_observation(net: CompiledNetwork, layout: Layout, trace: Trace) -> ObservationArrays:
    """Gather what kernels need to write the features of a layout."""
    day = np.arange(net.demand.calendar_length)
    week, year = 2.0 * np.pi * day / 7.0, 2.0 * np.pi * day / 365.25
    usable, speed = _by_state(net)
    watched = np.zeros(len(net.network.lanes), bool)
    if usable.size:
        watched = (usable != 1.0).any(axis=(1, 2)) | (speed != 1.0).any(axis=(1, 2))
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
        protection_interval=np.maximum(net.leads.pair + net.review, 1.0),
        factor=trace.factor,
        seen=trace.seen,
        forecast=trace.forecast,
        calendar=trace.calendar,
        offset=trace.offset,
        scratch=np.zeros(trace.offset.size),
    )


def _by_state(net: CompiledNetwork) -> tuple[Floats, Floats]:
    """[Q, G, states] of the regimes that agents see or get forecasts of; else 1."""
    regimes = net.network.regimes
    width = max((len(r.states) for r in regimes), default=1)
    shape = (len(net.network.lanes), len(regimes), width)
    if not any(r.seen_after is not None or r.forecast_accuracy for r in regimes):
        shape = (0, 0, 0)  # not read
    usable, speed = np.ones(shape), np.ones(shape)
    by_resource = {r.id: set(r.regimes) for r in net.network.resources}
    for q, lane in enumerate(net.network.lanes if shape[0] else ()):
        for g, regime in enumerate(regimes):
            if any(regime.id in by_resource[use.resource] for use in lane.resources):
                share = np.array([s.availability for s in regime.states])
                usable[q, g, : len(share)] = speed[q, g, : len(share)] = share
            if regime.id in lane.regimes:
                states = regime.for_mode(lane.mode).states
                share = np.array([s.availability * s.ordering * s.transit for s in states])
                slow = np.array([max(s.lead_time, 1e-3) for s in states])
                usable[q, g, : len(share)] = share
                speed[q, g, : len(share)] = share / slow
    return usable, speed
