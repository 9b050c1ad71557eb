"""All chance of an episode, drawn without looking at actions.

A `Trace` hands out demand, lead times and availability period by period. It is a pure function of
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
    TraceTables,
    compile_tables,
)

__all__ = ["Trace"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

_BLOCK_VALUES = 1 << 15  # demand values held at once: stays in the L2 cache
_CELL_SHIFT = BITS - CELL_BITS


class Trace:
    """The chance of B episodes, materialised block by block.

    demand [D, B] units, lead_time [S, B] periods and availability [V, B] share belong to the
    current period; `calendar` [B] is each episode's position in the calendar.
    """

    def __init__(self, net: CompiledNetwork, batch_size: int) -> None:
        self._net, self._tables = net, compile_tables(net)
        self._handle = Handle(self._tables)
        streams, stochastic = len(net.customer_pair), self._tables.lead_minimum.size
        exposed = self._tables.availability_factor.shape[0]
        regimes = self._tables.regime_start.shape[0]
        block = int(np.clip(_BLOCK_VALUES // max(1, streams * batch_size), 1, 128))
        self._keys = np.zeros(batch_size, np.uint64)
        self._regime = np.zeros((regimes, batch_size), np.int64)
        self._demand = np.zeros((block, streams, batch_size))
        self._lead_time = np.zeros((block, stochastic, batch_size), np.int64)
        self._availability = np.ones((block, exposed, batch_size))
        self._bits = np.zeros(batch_size, np.int64)
        self._normals = np.zeros((2, batch_size))
        self.offset = np.zeros(batch_size, np.int64)
        self.calendar = np.zeros(batch_size, np.int64)
        self.regime = np.zeros((block, regimes, batch_size), np.int64)  # [block, G, B] true states
        self._first, self._period = 0, 0

    def reset(self, seed: int, first_episode: int, starts: tuple[int, int] = (0, 1)) -> None:
        """Begin episodes first_episode + b. Each starts at a calendar period drawn from `starts`
        (first, how many)."""
        episode_keys(seed, first_episode, self._keys)
        first, count = starts
        self.offset[:] = first + (self._keys >> np.uint64(17)) % np.uint64(count)
        self._first = self._period = 0
        self._fill()

    def advance(self) -> None:
        """Move to the next period."""
        self._period += 1
        if self._period - self._first == len(self._demand):
            self._first = self._period
            self._fill()
        elif self._net.calendar_length > 1:
            self.calendar += 1
            self.calendar[self.calendar >= self._net.calendar_length] = 0

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
    def availability(self) -> NDArray[np.float64]:
        """[V, B] share of owed units that can ship in the current period."""
        today: Floats = self._availability[self._period - self._first]
        return today

    def _fill(self) -> None:
        length = self._net.calendar_length
        self.calendar[:] = (self._first + self.offset) % length
        _draw_block(
            self._handle, self._keys, self.calendar, self._first, self._regime, self._demand,
            self._lead_time, self._availability, self.regime, self._bits, self._normals,
        )  # fmt: skip


@entry
def _draw_block(
    tables: TraceTables, keys: Keys, calendar: Ints, first: int, regime: Ints, demand: Floats,
    lead_time: Ints, availability: Floats, paths: Ints, bits: Ints, normals: Floats,
) -> None:  # fmt: skip
    """Draw `len(demand)` periods from `first` on. All arrays have the batch innermost.

    bits [B], normals [2, B]: scratch.
    """
    block, streams, _ = demand.shape
    regimes, stochastic = regime.shape[0], lead_time.shape[1]
    correlated = False
    for d in range(streams):
        correlated |= tables.correlation[d] > 0.0
    # Numbers of a period: two per stream (normal draws need a pair), and a pair that all share.
    per_period = np.uint64(2 * (streams + stochastic + regimes + 1))
    two = np.uint64(2)
    for i in range(block):
        counter = np.uint64(first + i) * per_period
        for g in range(regimes):
            _draw_regime(tables, keys, g, counter, first + i, regime[g])
            copy_row(paths[i, g], regime[g])
            counter += two
        if correlated:
            _draw_normals(keys, counter, normals[0])
        counter += two
        for d in range(streams):
            _draw_demand(tables, keys, calendar, i, d, counter, regime, bits, normals, demand[i, d])
            counter += two
        for s in range(stochastic):
            draw_bits(keys, counter, bits)
            _look_up_lead_time(tables, s, bits, regime, lead_time[i, s])
            counter += two
        for v in range(availability.shape[1]):
            _multiply(tables.availability_factor[v], regime, availability[i, v])


@kernel
def _draw_regime(
    tables: TraceTables, keys: Keys, g: int, counter: np.uint64, period: int, regime: Ints
) -> None:
    for b in range(keys.size):
        u = uniform(keys[b], counter)
        cdf = tables.regime_start[g] if period == 0 else tables.regime_step[g, regime[b]]
        state = 0
        while state < cdf.size - 1 and u >= cdf[state]:
            state += 1
        regime[b] = state


@kernel
def _multiply(factor: Floats, regime: Ints, out: Floats) -> None:
    """factor [G, states], regime [G, B]: the product of what all regimes do to a lane."""
    for b in range(out.size):
        share = 1.0
        for g in range(regime.shape[0]):
            share *= factor[g, regime[g, b]]
        out[b] = share


@kernel
def _draw_demand(
    tables: TraceTables, keys: Keys, calendar: Ints, ahead: int, d: int, counter: np.uint64,
    regime: Ints, bits: Ints, normals: Floats, out: Floats,
) -> None:  # fmt: skip
    kind, rho, g = tables.kind[d], tables.correlation[d], tables.regime_of[d]
    table_of, history = tables.table_of[d], tables.history[d]
    if kind == HISTORY:
        for b in range(out.size):
            out[b] = history[_wrap(calendar[b] + ahead, history.size)]
        return
    # One table for the whole batch unless the calendar or a regime says otherwise.
    varies = g >= 0 or table_of.size > 1
    if rho > 0.0 or kind == CONTINUOUS:
        _draw_normals(keys, counter, normals[1])
        _correlate(rho, normals)
    if kind != CONTINUOUS:
        if rho > 0.0:
            _bits_of_normals(normals[1], bits)
        else:
            draw_bits(keys, counter, bits)
    table = table_of[0]
    if not varies and kind != CONTINUOUS:
        cdf = tables.values[tables.pointer[table] : tables.pointer[table + 1]]
        guide, lowest = tables.guide[table], tables.lowest[table]
        for b in range(out.size):
            out[b] = lowest + _look_up(bits[b], guide, cdf)
        return
    pointer, values, guides, lowests = tables.pointer, tables.values, tables.guide, tables.lowest
    for b in range(out.size):
        if varies:
            table = table_of[_wrap(calendar[b] + ahead, table_of.size)]
            if g >= 0:
                table += regime[g, b]
        row = values[pointer[table] : pointer[table + 1]]
        if kind == CONTINUOUS:
            out[b] = _interpolate(normals[1, b], row)
        else:
            out[b] = lowests[table] + _look_up(bits[b], guides[table], row)


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
def _look_up_lead_time(tables: TraceTables, s: int, bits: Ints, regime: Ints, out: Ints) -> None:
    cdf = tables.lead_cdf[tables.lead_pointer[s] : tables.lead_pointer[s + 1]]
    guide, factor = tables.lead_guide[s], tables.lead_factor[s]
    minimum, longest = tables.lead_minimum[s], tables.lead_longest[s]
    shortest = tables.lead_shortest[s]
    for b in range(out.size):
        periods = float(minimum + _look_up(bits[b], guide, cdf))
        for g in range(regime.shape[0]):
            periods *= factor[g, regime[g, b]]
        out[b] = max(min(round(periods), longest), shortest)
