"""What an agent sees of each way to get a SKU, and of what limits its orders.

Inbound lanes stand in fixed slots, in the order of the network; a pair with fewer lanes than others
sees zeros. A network whose lanes never vary and give no choice has none of these features.
"""

from __future__ import annotations

import math

import numpy as np

from envs.compiled.arrays import NetworkArrays
from envs.compiled.calendars import is_open_on
from envs.kernel import kernel
from envs.observation.arrays import ObservationArrays
from envs.simulation.state import State
from envs.types import Floats, Floats32, Ints


@kernel
def write_lanes(
    net: NetworkArrays, arrays: ObservationArrays, state: State, p: int, period: int, lo: int,
    hi: int, out: Floats32,
) -> None:  # fmt: skip
    """Fill the features of the lanes to pair p, out [F, B], for the columns lo..hi."""
    at, forecast = arrays.at, arrays.forecast
    first, last = net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]
    for i in range(first, last):
        q, f = net.stocks.inbound.index[i], (i - first) * arrays.lane_size
        if at.lane_lead_time >= 0 and net.beliefs.row[q] >= 0:
            for b in range(lo, hi):
                _put_beliefs(net, arrays, state, p, q, f, b, out)
        row = net.factor_rows.cost[q]
        if at.lane_price >= 0 and row >= 0:
            for b in range(lo, hi):
                price = (1.0 + arrays.price[q]) * arrays.factor[row, b] - 1.0
                out[f + at.lane_price, b] = price
        if arrays.watched[q]:
            for b in range(lo, hi):
                if at.lane_usable_as_seen >= 0:
                    share = _product(arrays.usable[q], arrays.seen, b)
                    out[f + at.lane_usable_as_seen, b] = share
                for k in range(forecast.shape[0]):
                    out[f + at.lane_speed_in + k, b] = _product(arrays.speed[q, k], forecast[k], b)
        if at.lane_open_now >= 0 and net.rules.calendar_row[q] >= 0:
            for b in range(lo, hi):
                closed = _periods_closed(net, q, period + arrays.offset[b])
                out[f + at.lane_open_now, b] = closed == 0
        if at.lane_arrives_in >= 0:
            for b in range(lo, hi):
                way = _periods_until_arrival(net, arrays, q, period + arrays.offset[b])
                out[f + at.lane_arrives_in, b] = way / arrays.protection_interval[p] - 1.0


@kernel
def write_limits(
    net: NetworkArrays, arrays: ObservationArrays, state: State, p: int, period: int, lo: int,
    hi: int, out: Floats32,
) -> None:  # fmt: skip
    """Fill what limits the orders of pair p, out [F, B], for the columns lo..hi."""
    at, scale = arrays.at, arrays.inverse_scale[p]
    if at.storage_room >= 0 and net.nodes.storage_capacity[net.stocks.node_of[p]] < np.inf:
        _put_room(net, state, p, scale, lo, hi, out[at.storage_room])
    first = net.stocks.inbound.pointer[p]
    if at.periods_until_order >= 0 and first < net.stocks.inbound.pointer[p + 1]:
        for b in range(lo, hi):
            closed = _periods_closed(
                net, net.stocks.inbound.index[first], period + arrays.offset[b]
            )
            out[at.periods_until_order, b] = closed / arrays.protection_interval[p]
    if at.expedite_position >= 0 and net.stocks.expedite_periods[p] >= 0:
        for b in range(lo, hi):
            position = state.expedite_position[p, b] * float(scale)
            out[at.expedite_position, b] = _signed(position)


@kernel
def _put_beliefs(
    net: NetworkArrays, arrays: ObservationArrays, state: State, p: int, q: int, f: int, b: int,
    out: Floats32,
) -> None:  # fmt: skip
    """f: how far the lane's columns are behind those of the first."""
    at, k, interval = arrays.at, net.beliefs.row[q], arrays.protection_interval[p]
    mean = state.lead_belief[k, b]
    spread = math.sqrt(max(0.0, state.lead_square[k, b] - mean * mean))
    out[f + at.lane_lead_time, b] = mean / interval - 1.0
    out[f + at.lane_lead_time_sd, b] = spread / interval
    out[f + at.lane_on_time, b] = state.on_time[k, b]
    out[f + at.lane_in_full, b] = state.in_full[k, b]
    out[f + at.lane_overdue, b] = _signed(state.overdue[k, b] * arrays.inverse_scale[p])


@kernel
def _product(table: Floats, states: Ints, b: int) -> float:
    """table [G, states + 1], states [G, B]: over all regimes; -1, unknown, is the last column."""
    product = 1.0
    for g in range(states.shape[0]):
        product *= table[g, states[g, b]]
    return product


@kernel
def _periods_closed(net: NetworkArrays, q: int, now: int) -> int:
    """Periods until orders can be placed on the lane; 0: now."""
    return _next_open(net, net.rules.calendar_row[q], now) - now


@kernel
def _periods_until_arrival(net: NetworkArrays, arrays: ObservationArrays, q: int, now: int) -> int:
    """Of what is ordered now and ships as soon as its sender does, after the usual lead time."""
    shipping, transit, receiving = arrays.closing[q, 0], arrays.closing[q, 1], arrays.closing[q, 2]
    when = _next_open(net, shipping, now + net.lanes.information_delay[q])
    if net.switches.receive_after_ship or arrays.usual_lead[q] == 0:
        when = _next_open(net, transit, when)  # else what leaves is on its way
    for _ in range(arrays.usual_lead[q]):
        when = _next_open(net, transit, when + 1)
    return _next_open(net, receiving, when) - now


@kernel
def _next_open(net: NetworkArrays, row: int, period: int) -> int:
    """The first open period from `period` on; row -1: that one."""
    if row >= 0:
        while not is_open_on(net.calendars, row, period):
            period += 1
    return period


@kernel
def _signed(x: float) -> float:
    """Squash as in envs/observation/pairs.py, both signs."""
    size = 2.0 * (math.sqrt(1.0 + abs(x)) - 1.0)
    return size if x >= 0.0 else -size


@kernel
def _put_room(
    net: NetworkArrays, state: State, p: int, scale: np.float32, lo: int, hi: int, out: Floats32
) -> None:
    """Units of this pair that still fit into the node, in periods of its demand."""
    n = net.stocks.node_of[p]
    for b in range(lo, hi):
        free = net.nodes.storage_capacity[n]
        for j in range(net.nodes.stored.pointer[n], net.nodes.stored.pointer[n + 1]):
            free -= net.nodes.stored.value[j] * state.on_hand[net.nodes.stored.index[j], b]
        out[b] = _signed(max(0.0, free) / max(net.stocks.volume[p], 1e-9) * scale)
