"""What an agent sees of each stocked pair: scale-free features, no ids.

Quantities are divided by the pair's mean demand per period and squashed by 2(sqrt(1 + x) - 1): near
x for small x, flat for heavy tails, and unlike log1p it costs one vector instruction. Features of
things a scenario lacks (a calendar, internal lanes) are absent.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.compiled.arrays import NetworkArrays
from envs.compiled.network import CompiledNetwork
from envs.kernel import entry, kernel
from envs.observation.lanes import (
    LaneObservationArrays,
    compile_lane_observation,
    write_lanes,
    write_static_lanes,
)
from envs.policies.base_stock import critical_ratio
from envs.simulation.forecast import ForecastArrays
from envs.simulation.state import State

__all__ = [
    "FLOW_FEATURES",
    "Chance",
    "ObservationArrays",
    "compile_observation",
    "write_observation",
    "write_preference",
    "write_static",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Features = NDArray[np.float32]

_TILE = 256  # replications worked on together: their rows fit the L1 cache
_BUCKETS = (2, 4, 8)  # periods ahead at which the next bucket of arrivals begins

# What moves from period to period, of every pair of every network; the first of each row.
FLOW_FEATURES = (
    "on_hand",
    "backorders",
    "arriving_in_1",
    "arriving_in_2_to_3",
    "arriving_in_4_to_7",
    "arriving_later",
    "owed_to_me",
    "demand_last",
    "demand_mean_7",
    "demand_mean_28",
    "demand_sd_28",
    "zero_share_28",
    "forecast_per_period",
    "forecast_sd_per_period",
    "stock_gap",
    "base_order",
)
_NETWORK_FEATURES = (
    "owed_by_me",
    "downstream_shortage_sum",
    "downstream_shortage_max",
    "upstream_cover",
)
_CALENDAR_FEATURES = ("promotion_ahead", "week_sin", "week_cos", "year_sin", "year_cos")
_STATIC_FEATURES = ("critical_ratio", "lead_time", "lead_time_sd", "demand_cv")


class Chance(NamedTuple):
    """What the trace knows of today that shows in lane features; persistent arrays of it."""

    factor: Floats  # [V, B]
    seen: Ints  # [G, B]
    forecast: Ints  # [F, G, B]
    offset: Ints  # [B]


NO_CHANCE = Chance(
    np.zeros((0, 0)), np.zeros((0, 0), np.int64), np.zeros((0, 0, 0), np.int64),
    np.zeros(0, np.int64),
)  # fmt: skip


class ObservationArrays(NamedTuple):
    """What the observation kernel needs."""

    inverse_scale: NDArray[np.float32]  # [P] 1 / mean demand per period
    static: NDArray[np.float32]  # [P, static features]
    has_network: bool
    has_calendar: bool
    has_lanes: bool
    memory: int  # periods of demand seen one by one, the last one included; 0: none
    week: NDArray[np.float32]  # [C, 2] sine and cosine of the day of the week
    year: NDArray[np.float32]  # [C, 2]
    lanes: LaneObservationArrays
    chance: Chance
    has_preference: bool
    size: int  # F


def compile_observation(
    net: CompiledNetwork,
    chance: Chance = NO_CHANCE,
    has_preference: bool = False,
    memory: int = 0,
) -> tuple[ObservationArrays, tuple[str, ...]]:
    """Lay out the features of a network; returns the arrays and the names in order.

    chance: what the features of lanes are read from; not needed for the names. memory: periods of
    demand that agents see one by one.
    """
    has_network = bool(net.arrays.stocks.outbound.index.size)
    has_calendar = net.multiplier is not None
    names: tuple[str, ...] = FLOW_FEATURES
    names += _NETWORK_FEATURES if has_network else ()
    names += _CALENDAR_FEATURES if has_calendar else ()
    names += tuple(f"demand_{ago}_ago" for ago in range(2, memory + 1))
    lanes, lane_names = compile_lane_observation(net)
    names += lane_names
    names += ("preference",) if has_preference else ()
    names += _STATIC_FEATURES
    # A pair that serves nobody in regular times is measured by a typical pair's demand.
    served = net.demand_mean[net.demand_mean > 0]
    typical = float(np.median(served)) if served.size else 1.0
    mean = np.where(net.demand_mean > 0, net.demand_mean, typical)
    static = np.stack(
        [
            2.0 * critical_ratio(net) - 1.0,
            np.sqrt(net.lead_mean) - 1.0,
            net.lead_sd / np.maximum(net.lead_mean, 1.0),
            net.demand_sd / mean - 1.0,
        ],
        axis=1,
    )
    day = np.arange(net.calendar_length)
    return ObservationArrays(
        (1.0 / mean).astype(np.float32), static.astype(np.float32), has_network, has_calendar,
        bool(lane_names), memory, _circle(day, 7.0), _circle(day, 365.25), lanes, chance,
        has_preference, len(names),
    ), names  # fmt: skip


def _circle(day: NDArray[np.int64], period: float) -> NDArray[np.float32]:
    angle = 2.0 * np.pi * day / period
    return np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def write_static(
    net: NetworkArrays, arrays: ObservationArrays, observation: NDArray[np.float32]
) -> None:
    """Fill the features of observation [P, F, B] that never change: the last ones, and of lanes."""
    count = arrays.static.shape[1]
    observation[:, -count:, :] = arrays.static[:, :, None]
    first = 16 + 4 * arrays.has_network + 5 * arrays.has_calendar + max(arrays.memory - 1, 0)
    write_static_lanes(net, arrays.lanes, first, observation)


def write_preference(
    arrays: ObservationArrays, preference: Floats, observation: NDArray[np.float32]
) -> None:
    """Fill the feature that is the same for all pairs and periods of an episode: [B] in 0..1."""
    if arrays.has_preference:
        observation[:, -arrays.static.shape[1] - 1, :] = 2.0 * preference - 1.0


@entry
def write_observation(
    net: NetworkArrays, forecast: ForecastArrays, arrays: ObservationArrays, state: State,
    target: Floats, calendar: Ints, period: int, scratch: Floats, observation: Features,
) -> None:  # fmt: skip
    """Fill observation [P, F, B] but for the static features and those that are always zero.

    Features behind these F (of companions) are left alone.

    target [P, B] units: the base policy's order, negative where stock is above its target.
    scratch [B] is overwritten.
    """
    pairs, batch = target.shape
    for lo in range(0, batch, _TILE):
        hi = min(lo + _TILE, batch)
        tile = scratch[lo:hi]
        for p in range(pairs):
            out = observation[p]
            scale = arrays.inverse_scale[p]
            _own_stock(net, state, p, period, scale, lo, hi, tile, out)
            _demand_seen(state, p, scale, lo, hi, out)
            horizon = np.float32(max(forecast.path_horizon[p], 1))
            _put(state.echelon_forecast_mean[p, lo:hi], scale / horizon, out[12, lo:hi])
            _put(state.echelon_forecast_sd[p, lo:hi], scale / math.sqrt(horizon), out[13, lo:hi])
            _put_signed(target[p, lo:hi], scale / horizon, out[14, lo:hi])
            _put(target[p, lo:hi], scale, out[15, lo:hi])
            f = 16
            if arrays.has_network:
                _neighbours(net, state, arrays.inverse_scale, p, lo, hi, tile, out[f : f + 4])
                f += 4
            if arrays.has_calendar:
                _promotion_ahead(net, forecast, p, calendar[lo:hi], out[f, lo:hi])
                for i in range(2):
                    _put_day(arrays.week, i, calendar[lo:hi], out[f + 1 + i, lo:hi])
                    _put_day(arrays.year, i, calendar[lo:hi], out[f + 3 + i, lo:hi])
                f += 5
            for ago in range(1, arrays.memory):  # `demand_last` is the first
                _put(state.history[p, (period - ago) % arrays.memory, lo:hi], scale, out[f, lo:hi])
                f += 1
            if arrays.has_lanes:
                write_lanes(
                    net, arrays.lanes, state, p, arrays.chance.factor, arrays.chance.seen,
                    arrays.chance.forecast, arrays.chance.offset, period, scale, lo, hi, out[f:],
                )  # fmt: skip


@kernel
def _squash(x: np.float32) -> np.float32:
    """Squash x, its negative part to 0; slope 1 at 0."""
    one, two = np.float32(1.0), np.float32(2.0)
    return two * (math.sqrt(one + max(x, np.float32(0.0))) - one)


@kernel
def _put(values: Floats, scale: np.float32, out: Features) -> None:
    for b in range(out.size):
        out[b] = _squash(np.float32(values[b]) * scale)


@kernel
def _put_signed(values: Floats, scale: np.float32, out: Features) -> None:
    for b in range(out.size):
        x = np.float32(values[b]) * scale
        size = _squash(abs(x))
        out[b] = size if x >= np.float32(0.0) else -size


@kernel
def _own_stock(
    net: NetworkArrays, state: State, p: int, period: int, scale: np.float32, lo: int, hi: int,
    tile: Floats, out: Features,
) -> None:  # fmt: skip
    """Features 0-6: stock, backorders, arrivals by periods ahead, what suppliers owe."""
    _put(state.on_hand[p, lo:hi], scale, out[0, lo:hi])
    _put(state.backorders[p, lo:hi], scale, out[1, lo:hi])
    first, last = net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]
    if first == last:
        return  # nothing ever arrives
    slots = state.in_transit.shape[1]
    # Where goods are received after shipping, today's are still to come: they count as next.
    late = 1 if net.switches.receive_after_ship else 0
    last_ahead, ahead = slots + late, 1
    for bucket in range(4):
        end = min(_BUCKETS[bucket], last_ahead) if bucket < 3 else last_ahead
        begin = ahead
        while ahead < end:
            slot = (period + ahead - late) % slots
            for i in range(first, last):
                due = state.in_transit[net.stocks.inbound.index[i], slot, lo:hi]
                _collect(tile, ahead == begin and i == first, due)
            ahead += 1
        if begin < end:  # else nothing ever travels that long
            _put(tile, scale, out[2 + bucket, lo:hi])
    for i in range(first, last):
        q = net.stocks.inbound.index[i]
        _collect(tile, i == first, state.owed[q, lo:hi])
        if net.lanes.information_delay[q] > 0:
            _collect(tile, False, state.orders_on_way_total[q, lo:hi])
    _put(tile, scale, out[6, lo:hi])


@kernel
def _collect(total: Floats, first: bool, values: Floats) -> None:
    if first:
        for b in range(total.size):
            total[b] = values[b]
    else:
        for b in range(total.size):
            total[b] += values[b]


@kernel
def _demand_seen(state: State, p: int, scale: np.float32, lo: int, hi: int, out: Features) -> None:
    """Features 7-11: the last period, means, spread, share of periods without demand."""
    _put(state.incoming[p, lo:hi], scale, out[7, lo:hi])
    _put(state.mean_7[p, lo:hi], scale, out[8, lo:hi])
    mean, square = state.mean_28[p, lo:hi], state.square_28[p, lo:hi]
    _put(mean, scale, out[9, lo:hi])
    spread = out[10, lo:hi]
    for b in range(spread.size):
        variance = np.float32(max(square[b] - mean[b] * mean[b], 0.0))
        spread[b] = _squash(math.sqrt(variance) * scale)
    share, zeros = out[11, lo:hi], state.zero_share_28[p, lo:hi]
    for b in range(share.size):
        share[b] = np.float32(zeros[b])


@kernel
def _neighbours(
    net: NetworkArrays, state: State, inverse_scale: Features, p: int, lo: int, hi: int,
    tile: Floats, out: Features,
) -> None:  # fmt: skip
    """What lanes out wait for, shortage below (sum, max), stock above. 0 without such lanes.

    The worst shortage is in periods of that neighbour's demand, stock above in periods of what
    draws on it: neither changes with the number of neighbours.
    """
    scale = inverse_scale[p]
    first, last = net.stocks.outbound.pointer[p], net.stocks.outbound.pointer[p + 1]
    if first < last:
        _put(state.owed_to_lanes[p, lo:hi], scale, out[0, lo:hi])
        worst = out[2, lo:hi]
        tile[:] = 0.0
        worst[:] = 0.0
        for i in range(first, last):
            below, quantity = (
                net.lanes.to[net.stocks.outbound.index[i]],
                net.stocks.outbound.value[i],
            )
            mean = state.forecast_mean[below, lo:hi]
            position = state.inventory_position[below, lo:hi]
            for b in range(tile.size):
                short = max(mean[b] - position[b], 0.0)
                tile[b] += short * quantity
                worst[b] = max(worst[b], np.float32(short) * inverse_scale[below])
        _put(tile, scale, out[1, lo:hi])
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
        _put(tile, np.float32(1.0), out[3, lo:hi])


@kernel
def _promotion_ahead(
    net: NetworkArrays, forecast: ForecastArrays, p: int, calendar: Ints, out: Features
) -> None:
    """The known multiplier of demand over the pair's horizon, of its first customer."""
    leaf = net.stocks.leaves.pointer[p]
    d = net.stocks.leaves.index[leaf] if leaf < net.stocks.leaves.pointer[p + 1] else 0
    cumulative, horizon = forecast.cumulative[d], forecast.horizon[p]
    first_ahead = forecast.first_ahead
    one = np.float32(1.0)
    divisor = max(np.float32(horizon), one)
    for b in range(out.size):
        start = calendar[b] + first_ahead
        out[b] = np.float32(cumulative[start + horizon] - cumulative[start]) / divisor - one


@kernel
def _put_day(table: Features, column: int, calendar: Ints, out: Features) -> None:
    for b in range(out.size):
        out[b] = table[calendar[b], column]
