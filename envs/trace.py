"""All chance of an episode, drawn without looking at actions.

A `Trace` hands out demand, lead times and regime factors period by period. It is a pure function of
(seed, episode, period): equal seeds give equal traces whatever the policy does, so policies are
compared on common random numbers, and memory does not grow with the horizon because only a block
of periods is held.

A row of draws is made in two passes: random bits for the whole batch, which vectorises, then the
table look-up (envs/trace_tables.py), which can't.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.compiled import CompiledNetwork
from envs.kernel import Handle, copy_row, entry, kernel
from envs.random_streams import (
    BITS,
    SCALE,
    draw_bits,
    episode_keys,
    normal_cdf,
    standard_normal,
    uniform,
)
from envs.trace_tables import (
    CELL_BITS,
    CONTINUOUS,
    HISTORY,
    Z_MAX,
    Z_STEP,
    Effects,
    TraceTables,
    compile_tables,
)

__all__ = ["Trace"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

_BLOCK_VALUES = 1 << 15  # demand values held at once: stays in the L2 cache
_CELL_SHIFT = BITS - CELL_BITS
_ONE = np.uint64(1)
_GOLDEN = 0.5 * (5.0**0.5 - 1.0)
# Streams of their own: what agents are told, and when events happen, moves no other draw.
_FORECASTS, _DATES = np.uint64(0x6A09E667F3BCC908), np.uint64(0xBB67AE8584CAA73B)


class Trace:
    """The chance of B episodes, materialised block by block.

    demand [D, B] units, lead_time [S, B] periods, factor [V, B] (what regimes multiply, see
    `CompiledNetwork.exposures`) and true_regime [G, B] belong to the current period; `calendar` [B]
    is each episode's position in the calendar, `offset` [B] where it began.
    seen [G, B]: the regime states that agents may see, -1 where hidden. forecast [F, G, B]: what
    they are told of the states 1..F periods ahead, -1 where nothing.
    """

    def __init__(self, net: CompiledNetwork, batch_size: int) -> None:
        self._net, self._tables = net, compile_tables(net)
        self._handle = Handle(self._tables)
        streams, stochastic = len(net.customer_pair), self._tables.lead_table.size
        exposed, regimes = len(net.exposures), len(net.network.regimes)
        block = int(np.clip(_BLOCK_VALUES // max(1, streams * batch_size), 1, 128))
        self._delay = int(max(1, *self._tables.seen_after)) if regimes else 1  # 1: to go on from
        self._ahead = len(self._tables.accuracy)
        self._keys = np.zeros(batch_size, np.uint64)
        self._demand = np.zeros((block, streams, batch_size))
        self._lead_time = np.zeros((block, stochastic, batch_size), np.int64)
        self._lead_before = np.zeros((stochastic, batch_size), np.int64)
        self._factors = np.ones((block, exposed, batch_size))
        self._bits = np.zeros(batch_size, np.int64)
        self._normals = np.zeros((2, batch_size))
        self.offset = np.zeros(batch_size, np.int64)
        self.calendar = np.zeros(batch_size, np.int64)
        # Row j is the period first - delay + j: agents see the past, forecasts know the future.
        self._paths = np.zeros((self._delay + block + self._ahead, regimes, batch_size), np.int64)
        self.factor = np.ones((exposed, batch_size))
        self.seen = np.full((regimes, batch_size), -1, np.int64)
        self.forecast = np.full((self._ahead, regimes, batch_size), -1, np.int64)
        self._tells = bool(self._ahead or (self._tables.seen_after >= 0).any())
        self._first, self._period = 0, 0

    def reset(self, seed: int, first_episode: int, starts: tuple[int, int] = (0, 1)) -> None:
        """Begin episodes first_episode + b. Each starts at a calendar period drawn from `starts`
        (first, how many)."""
        episode_keys(seed, first_episode, self._keys)
        first, count = starts
        self.offset[:] = first + (self._keys >> np.uint64(17)) % np.uint64(count)
        self._first = self._period = 0
        self._lead_before[:] = 0
        self._fill()

    def advance(self) -> None:
        """Move to the next period."""
        self._period += 1
        if self._period - self._first == len(self._demand):
            self._first = self._period
            self._fill()
            return
        if self._net.calendar_length > 1:
            self.calendar += 1
            self.calendar[self.calendar >= self._net.calendar_length] = 0
        if self.seen.size:
            self._look()

    @property
    def demand(self) -> NDArray[np.float64]:
        """[D, B] units of the current period."""
        today: Floats = self._demand[self._period - self._first]
        return today

    @property
    def lead_time(self) -> NDArray[np.int64]:
        """[S, B] periods, of what ships in the current period."""
        today: Ints = self._lead_time[self._period - self._first]
        return today

    @property
    def true_regime(self) -> NDArray[np.int64]:
        """[G, B] states in the current period, hidden ones too."""
        today: Ints = self._paths[self._delay + self._period - self._first]
        return today

    def _fill(self) -> None:
        length, block = self._net.calendar_length, len(self._demand)
        self.calendar[:] = (self._first + self.offset) % length
        if self.seen.size:
            kept = self._delay + self._ahead
            if self._first == 0:
                _draw_regimes(self._handle, self._keys, self._paths, self._delay, 0)
                self._paths[: self._delay] = self._paths[self._delay]
            else:
                self._paths[:kept] = self._paths[block : block + kept].copy()
                first = self._first + self._ahead
                _draw_regimes(self._handle, self._keys, self._paths, kept, first)
        _draw_block(
            self._handle, self._keys, self.calendar, self._first, self._paths[self._delay :],
            self._demand, self._lead_time, self._lead_before, self._factors, self._bits,
            self._normals,
        )  # fmt: skip
        if self.seen.size:
            self._look()

    def _look(self) -> None:
        """Fill what regimes do today, and what agents may see of them."""
        self.factor[...] = self._factors[self._period - self._first]
        if self._tells:
            row = self._delay + self._period - self._first
            _look_at_regimes(
                self._handle, self._keys, self._paths, row, self._period, self.seen, self.forecast
            )


@entry
def _draw_block(
    tables: TraceTables, keys: Keys, calendar: Ints, first: int, paths: Ints, demand: Floats,
    lead_time: Ints, lead_before: Ints, factor: Floats, bits: Ints, normals: Floats,
) -> None:  # fmt: skip
    """Draw `len(demand)` periods from `first` on. All arrays have the batch innermost.

    paths [block or more, G, B]: regime states. lead_before [S, B]: lead times of the period before
    the block. bits [B], normals [2, B]: scratch.
    """
    block, streams, _ = demand.shape
    correlated = False
    for d in range(streams):
        correlated |= tables.correlation[d] > 0.0
    for i in range(block):
        regime, period = paths[i], first + i
        if correlated:
            _draw_normals(keys, _counter(tables, period, tables.common_number), normals[0])
        for d in range(streams):
            counter = _counter(tables, period, tables.common_number + 1 + d)
            _draw_demand(tables, keys, calendar, i, d, counter, regime, bits, normals, demand[i, d])
        for s in range(lead_time.shape[1]):
            if tables.lead_number[s] >= 0:
                draw_bits(keys, _counter(tables, period, tables.lead_number[s]), bits)
            _look_up_lead_time(tables, s, bits, regime, normals, lead_time[i, s])
            if tables.no_overtaking[s]:
                _keep_order(lead_time[i, s], lead_before[s])
        for v in range(factor.shape[1]):
            _multiply(tables.factor, v, regime, factor[i, v])


@kernel
def _counter(tables: TraceTables, period: int, number: int) -> np.uint64:
    """Where in an episode's stream the pair of numbers is (normal draws need a pair)."""
    return np.uint64(2 * (period * tables.numbers + number))


@entry
def _draw_regimes(tables: TraceTables, keys: Keys, paths: Ints, row: int, period: int) -> None:
    """Fill paths [rows, G, B] from `row`, which is `period`, to the end."""
    for j in range(row, len(paths)):
        now = period + j - row
        for g in range(paths.shape[1]):
            if tables.regime_number[g] < 0:
                _follow_schedule(keys, tables.schedule[g], g, now, paths[j, g])
                continue
            counter = _counter(tables, now, tables.regime_number[g])
            before = paths[max(j - 1, 0), g]
            for b in range(keys.size):
                cdf = tables.regime_step[g, before[b]] if now > 0 else tables.regime_start[g]
                paths[j, g, b] = _first_above(cdf, uniform(keys[b], counter))


@kernel
def _first_above(cdf: Floats, u: float) -> int:
    k = 0
    while k < cdf.size - 1 and u >= cdf[k]:
        k += 1
    return k


@kernel
def _follow_schedule(keys: Keys, schedule: Ints, g: int, period: int, out: Ints) -> None:
    """State 1 while the event lasts; it begins somewhere in the periods it may begin in."""
    for b in range(out.size):
        drawn = int(uniform(keys[b] ^ _DATES, np.uint64(g)) * schedule[1])
        begun = period - schedule[0] - drawn
        out[b] = 1 if 0 <= begun < schedule[2] else 0


@entry
def _look_at_regimes(
    tables: TraceTables, keys: Keys, paths: Ints, row: int, period: int, seen: Ints, forecast: Ints
) -> None:
    """Fill seen [G, B] and forecast [F, G, B] of `period`, which is `row` of paths."""
    for g in range(seen.shape[0]):
        if tables.seen_after[g] >= 0:
            copy_row(seen[g], paths[row - tables.seen_after[g], g])
        for f in range(forecast.shape[0]):
            accuracy = tables.accuracy[f, g]
            if accuracy < 0.0:
                continue
            # The same whatever other regimes there are, or how far ahead they are forecast.
            counter = np.uint64(((period << 24) + (g << 8) + f) << 1)
            for b in range(keys.size):
                key = keys[b] ^ _FORECASTS
                told = paths[row + 1 + f, g, b]
                if uniform(key, counter) >= accuracy:
                    told = _first_above(tables.regime_start[g], uniform(key, counter + _ONE))
                forecast[f, g, b] = told


@kernel
def _multiply(effects: Effects, row: int, regime: Ints, out: Floats) -> None:
    """Fill out [B] with the product of what the states in regime [G, B] do to a row."""
    for b in range(out.size):
        out[b] = 1.0
    for e in range(effects.pointer[row], effects.pointer[row + 1]):
        multiplier, state = effects.multiplier[e], regime[effects.regime[e]]
        for b in range(out.size):
            out[b] *= multiplier[state[b]]


@kernel
def _keep_order(lead: Ints, before: Ints) -> None:
    """What ships now arrives no earlier than what shipped a period ago."""
    for b in range(lead.size):
        lead[b] = max(lead[b], before[b] - 1)
        before[b] = lead[b]


@kernel
def _draw_demand(
    tables: TraceTables, keys: Keys, calendar: Ints, ahead: int, d: int, counter: np.uint64,
    regime: Ints, bits: Ints, normals: Floats, out: Floats,
) -> None:  # fmt: skip
    kind, rho = tables.kind[d], tables.correlation[d]
    place_of, history = tables.place_of[d], tables.history[d]
    exposed = range(tables.demand.pointer[d], tables.demand.pointer[d + 1])
    if kind == HISTORY:
        for b in range(out.size):
            out[b] = history[_wrap(calendar[b] + ahead, history.size)]
        if len(exposed) > 0:
            _multiply(tables.demand, d, regime, normals[1])
            for b in range(out.size):
                day = _wrap(calendar[b] + ahead, history.size)
                out[b] = _scaled(out[b] * normals[1, b], tables.whole[d], tables.rounding[d], day)
        return
    # One table for the whole batch unless the calendar or a regime says otherwise.
    varies = len(exposed) > 0 or place_of.size > 1
    if rho > 0.0 or kind == CONTINUOUS:
        _draw_normals(keys, counter, normals[1])
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
    place = rounding + day * _GOLDEN
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
def _draw_normals(keys: Keys, counter: np.uint64, out: Floats) -> None:
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
def _look_up_lead_time(
    tables: TraceTables, s: int, bits: Ints, regime: Ints, scratch: Floats, out: Ints
) -> None:
    """scratch [2, B]: what regimes do to the spread and to the whole."""
    table = tables.lead_table[s]
    cdf = tables.values[tables.pointer[table] : tables.pointer[table + 1]]
    guide, minimum = tables.guide[table], int(tables.lowest[table])
    for b in range(out.size):
        out[b] = minimum + _look_up(bits[b], guide, cdf)
    times, spreads = tables.lead_time.pointer, tables.lead_spread.pointer
    if times[s] == times[s + 1] and spreads[s] == spreads[s + 1]:
        return
    spread, factor = scratch[0], scratch[1]
    _multiply(tables.lead_spread, s, regime, spread)
    _multiply(tables.lead_time, s, regime, factor)
    shortest, longest, mean = tables.lead_shortest[s], tables.lead_longest[s], tables.lead_mean[s]
    for b in range(out.size):
        periods = float(out[b])
        if spread[b] != 1.0:
            periods = mean + (periods - mean) * spread[b]
        out[b] = max(min(round(periods * factor[b]), longest), shortest)
