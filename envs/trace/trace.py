"""All chance of an episode, drawn without looking at actions.

A `Trace` hands out demand, lead times and regime factors period by period. It is a pure function of
(seed, episode, period): equal seeds give equal traces whatever the policy does, so policies are
compared on common random numbers, and memory does not grow with the horizon because only a block
of periods is held.

A row of draws is made in two passes: random bits for the whole batch, which vectorises, then the
table look-up (envs/trace/draws.py), which can't.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.kernel import Handle, copy_row, entry, kernel
from envs.trace.draws import (
    TraceBlock,
    close,
    draw_demand,
    draw_normals,
    look_up_lead_time,
    multiply,
    replay_demand,
)
from envs.trace.random_streams import draw_bits, episode_keys, uniform
from envs.trace.tables import HISTORY, TraceTables, compile_tables
from envs.types import Floats, Ints, Keys

_BLOCK_VALUES = 1 << 15  # demand values held at once: stays in the L2 cache
_ONE = np.uint64(1)
# Streams of their own: forecasts for agents, and dates of events, move no other draw.
_FORECASTS, _DATES = np.uint64(0x6A09E667F3BCC908), np.uint64(0xBB67AE8584CAA73B)
_BLOCKS, _PREFERENCES = np.uint64(0x3C6EF372FE94F82B), np.uint64(0x510E527FADE682D1)


class Bootstrap(NamedTuple):
    """Moving-block bootstrap of replayed histories (Künsch 1989): every `length` periods another
    stretch of the calendar periods first..stop-1 is replayed, the same one for all pairs, so that
    what moves together still does. Lengths of whole weeks keep the day of the week. What is known
    ahead stays in its place: of the stretch only what differs from its own multiplier is taken.
    """

    length: int
    first: int
    stop: int


class Drawn(NamedTuple):
    """Where a trace stands: what its block was drawn from."""

    first: int  # period of the block
    period: int
    paths: Ints  # [rows, G, B]
    lead_before: Ints  # [S, B]


class Trace:
    """The chance of B episodes, materialised block by block.

    demand [D, B] units, lead_time [S, B] periods, factor [V, B] (what regimes multiply and
    calendars close, see `CompiledNetwork.exposures`) and true_regime [G, B] belong to the current
    period; `calendar` [B] is each episode's position in the calendar, `offset` [B] where it began.
    seen [G, B]: the regime states that agents may see, -1 where hidden. forecast [F, G, B]: what
    their forecast of the states 1..F periods ahead, -1 where none.
    """

    def __init__(self, net: CompiledNetwork, batch_size: int) -> None:
        self._net, self._tables = net, compile_tables(net)
        self._handle = Handle(self._tables)
        streams, stochastic = len(net.customer_pair), self._tables.lead_table.size
        exposed, regimes = len(net.exposures), len(net.network.regimes)
        block = int(np.clip(_BLOCK_VALUES // max(1, streams * batch_size), 1, 128))
        self._delay = int(max(1, *self._tables.seen_after)) if regimes else 1  # 1: to go on from
        self._ahead = len(self._tables.accuracy)
        self.offset = np.zeros(batch_size, np.int64)
        self.calendar = np.zeros(batch_size, np.int64)
        self._bootstrap: Bootstrap | None = None
        # Row j is the period first - delay + j: agents see the past, forecasts know the future.
        self._paths = np.zeros((self._delay + block + self._ahead, regimes, batch_size), np.int64)
        self._block = TraceBlock(
            keys=np.zeros(batch_size, np.uint64),
            calendar=self.calendar,
            offset=self.offset,
            source=np.zeros((0, batch_size), np.int64),  # empty: every day replays itself
            paths=self._paths[self._delay :],
            demand=np.zeros((block, streams, batch_size)),
            lead_time=np.zeros((block, stochastic, batch_size), np.int64),
            lead_before=np.zeros((stochastic, batch_size), np.int64),
            factor=np.ones((block, exposed, batch_size)),
            bits=np.zeros(batch_size, np.int64),
            normals=np.zeros((2, batch_size)),
        )
        self.factor = np.ones((exposed, batch_size))
        self.seen = np.full((regimes, batch_size), -1, np.int64)
        self.forecast = np.full((self._ahead, regimes, batch_size), -1, np.int64)
        self._tells = bool(self._ahead or (self._tables.seen_after >= 0).any())
        self._moves = bool(exposed or regimes)
        self._first, self._period = 0, 0
        self._before = self._paths.copy(), self._block.lead_before.copy()  # the block was drawn

    def reset(
        self,
        seed: int,
        first_episode: int,
        starts: tuple[int, int] = (0, 1),
        bootstrap: Bootstrap | None = None,
    ) -> None:
        """Begin episodes first_episode + b. Each starts at a calendar period drawn from `starts`
        (first, how many)."""
        self._bootstrap = bootstrap
        keys = self._block.keys
        rows = 0 if bootstrap is None else len(self._block.demand)
        self._block = self._block._replace(source=np.zeros((rows, keys.size), np.int64))
        self._block_handle = Handle(self._block)
        episode_keys(seed, first_episode, keys)
        first, count = starts
        self.offset[:] = first + (keys >> np.uint64(17)) % np.uint64(count)
        self._first = self._period = 0
        self._block.lead_before[:] = 0
        self._fill()

    def advance(self) -> None:
        """Move to the next period."""
        self._period += 1
        if self._period - self._first == len(self._block.demand):
            self._first = self._period
            self._fill()
            return
        if self._net.demand.calendar_length > 1:
            self.calendar += 1
            self.calendar[self.calendar >= self._net.demand.calendar_length] = 0
        if self._moves:
            self._look()

    def mark(self) -> Drawn:
        """Return what `return_to` needs to be at the current period again."""
        paths, lead_before = self._before
        return Drawn(self._first, self._period, paths.copy(), lead_before.copy())

    def return_to(self, drawn: Drawn) -> None:
        """Be where the trace was when it was marked; episodes are the same."""
        if drawn.first != self._first:
            self._first = self._period = drawn.first
            self._paths[...], self._block.lead_before[...] = drawn.paths, drawn.lead_before
            self._fill()
        self._period = drawn.period
        self.calendar[:] = (drawn.period + self.offset) % self._net.demand.calendar_length
        if self._moves:
            self._look()

    def draw_preference(self, out: Floats) -> None:
        """Fill out [B] with a number in [0, 1) per episode; no other draw knows of it."""
        _draw_preference(self._block.keys, out)

    @property
    def period(self) -> int:
        """Periods since the episodes began."""
        return self._period

    @property
    def demand(self) -> Floats:
        """[D, B] units of the current period."""
        today: Floats = self._block.demand[self._period - self._first]
        return today

    @property
    def lead_time(self) -> Ints:
        """[S, B] periods, of what ships in the current period."""
        today: Ints = self._block.lead_time[self._period - self._first]
        return today

    @property
    def true_regime(self) -> Ints:
        """[G, B] states in the current period, hidden ones too."""
        today: Ints = self._paths[self._delay + self._period - self._first]
        return today

    def _fill(self) -> None:
        self._before = self._paths.copy(), self._block.lead_before.copy()
        length, keys = self._net.demand.calendar_length, self._block.keys
        self.calendar[:] = (self._first + self.offset) % length
        if self.seen.size:
            kept = self._delay + self._ahead
            if self._first == 0:
                _draw_regimes(self._handle, keys, self._paths, self._delay, 0)
                self._paths[: self._delay] = self._paths[self._delay]
            else:
                block = len(self._block.demand)
                self._paths[:kept] = self._paths[block : block + kept].copy()
                _draw_regimes(self._handle, keys, self._paths, kept, self._first + self._ahead)
        if self._bootstrap is not None:
            source = self._block.source
            _draw_sources(keys, self.offset, self._first, length, *self._bootstrap, source)
        _draw_block(self._handle, self._block_handle, self._first)
        if self._moves:
            self._look()

    def _look(self) -> None:
        """Fill what regimes and calendars do today, and what agents may see of regimes."""
        self.factor[...] = self._block.factor[self._period - self._first]
        if self._tells:
            row = self._delay + self._period - self._first
            _look_at_regimes(
                self._handle, self._block.keys, self._paths, row, self._period, self.seen,
                self.forecast,
            )  # fmt: skip


@entry
def _draw_preference(keys: Keys, out: Floats) -> None:
    for b in range(out.size):
        out[b] = uniform(keys[b] ^ _PREFERENCES, np.uint64(0))


@entry
def _draw_block(tables: TraceTables, block: TraceBlock, first: int) -> None:
    """Draw the periods of the block, from `first` on."""
    periods, streams, _ = block.demand.shape
    lead_time, factor, keys = block.lead_time, block.factor, block.keys
    correlated = False
    for d in range(streams):
        correlated |= tables.correlation[d] > 0.0
    for i in range(periods):
        period = first + i
        if correlated:
            draw_normals(keys, _counter(tables, period, tables.common_number), block.normals[0])
        for d in range(streams):
            if tables.kind[d] == HISTORY:
                replay_demand(tables, block, i, d)
            else:
                counter = _counter(tables, period, tables.common_number + 1 + d)
                draw_demand(tables, block, i, d, counter)
        for s in range(lead_time.shape[1]):
            if tables.lead_number[s] >= 0:
                draw_bits(keys, _counter(tables, period, tables.lead_number[s]), block.bits)
            look_up_lead_time(tables, block, i, s)
            if tables.no_overtaking[s]:
                _keep_order(lead_time[i, s], block.lead_before[s])
        for v in range(factor.shape[1]):
            multiply(tables.factor, v, block.paths[i], factor[i, v])
            close(tables, block, period, v, factor[i, v])


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
                state = paths[row + 1 + f, g, b]
                if uniform(key, counter) >= accuracy:
                    state = _first_above(tables.regime_start[g], uniform(key, counter + _ONE))
                forecast[f, g, b] = state


@kernel
def _keep_order(lead: Ints, before: Ints) -> None:
    """What ships now arrives no earlier than what shipped a period ago."""
    for b in range(lead.size):
        lead[b] = max(lead[b], before[b] - 1)
        before[b] = lead[b]


@entry
def _draw_sources(
    keys: Keys, offset: Ints, period: int, calendar: int, length: int, first: int, stop: int,
    source: Ints,
) -> None:  # fmt: skip
    """Fill source [block, B] with the calendar days that are replayed from `period` on."""
    step = 7 if length % 7 == 0 else 1
    for i in range(len(source)):
        stretch, since = divmod(period + i, length)
        for b in range(keys.size):
            begun = (offset[b] + stretch * length) % calendar
            lowest = first + (begun - first) % step
            count = max((stop - length - lowest) // step + 1, 1)
            drawn = int(uniform(keys[b] ^ _BLOCKS, np.uint64(stretch)) * count)
            source[i, b] = lowest + step * drawn + since
