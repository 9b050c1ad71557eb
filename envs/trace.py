"""All chance of an episode, drawn without looking at actions.

A `Trace` hands out demand, lead times and availability period by period. It is a pure function of
(seed, episode, period): equal seeds give equal traces whatever the policy does, so policies are
compared on common random numbers, and memory does not grow with the horizon because only a block
of periods is held.

Draws go through inverse-CDF tables (Chen and Asau 1974, guide tables), so they cost the same for
every process and stay monotone in the underlying uniform number.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.compiled import CompiledNetwork
from envs.demand import Demand
from envs.errors import ConfigError
from envs.network import Regime
from envs.kernel import kernel
from envs.random_streams import episode_keys, normal_cdf, standard_normal, uniform

__all__ = ["Trace", "TraceTables", "compile_tables"]

_GUIDE = 256  # entries of a guide table: a draw then looks at 1-2 table entries on average
_TAIL = 1e-12  # probability beyond which a discrete table ends
_Z_MAX, _Z_STEP = 6.5, 0.005  # continuous quantiles are interpolated on this normal-score grid
_BLOCK_VALUES = 1 << 15  # demand values held at once: stays in the L2 cache

_DISCRETE, _CONTINUOUS, _HISTORY = 0, 1, 2


class TraceTables(NamedTuple):
    """What the kernels draw from. D demand streams, C calendar periods, G regimes."""

    kind: NDArray[np.int64]  # [D] discrete, continuous or history
    table_of: NDArray[np.int64]  # [D, C] first table of the calendar period
    regime_of: NDArray[np.int64]  # [D] demand regime, or -1
    correlation: NDArray[np.float64]  # [D]
    history: NDArray[np.float64]  # [D, C] units
    pointer: NDArray[np.int64]  # [tables + 1] into values
    values: NDArray[np.float64]  # CDFs, and quantiles of continuous processes
    lowest: NDArray[np.float64]  # [tables] units at the first CDF entry
    guide: NDArray[np.int64]  # [tables, _GUIDE]
    lead_minimum: NDArray[np.int64]  # [S] of the lanes with a stochastic lead time
    lead_longest: NDArray[np.int64]  # [S]
    lead_pointer: NDArray[np.int64]  # [S + 1]
    lead_cdf: NDArray[np.float64]
    lead_factor: NDArray[np.float64]  # [S, G, states] lead-time multiplier
    availability_factor: NDArray[np.float64]  # [V, G, states] of lanes exposed to a regime
    regime_start: NDArray[np.float64]  # [G, states] cumulative stationary distribution
    regime_step: NDArray[np.float64]  # [G, states, states] cumulative transition rows


def compile_tables(net: CompiledNetwork) -> TraceTables:
    """Tabulate every distribution the network can draw from. Raises ConfigError."""
    demands = [net.network.stocks[p].demand for p in net.customer_pair]
    regimes = list(net.network.regimes)
    length = net.calendar_length
    builder = _TableBuilder()
    kind = np.zeros(len(demands), np.int64)
    table_of = np.zeros((len(demands), length), np.int64)
    history = np.zeros((len(demands), length))
    regime_of = np.full(len(demands), -1, np.int64)
    correlation = np.zeros(len(demands))
    regime_index = {r.id: g for g, r in enumerate(regimes)}
    for d, demand in enumerate(demands):
        assert demand is not None
        correlation[d] = demand.correlation
        factors = [1.0]
        regime = net.network.stocks[net.customer_pair[d]].demand_regime
        if regime is not None:
            regime_of[d] = regime_index[regime]
            factors = [state.demand for state in regimes[regime_index[regime]].states]
        if demand.history is not None:
            if regime is not None:
                raise ConfigError("demand: a replayed history can't have a demand regime.")
            kind[d], history[d] = _HISTORY, demand.history
            continue
        kind[d] = builder.kind(demand)
        multiplier = np.ones(length) if demand.multiplier is None else demand.multiplier
        rounded = np.array([float(f"{m:.3g}") for m in multiplier])  # bounds the number of tables
        for value in np.unique(rounded):
            table_of[d, rounded == value] = builder.add(demand, [value * f for f in factors])
    lead = _lead_tables(net, regimes)
    return TraceTables(
        kind, table_of, regime_of, correlation, history, *builder.arrays(), *lead,
        *_regime_tables(regimes),
    )  # fmt: skip


class _TableBuilder:
    """Collects tables; equal ones (same process, same factors) are shared."""

    def __init__(self) -> None:
        self._values: list[NDArray[np.float64]] = []
        self._lowest: list[float] = []
        self._known: dict[object, int] = {}

    @staticmethod
    def kind(demand: Demand) -> int:
        assert demand.process is not None
        return _DISCRETE if hasattr(demand.process.distribution(1.0), "pmf") else _CONTINUOUS

    def add(self, demand: Demand, factors: list[float]) -> int:
        """Add one table per factor, one behind the other; return the first."""
        key = (demand.process, tuple(factors))
        if key not in self._known:
            self._known[key] = len(self._values)
            for factor in factors:
                self._add_one(demand, factor)
        return self._known[key]

    def _add_one(self, demand: Demand, factor: float) -> None:
        assert demand.process is not None
        if factor == 0.0:
            constant = np.ones(1) if self.kind(demand) == _DISCRETE else np.zeros(_grid().size)
            self._values.append(constant)
            self._lowest.append(0.0)
            return
        distribution = demand.process.distribution(factor)
        if self.kind(demand) == _CONTINUOUS:
            quantiles = distribution.ppf(np.array([normal_cdf(z) for z in _grid()]))
            finite = np.where(np.isfinite(quantiles), quantiles, np.nan)
            self._values.append(np.maximum(_fill_ends(finite), 0.0))
            self._lowest.append(0.0)
            return
        low = max(0, int(distribution.ppf(_TAIL)))
        high = max(low, int(distribution.ppf(1.0 - _TAIL)))
        cdf = np.asarray(distribution.cdf(np.arange(low, high + 1)), float)
        cdf[-1] = 1.0
        self._values.append(cdf)
        self._lowest.append(float(low))

    def arrays(self) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        pointer = np.cumsum([0, *(v.size for v in self._values)])
        values = np.concatenate(self._values) if self._values else np.zeros(1)
        guide = np.zeros((max(1, len(self._values)), _GUIDE), np.int64)
        for i, table in enumerate(self._values):
            guide[i] = np.searchsorted(table, np.arange(_GUIDE) / _GUIDE, side="right")
            guide[i] = np.minimum(guide[i], table.size - 1)
        return pointer.astype(np.int64), values, np.array(self._lowest, float), guide


def _grid() -> NDArray[np.float64]:
    return np.arange(-_Z_MAX, _Z_MAX + _Z_STEP / 2, _Z_STEP)


def _fill_ends(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.flatnonzero(~np.isnan(values))
    return np.interp(np.arange(values.size), known, values[known])


def _lead_tables(net: CompiledNetwork, regimes: list[Regime]) -> tuple[NDArray, ...]:
    lanes = net.network.lanes
    index = {r.id: g for g, r in enumerate(regimes)}
    width = max([1, *(len(r.states) for r in regimes)])

    def exposure(lane_ids: NDArray[np.int64], name: str) -> NDArray[np.float64]:
        factor = np.ones((len(lane_ids), max(1, len(regimes)), width))
        for row, q in enumerate(lane_ids):
            for regime in lanes[q].regimes:
                states = regimes[index[regime]].states
                factor[row, index[regime], : len(states)] = [getattr(s, name) for s in states]
        return factor

    stochastic = np.flatnonzero(net.arrays.lead_row >= 0)
    exposed = np.flatnonzero(net.arrays.availability_row >= 0)
    cdfs = [np.cumsum(lanes[q].lead_time.probabilities()) for q in stochastic]
    return (
        np.array([lanes[q].lead_time.minimum for q in stochastic], np.int64),
        net.lead_longest[stochastic],
        np.cumsum([0, *(c.size for c in cdfs)]).astype(np.int64),
        np.concatenate(cdfs) if cdfs else np.zeros(1),
        exposure(stochastic, "lead_time"),
        exposure(exposed, "availability"),
    )


def _regime_tables(regimes: list[Regime]) -> tuple[NDArray, NDArray]:
    width = max([1, *(len(r.states) for r in regimes)])
    start = np.ones((len(regimes), width))
    step = np.ones((len(regimes), width, width))
    for g, regime in enumerate(regimes):
        matrix = np.asarray(regime.transition, float)
        size = len(matrix)
        system = np.vstack([matrix.T - np.eye(size), np.ones(size)])
        stationary = np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=None)[0]
        start[g, :size] = np.cumsum(stationary)
        step[g, :size, :size] = np.cumsum(matrix, axis=1)
    return start, step


class Trace:
    """The chance of B episodes, materialised block by block.

    demand [D, B] units, lead_time [S, B] periods and availability [V, B] share belong to the
    current period; `calendar` [B] is each episode's position in the calendar.
    """

    def __init__(self, net: CompiledNetwork, batch_size: int) -> None:
        self._net, self._tables = net, compile_tables(net)
        streams, stochastic = len(net.customer_pair), self._tables.lead_minimum.size
        exposed = self._tables.availability_factor.shape[0]
        regimes = self._tables.regime_start.shape[0]
        block = int(np.clip(_BLOCK_VALUES // max(1, streams * batch_size), 1, 128))
        self._keys = np.zeros(batch_size, np.uint64)
        self._regime = np.zeros((regimes, batch_size), np.int64)
        self._demand = np.zeros((block, streams, batch_size))
        self._lead_time = np.zeros((block, stochastic, batch_size), np.int64)
        self._availability = np.ones((block, exposed, batch_size))
        self.offset = np.zeros(batch_size, np.int64)
        self.calendar = np.zeros(batch_size, np.int64)
        self.regime = np.zeros((block, regimes, batch_size), np.int64)  # [block, G, B] true states
        self._first, self._period = 0, 0

    def reset(
        self, seed: int, first_episode: int, starts: tuple[int, int] = (0, 1)
    ) -> None:
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
        self.calendar += 1
        self.calendar[self.calendar >= self._net.calendar_length] = 0

    @property
    def demand(self) -> NDArray[np.float64]:
        """[D, B] units of the current period."""
        return self._demand[self._period - self._first]

    @property
    def lead_time(self) -> NDArray[np.int64]:
        """[S, B] periods, of what ships in the current period."""
        return self._lead_time[self._period - self._first]

    @property
    def availability(self) -> NDArray[np.float64]:
        """[V, B] share of owed units that can ship in the current period."""
        return self._availability[self._period - self._first]

    def _fill(self) -> None:
        length = self._net.calendar_length
        self.calendar[:] = (self._first + self.offset) % length
        _draw_block(
            self._tables, self._keys, self.calendar, self._first, self._regime, self._demand,
            self._lead_time, self._availability, self.regime,
        )  # fmt: skip


@kernel
def _draw_block(tables, keys, calendar, first, regime, demand, lead_time, availability, paths):
    """Draw `len(demand)` periods from `first` on. All arrays have the batch innermost."""
    block, streams, batch = demand.shape
    regimes, stochastic = regime.shape[0], lead_time.shape[1]
    # Streams of a period: demand and lead times use two numbers each (normal draws need a pair).
    per_period = np.uint64(2 * (streams + stochastic + regimes + 1))
    for i in range(block):
        counter = np.uint64(first + i) * per_period
        _draw_regimes(tables, keys, counter, first + i, regime)
        paths[i] = regime
        counter += np.uint64(2 * regimes)
        common = counter // np.uint64(2)
        counter += np.uint64(2)
        for d in range(streams):
            _draw_demand(tables, keys, calendar, i, d, common, counter, regime, demand[i, d])
            counter += np.uint64(2)
        for s in range(stochastic):
            _draw_lead_time(tables, keys, s, counter, regime, lead_time[i, s])
            counter += np.uint64(2)
        for v in range(availability.shape[1]):
            for b in range(batch):
                share = 1.0
                for g in range(regimes):
                    share *= tables.availability_factor[v, g, regime[g, b]]
                availability[i, v, b] = share


@kernel
def _draw_regimes(tables, keys, counter, period, regime):
    for g in range(regime.shape[0]):
        for b in range(keys.size):
            u = uniform(keys[b], counter + np.uint64(2 * g))
            cdf = tables.regime_start[g] if period == 0 else tables.regime_step[g, regime[g, b]]
            state = 0
            while state < cdf.size - 1 and u >= cdf[state]:
                state += 1
            regime[g, b] = state


@kernel
def _draw_demand(tables, keys, calendar, ahead, d, common, counter, regime, out):
    length = tables.table_of.shape[1]
    kind, rho, g = tables.kind[d], tables.correlation[d], tables.regime_of[d]
    for b in range(out.size):
        c = 0
        if length > 1:
            c = (calendar[b] + ahead) % length
        if kind == _HISTORY:
            out[b] = tables.history[d, c]
            continue
        table = tables.table_of[d, c]
        if g >= 0:
            table += regime[g, b]
        start = tables.pointer[table]
        z = 0.0
        if rho > 0.0 or kind == _CONTINUOUS:
            z = standard_normal(keys[b], counter // np.uint64(2))
            if rho > 0.0:
                shared = standard_normal(keys[b], common)
                z = np.sqrt(rho) * shared + np.sqrt(1.0 - rho) * z
        if kind == _CONTINUOUS:
            last = tables.pointer[table + 1] - start - 1
            place = min(max((z + _Z_MAX) / _Z_STEP, 0.0), last - 1e-9)
            k = int(place)
            low, high = tables.values[start + k], tables.values[start + k + 1]
            out[b] = low + (place - k) * (high - low)
            continue
        u = normal_cdf(z) if rho > 0.0 else uniform(keys[b], counter)
        k = tables.guide[table, min(int(u * _GUIDE), _GUIDE - 1)]
        while u >= tables.values[start + k] and start + k + 1 < tables.pointer[table + 1]:
            k += 1
        out[b] = tables.lowest[table] + k


@kernel
def _draw_lead_time(tables, keys, s, counter, regime, out):
    start, stop = tables.lead_pointer[s], tables.lead_pointer[s + 1]
    for b in range(out.size):
        u = uniform(keys[b], counter)
        k = start
        while k < stop - 1 and u >= tables.lead_cdf[k]:
            k += 1
        periods = float(tables.lead_minimum[s] + k - start)
        for g in range(regime.shape[0]):
            periods *= tables.lead_factor[s, g, regime[g, b]]
        out[b] = min(int(round(periods)), tables.lead_longest[s])
