"""What an agent sees of each stocked pair: scale-free features, no ids.

Quantities are divided by the pair's mean demand per period and squashed by 2(sqrt(1 + x) - 1): near
x for small x, flat for heavy tails, and unlike log1p it costs one vector instruction. Features of
things a scenario lacks (a calendar, internal lanes) are absent.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from envs.compiled import CompiledNetwork
from envs.kernel import kernel
from envs.policies.base_stock import critical_ratio

__all__ = ["ObservationArrays", "compile_observation", "write_observation", "write_static"]

_FLOW_FEATURES = (
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


class ObservationArrays(NamedTuple):
    """What the observation kernel needs."""

    inverse_scale: NDArray[np.float32]  # [P] 1 / mean demand per period
    static: NDArray[np.float32]  # [P, static features]
    has_network: bool
    has_calendar: bool
    week: NDArray[np.float32]  # [C, 2] sine and cosine of the day of the week
    year: NDArray[np.float32]  # [C, 2]
    size: int  # F


def compile_observation(net: CompiledNetwork) -> tuple[ObservationArrays, tuple[str, ...]]:
    """Lay out the features of a network; returns the arrays and the names in order."""
    has_network = bool(net.arrays.outbound.index.size)
    has_calendar = net.multiplier is not None
    names = _FLOW_FEATURES
    names += _NETWORK_FEATURES if has_network else ()
    names += _CALENDAR_FEATURES if has_calendar else ()
    names += _STATIC_FEATURES
    mean = np.maximum(net.demand_mean, 1e-6)
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
        _circle(day, 7.0), _circle(day, 365.25), len(names),
    ), names  # fmt: skip


def _circle(day: NDArray[np.int64], period: float) -> NDArray[np.float32]:
    angle = 2.0 * np.pi * day / period
    return np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def write_static(arrays: ObservationArrays, observation: NDArray[np.float32]) -> None:
    """Fill the last features of observation [P, F, B]: they never change."""
    count = arrays.static.shape[1]
    observation[:, -count:, :] = arrays.static[:, :, None]


@njit(cache=True, inline="always")
def _squash(x: np.float32) -> np.float32:
    """Squash x >= 0; slope 1 at 0."""
    one, two = np.float32(1.0), np.float32(2.0)
    return two * (math.sqrt(one + max(x, np.float32(0.0))) - one)


@kernel
def _put_signed(values, scale, out):
    for b in range(out.size):
        x = np.float32(values[b]) * scale
        out[b] = _squash(x) - _squash(-x)


@kernel
def _put(values, scale, out):
    for b in range(out.size):
        out[b] = _squash(np.float32(values[b]) * scale)


@kernel
def write_observation(
    net, forecast, arrays, state, target, calendar, period, scratch, observation
):
    """Fill observation [P, F, B] but for the static features.

    target [P, B] units: the base policy's order, negative where stock is above its target.
    scratch [B] is overwritten.
    """
    net, forecast, arrays, state = net.value, forecast.value, arrays.value, state.value
    pairs, batch = target.shape
    one, zero = np.float32(1.0), np.float32(0.0)
    for p in range(pairs):
        scale, out = arrays.inverse_scale[p], observation[p]
        _put(state.on_hand[p], scale, out[0])
        _put(state.backorders[p], scale, out[1])
        _arrivals(net, state, p, period, scale, scratch, out)
        _put(state.incoming[p], scale, out[7])
        _put(state.mean_7[p], scale, out[8])
        _put(state.mean_28[p], scale, out[9])
        mean, square, zeros = state.mean_28[p], state.square_28[p], state.zero_share_28[p]
        for b in range(batch):
            spread = np.float32(max(square[b] - mean[b] * mean[b], 0.0))
            out[10, b] = _squash(np.float32(math.sqrt(spread)) * scale)
            out[11, b] = np.float32(zeros[b])
        horizon = np.float32(max(forecast.path_horizon[p], 1))
        _put(state.echelon_forecast_mean[p], scale / horizon, out[12])
        _put(state.echelon_forecast_sd[p], scale / math.sqrt(horizon), out[13])
        gap = target[p]
        _put_signed(gap, scale / horizon, out[14])
        for b in range(batch):
            out[15, b] = _squash(max(np.float32(gap[b]) * scale, zero))
        f = 16
        if arrays.has_network:
            _neighbours(net, state, p, scale, scratch, observation, f)
            f += 4
        if arrays.has_calendar:
            leaf = net.leaves.pointer[p]
            d = net.leaves.index[leaf] if leaf < net.leaves.pointer[p + 1] else 0
            for b in range(batch):
                day = calendar[b]
                start = day + forecast.first_ahead
                ahead = forecast.cumulative[d, start + forecast.horizon[p]]
                ahead -= forecast.cumulative[d, start]
                out[f, b] = np.float32(ahead) / max(np.float32(forecast.horizon[p]), one) - one
                out[f + 1, b], out[f + 2, b] = arrays.week[day, 0], arrays.week[day, 1]
                out[f + 3, b], out[f + 4, b] = arrays.year[day, 0], arrays.year[day, 1]


@kernel
def _arrivals(net, state, p, period, scale, scratch, out):
    """In transit to the pair by periods until arrival, then what its suppliers owe it."""
    slots = state.in_transit.shape[1]
    ahead = 1
    for bucket in range(4):
        last = (2, 4, 8, slots + 1)[bucket]
        scratch[:] = 0.0
        while ahead < min(last, slots):
            for i in range(net.inbound.pointer[p], net.inbound.pointer[p + 1]):
                due = state.in_transit[net.inbound.index[i], (period + ahead) % slots]
                for b in range(scratch.size):
                    scratch[b] += due[b]
            ahead += 1
        _put(scratch, scale, out[2 + bucket])
    scratch[:] = 0.0
    for i in range(net.inbound.pointer[p], net.inbound.pointer[p + 1]):
        q = net.inbound.index[i]
        owed, on_way = state.owed[q], state.orders_on_way_total[q]
        for b in range(scratch.size):
            scratch[b] += owed[b] + on_way[b]
    _put(scratch, scale, out[6])


@kernel
def _neighbours(net, state, p, scale, scratch, observation, f):
    out = observation[p]
    _put(state.owed_to_lanes[p], scale, out[f])
    worst = out[f + 2]
    scratch[:] = 0.0
    worst[:] = 0.0
    for i in range(net.outbound.pointer[p], net.outbound.pointer[p + 1]):
        below, quantity = net.lane_to[net.outbound.index[i]], net.outbound.value[i]
        mean, position = state.forecast_mean[below], state.inventory_position[below]
        for b in range(scratch.size):
            short = max(mean[b] - position[b], 0.0) * quantity
            scratch[b] += short
            worst[b] = max(worst[b], np.float32(short))
    _put(scratch, scale, out[f + 1])
    for b in range(scratch.size):
        worst[b] = _squash(worst[b] * scale)
    scratch[:] = 0.0
    for i in range(net.inbound.pointer[p], net.inbound.pointer[p + 1]):
        q = net.inbound.index[i]
        for k in range(net.inputs.pointer[q], net.inputs.pointer[q + 1]):
            on_hand = state.on_hand[net.inputs.index[k]]
            cover = net.inbound.value[i] / net.inputs.value[k]
            for b in range(scratch.size):
                scratch[b] += cover * on_hand[b]
    _put(scratch, scale, out[f + 3])
