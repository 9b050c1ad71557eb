"""What an agent sees of each stocked pair: scale-free features, no ids.

Quantities are divided by the pair's mean demand per period and squashed by 2(sqrt(1 + x) - 1): near
x for small x, flat for heavy tails, and unlike log1p it costs one vector instruction.
"""

from __future__ import annotations

import math

import numpy as np

from envs.compiled.arrays import NetworkArrays
from envs.kernel import add_scaled, copy_row, entry, kernel
from envs.observation.arrays import ObservationArrays
from envs.observation.features import ARRIVALS, Layout
from envs.observation.lanes import write_lanes, write_limits
from envs.simulation.forecast import ForecastArrays
from envs.simulation.state import State
from envs.types import Floats, Floats32, Ints

_TILE = 256  # replications worked on together: their rows fit the L1 cache
_BUCKETS = tuple(ARRIVALS.values())[1:]  # periods ahead at which the next bucket begins


def write_preference(layout: Layout, preference: Floats, observation: Floats32) -> None:
    """Fill the feature that is the same for all pairs and periods of an episode: [B] in 0..1."""
    if layout.at.preference >= 0:
        observation[:, layout.at.preference] = 2.0 * preference - 1.0


@entry
def write_observation(
    net: NetworkArrays, forecast: ForecastArrays, arrays: ObservationArrays, state: State,
    target: Floats, period: int, observation: Floats32,
) -> None:  # fmt: skip
    """Fill the features of observation [P, F, B] that move from period to period.

    Features that are fixed and those behind the pairs' own (of companions) are left alone.

    target [P, B] units: the base policy's order, negative where stock is above its target.
    """
    pairs, batch = target.shape
    memory = state.history.shape[1]
    for lo in range(0, batch, _TILE):
        hi = min(lo + _TILE, batch)
        known = (-1, -1)
        for p in range(pairs):
            at, out = arrays.at, observation[p]
            scale = arrays.inverse_scale[p]
            _own_stock(net, arrays, state, p, period, lo, hi, out)
            _demand_seen(arrays, state, p, scale, lo, hi, out)
            horizon = np.float32(max(forecast.path_horizon[p], 1))
            mean, sd = state.echelon_forecast_mean[p, lo:hi], state.echelon_forecast_sd[p, lo:hi]
            _put(mean, scale / horizon, out[at.forecast_per_period, lo:hi])
            _put(sd, scale / math.sqrt(horizon), out[at.forecast_sd_per_period, lo:hi])
            _put_signed(target[p, lo:hi], scale / horizon, out[at.stock_gap, lo:hi])
            _put(target[p, lo:hi], scale, out[at.base_order, lo:hi])
            if at.owed_by_me >= 0:
                _neighbours(net, arrays, state, p, lo, hi, out)
            if at.promotion_ahead >= 0:
                known = _calendar_seen(net, forecast, arrays, p, known, lo, hi, observation)
            for ago in range(1, memory):  # `demand_last` is the first
                asked = state.history[p, (period - ago) % memory, lo:hi]
                _put(asked, scale, out[at.demand_ago + ago - 1, lo:hi])
            if arrays.lane_slots > 0:
                write_lanes(net, arrays, state, p, period, lo, hi, out)
            if max(at.storage_room, at.periods_until_order, at.expedite_position) >= 0:
                write_limits(net, arrays, state, p, period, lo, hi, out)


@kernel
def _squash(x: np.float32) -> np.float32:
    """Squash x, its negative part to 0; slope 1 at 0."""
    one, two = np.float32(1.0), np.float32(2.0)
    return two * (math.sqrt(one + max(x, np.float32(0.0))) - one)


@kernel
def _put(values: Floats, scale: np.float32, out: Floats32) -> None:
    for b in range(out.size):
        out[b] = _squash(np.float32(values[b]) * scale)


@kernel
def _put_signed(values: Floats, scale: np.float32, out: Floats32) -> None:
    for b in range(out.size):
        x = np.float32(values[b]) * scale
        size = _squash(abs(x))
        out[b] = size if x >= np.float32(0.0) else -size


@kernel
def _own_stock(
    net: NetworkArrays, arrays: ObservationArrays, state: State, p: int, period: int, lo: int,
    hi: int, out: Floats32,
) -> None:  # fmt: skip
    """Stock, backorders, arrivals by periods ahead, what suppliers owe."""
    at, scale = arrays.at, arrays.inverse_scale[p]
    tile, later = arrays.scratch[0, lo:hi], arrays.scratch[1, lo:hi]
    _put(state.on_hand[p, lo:hi], scale, out[at.on_hand, lo:hi])
    _put(state.backorders[p, lo:hi], scale, out[at.backorders, lo:hi])
    first, last = net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]
    if first == last:
        return  # nothing ever arrives
    slots = state.in_transit.shape[1]
    # Where goods are received after shipping, today's are still to come: they count as next.
    late = 1 if net.switches.receive_after_ship else 0
    last_ahead, ahead, column = slots + late, 1, at.arriving_in_1  # ARRIVALS stand together
    for i in range(first, last):
        _collect(later, i == first, state.in_transit_total[net.stocks.inbound.index[i], lo:hi])
    for end in _BUCKETS:
        if end >= last_ahead:
            break  # nothing travels longer
        begin = ahead
        while ahead < end:
            slot = (period + ahead - late) % slots
            for i in range(first, last):
                due = state.in_transit[net.stocks.inbound.index[i], slot, lo:hi]
                _collect(tile, ahead == begin and i == first, due)
            ahead += 1
        _put(tile, scale, out[column, lo:hi])
        add_scaled(later, -1.0, tile)
        column += 1
    if ahead < last_ahead:
        _put(later, scale, out[column, lo:hi])
    for i in range(first, last):
        q = net.stocks.inbound.index[i]
        _collect(tile, i == first, state.owed[q, lo:hi])
        if net.lanes.information_delay[q] > 0:
            _collect(tile, False, state.orders_on_way_total[q, lo:hi])
    _put(tile, scale, out[at.owed_to_me, lo:hi])


@kernel
def _collect(total: Floats, first: bool, values: Floats) -> None:
    if first:
        for b in range(total.size):
            total[b] = values[b]
    else:
        for b in range(total.size):
            total[b] += values[b]


@kernel
def _demand_seen(
    arrays: ObservationArrays, state: State, p: int, scale: np.float32, lo: int, hi: int,
    out: Floats32,
) -> None:  # fmt: skip
    """The last period, means, spread, share of periods without demand."""
    at = arrays.at
    _put(state.incoming[p, lo:hi], scale, out[at.demand_last, lo:hi])
    _put(state.mean_7[p, lo:hi], scale, out[at.demand_mean_7, lo:hi])
    mean, square = state.mean_28[p, lo:hi], state.square_28[p, lo:hi]
    _put(mean, scale, out[at.demand_mean_28, lo:hi])
    spread = out[at.demand_sd_28, lo:hi]
    for b in range(spread.size):
        variance = np.float32(max(square[b] - mean[b] * mean[b], 0.0))
        spread[b] = _squash(math.sqrt(variance) * scale)
    share, zeros = out[at.zero_share_28, lo:hi], state.zero_share_28[p, lo:hi]
    for b in range(share.size):
        share[b] = np.float32(zeros[b])


@kernel
def _neighbours(
    net: NetworkArrays, arrays: ObservationArrays, state: State, p: int, lo: int, hi: int,
    out: Floats32,
) -> None:  # fmt: skip
    """What lanes out wait for, shortage below (sum, max), stock above. 0 without such lanes.

    The worst shortage is in periods of that neighbour's demand, stock above in periods of what
    draws on it: neither changes with the number of neighbours.
    """
    at, inverse_scale, tile = arrays.at, arrays.inverse_scale, arrays.scratch[0, lo:hi]
    scale = inverse_scale[p]
    first, last = net.stocks.outbound.pointer[p], net.stocks.outbound.pointer[p + 1]
    if first < last:
        _put(state.owed_to_lanes[p, lo:hi], scale, out[at.owed_by_me, lo:hi])
        worst = out[at.downstream_shortage_max, lo:hi]
        tile[:] = 0.0
        worst[:] = 0.0
        for i in range(first, last):
            below = net.lanes.to[net.stocks.outbound.index[i]]
            quantity = net.stocks.outbound.value[i]
            mean = state.forecast_mean[below, lo:hi]
            position = state.inventory_position[below, lo:hi]
            for b in range(tile.size):
                short = max(mean[b] - position[b], 0.0)
                tile[b] += short * quantity
                worst[b] = max(worst[b], np.float32(short) * inverse_scale[below])
        _put(tile, scale, out[at.downstream_shortage_sum, lo:hi])
        for b in range(tile.size):
            worst[b] = _squash(worst[b])
    tile[:] = 0.0
    supplied = False
    for i in range(net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]):
        q = net.stocks.inbound.index[i]
        for k in range(net.lanes.inputs.pointer[q], net.lanes.inputs.pointer[q + 1]):
            above = net.lanes.inputs.index[k]
            on_hand = state.on_hand[above, lo:hi]
            cover = net.stocks.inbound.value[i] * inverse_scale[above]
            for b in range(tile.size):
                tile[b] += cover * on_hand[b]
            supplied = True
    if supplied:
        _put(tile, np.float32(1.0), out[at.upstream_cover, lo:hi])


@kernel
def _calendar_seen(
    net: NetworkArrays, forecast: ForecastArrays, arrays: ObservationArrays, p: int,
    known: tuple[int, int], lo: int, hi: int, observation: Floats32,
) -> tuple[int, int]:  # fmt: skip
    """The day, and the known multiplier of demand over the pair's horizon, of its first customer.

    What is the same for the pair before is copied from there. known: season and horizon of that
    one; those of this one are returned.
    """
    at, today, out = arrays.at, arrays.calendar[lo:hi], observation[p]
    if p == 0:
        _put_day(arrays.week_sin, today, out[at.week_sin, lo:hi])
        _put_day(arrays.week_cos, today, out[at.week_cos, lo:hi])
        _put_day(arrays.year_sin, today, out[at.year_sin, lo:hi])
        _put_day(arrays.year_cos, today, out[at.year_cos, lo:hi])
    else:
        for column in range(at.week_sin, at.year_cos + 1):  # the four stand together
            copy_row(out[column, lo:hi], observation[p - 1, column, lo:hi])
    leaf = net.stocks.leaves.pointer[p]
    d = net.stocks.leaves.index[leaf] if leaf < net.stocks.leaves.pointer[p + 1] else 0
    seen = forecast.season[d], forecast.horizon[p]
    promotion = out[at.promotion_ahead, lo:hi]
    if seen == known:
        copy_row(promotion, observation[p - 1, at.promotion_ahead, lo:hi])
        return seen
    cumulative, horizon = forecast.cumulative[seen[0]], seen[1]
    one, divisor = np.float32(1.0), np.float32(max(horizon, 1))
    for b in range(hi - lo):
        start = today[b] + forecast.first_ahead
        total = cumulative[start + horizon] - cumulative[start]
        promotion[b] = np.float32(total) / divisor - one
    return seen


@kernel
def _put_day(table: Floats32, calendar: Ints, out: Floats32) -> None:
    for b in range(out.size):
        out[b] = table[calendar[b]]
