"""How one row of demand or lead times is drawn, for the whole batch, from its tables."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.compiled.calendars import is_open_on
from envs.kernel import kernel
from envs.trace.random_streams import BITS, GOLDEN, SCALE, draw_bits, normal_cdf, standard_normal
from envs.trace.tables import CELL_BITS, CONTINUOUS, Z_MAX, Z_STEP, Effects, TraceTables
from envs.types import Floats, Ints, Keys

_CELL_SHIFT = BITS - CELL_BITS


class TraceBlock(NamedTuple):
    """The periods that a trace holds at once, and what they are drawn from."""

    keys: Keys  # [B]
    calendar: Ints  # [B] of the first period
    offset: Ints  # [B] calendar period in which each episode began
    source: Ints  # [block, B] days whose history is replayed instead; [0, B]: none
    paths: Ints  # [block or more, G, B] regime states
    demand: Floats  # [block, D, B] units
    lead_time: Ints  # [block, S, B] periods
    lead_before: Ints  # [S, B] of the period before the block
    factor: Floats  # [block, V, B]
    bits: Ints  # [B] scratch
    normals: Floats  # [2, B] scratch


@kernel
def multiply(effects: Effects, row: int, regime: Ints, out: Floats) -> None:
    """Fill out [B] with the product of what the states in regime [G, B] do to a row."""
    for b in range(out.size):
        out[b] = 1.0
    for e in range(effects.pointer[row], effects.pointer[row + 1]):
        multiplier, state = effects.multiplier[e], regime[effects.regime[e]]
        for b in range(out.size):
            out[b] *= multiplier[state[b]]


@kernel
def replay_demand(tables: TraceTables, block: TraceBlock, ahead: int, d: int) -> None:
    """Fill the demand of a stream that replays its history, of one period of the block."""
    history, known, out = tables.history[d], tables.known[d], block.demand[ahead, d]
    calendar, source, normals = block.calendar, block.source, block.normals
    for b in range(out.size):
        out[b] = history[_wrap(calendar[b] + ahead, history.size)]
    exposed = tables.demand.pointer[d + 1] > tables.demand.pointer[d]
    if not exposed and len(source) == 0:
        return
    multiply(tables.demand, d, block.paths[ahead], normals[1])
    for b in range(out.size):
        day = _wrap(calendar[b] + ahead, history.size)
        if len(source) > 0:
            taken = source[ahead, b]
            out[b] = history[taken]
            if known[taken] > 0.0:
                normals[1, b] *= known[day] / known[taken]
        out[b] = _scaled(out[b] * normals[1, b], tables.whole[d], tables.rounding[d], day)


@kernel
def draw_demand(
    tables: TraceTables, block: TraceBlock, ahead: int, d: int, counter: np.uint64
) -> None:
    """Fill the demand of a stream that is drawn, of one period of the block."""
    kind, rho, place_of = tables.kind[d], tables.correlation[d], tables.place_of[d]
    keys, calendar, regime = block.keys, block.calendar, block.paths[ahead]
    bits, normals, out = block.bits, block.normals, block.demand[ahead, d]
    exposed = range(tables.demand.pointer[d], tables.demand.pointer[d + 1])
    # One table for the whole batch unless the calendar or a regime moves demand.
    varies = len(exposed) > 0 or place_of.size > 1
    if rho > 0.0 or kind == CONTINUOUS:
        draw_normals(keys, counter, normals[1])
        _correlate(rho, normals)
    if kind != CONTINUOUS:
        if rho > 0.0:
            _bits_of_normals(normals[1], bits)
        else:
            draw_bits(keys, counter, bits)
    table = tables.table_at[place_of[0]]
    if not varies and kind != CONTINUOUS:
        cdf = tables.values[tables.pointer[table] : tables.pointer[table + 1]]
        guide, lowest = tables.guide[table], tables.lowest[table]
        for b in range(out.size):
            out[b] = lowest + _look_up(bits[b], guide, cdf)
        return
    pointer, values, guides, lowests = tables.pointer, tables.values, tables.guide, tables.lowest
    table_at, stride, regime_of = tables.table_at, tables.stride, tables.demand.regime
    for b in range(out.size):
        if varies:
            place = place_of[_wrap(calendar[b] + ahead, place_of.size)]
            for e in exposed:
                place += stride[e] * regime[regime_of[e], b]
            table = table_at[place]
        row = values[pointer[table] : pointer[table + 1]]
        if kind == CONTINUOUS:
            out[b] = _interpolate(normals[1, b], row)
        else:
            out[b] = lowests[table] + _look_up(bits[b], guides[table], row)


@kernel
def _scaled(quantity: float, whole: bool, rounding: float, day: int) -> float:
    """What was sold times what regimes do to it. A history in whole units stays so: the share of
    days on which it is rounded up is the fraction (a golden-ratio sequence), so the mean is kept,
    and what is replayed stays known."""
    if not whole:
        return quantity
    place = rounding + day * GOLDEN
    return float(np.floor(quantity + place - np.floor(place)))


@kernel
def _wrap(day: int, length: int) -> int:
    while day >= length:  # a block is short: cheaper than a remainder
        day -= length
    return day


@kernel
def _look_up(bits: int, guide: NDArray[np.int32], cdf: Floats) -> int:
    """Return the outcome k of the uniform number u = bits / 2^53: the first with u < cdf[k]."""
    k = int(guide[bits >> _CELL_SHIFT])
    if k < 0:
        k, u = ~k, bits * SCALE
        while k < cdf.size - 1 and u >= cdf[k]:
            k += 1
    return k


@kernel
def _interpolate(z: float, quantiles: Floats) -> float:
    place = min(max((z + Z_MAX) / Z_STEP, 0.0), quantiles.size - 1 - 1e-9)
    k = int(place)
    low, high = float(quantiles[k]), float(quantiles[k + 1])
    return low + (place - k) * (high - low)


@kernel
def draw_normals(keys: Keys, counter: np.uint64, out: Floats) -> None:
    for b in range(out.size):
        out[b] = standard_normal(keys[b], counter // np.uint64(2))


@kernel
def _correlate(rho: float, normals: Floats) -> None:
    """normals[1] becomes a mix of what all streams share, normals[0], and its own."""
    if rho > 0.0:
        common, own = np.sqrt(rho), np.sqrt(1.0 - rho)
        for b in range(normals.shape[1]):
            normals[1, b] = common * normals[0, b] + own * normals[1, b]


@kernel
def _bits_of_normals(normals: Floats, bits: Ints) -> None:
    for b in range(bits.size):
        bits[b] = min(int(normal_cdf(normals[b]) / SCALE), (1 << BITS) - 1)


@kernel
def look_up_lead_time(tables: TraceTables, block: TraceBlock, ahead: int, s: int) -> None:
    """Fill the lead times of a lane from the block's bits, of one period of the block."""
    table, bits, out = tables.lead_table[s], block.bits, block.lead_time[ahead, s]
    cdf = tables.values[tables.pointer[table] : tables.pointer[table + 1]]
    guide, minimum = tables.guide[table], int(tables.lowest[table])
    for b in range(out.size):
        out[b] = minimum + _look_up(bits[b], guide, cdf)
    times, spreads = tables.lead_time.pointer, tables.lead_spread.pointer
    if times[s] == times[s + 1] and spreads[s] == spreads[s + 1]:
        return
    regime, spread, factor = block.paths[ahead], block.normals[0], block.normals[1]
    multiply(tables.lead_spread, s, regime, spread)
    multiply(tables.lead_time, s, regime, factor)
    shortest, longest, mean = tables.lead_shortest[s], tables.lead_longest[s], tables.lead_mean[s]
    for b in range(out.size):
        periods = float(out[b])
        if spread[b] != 1.0:
            periods = mean + (periods - mean) * spread[b]
        out[b] = max(min(round(periods * factor[b]), longest), shortest)


@kernel
def close(tables: TraceTables, block: TraceBlock, period: int, v: int, out: Floats) -> None:
    """Row v of the factors, [B], is 0 where its calendar is closed."""
    row = tables.factor_calendar[v]
    if row >= 0:
        for b in range(out.size):
            if not is_open_on(tables.calendars, row, period + block.offset[b]):
                out[b] = 0.0
