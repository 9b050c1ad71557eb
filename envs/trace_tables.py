"""The tables that a trace draws from: every distribution of a network as an inverse CDF.

So draws cost the same for every process and stay monotone in the underlying uniform number.
Discrete tables carry a guide (Chen and Asau 1974): [0, 1) is cut into CELLS equal cells; where a
whole cell falls on one outcome, the guide holds it and there is nothing to search.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from envs.compiled import CompiledNetwork
from envs.demand import Demand
from envs.network import Regime

__all__ = [
    "CELL_BITS",
    "CONTINUOUS",
    "DISCRETE",
    "HISTORY",
    "Z_MAX",
    "Z_STEP",
    "TraceTables",
    "compile_tables",
]

CELL_BITS = 10
CELLS = 1 << CELL_BITS  # a guide of 4 KB: of Poisson draws, 2 % fall in a cell to search
Z_MAX, Z_STEP = 6.5, 0.005  # continuous quantiles are interpolated on this normal-score grid
DISCRETE, CONTINUOUS, HISTORY = 0, 1, 2

Array = NDArray[Any]

_FOREVER = 1 << 40  # periods that an event without an end lasts
_TAIL = 1e-12  # probability beyond which a discrete table ends


class TraceTables(NamedTuple):
    """What the kernels draw from. D demand streams, C calendar periods, G regimes, V exposures,
    S lanes with a stochastic lead time, F periods of regime forecasts."""

    kind: NDArray[np.int64]  # [D] discrete, continuous or history
    table_of: NDArray[np.int64]  # [D, C] first table of the calendar period
    stride: NDArray[np.int64]  # [D, G] tables from a state to the next; 0: not exposed
    demand_factor: NDArray[np.float64]  # [D, G, states] on a replayed history
    whole: NDArray[np.bool_]  # [D] the history is in whole units
    correlation: NDArray[np.float64]  # [D]
    history: NDArray[np.float64]  # [D, C] units
    pointer: NDArray[np.int64]  # [tables + 1] into values
    values: NDArray[np.float64]  # CDFs, and quantiles of continuous processes
    lowest: NDArray[np.float64]  # [tables] units at the first CDF entry
    guide: NDArray[np.int32]  # [tables, CELLS] outcome, or ~first outcome to look at
    lead_minimum: NDArray[np.int64]  # [S] of the lanes with a stochastic lead time
    lead_mean: NDArray[np.float64]  # [S] periods, as usual
    lead_shortest: NDArray[np.int64]  # [S] 1 with inputs: a regime can't make goods arrive at once
    lead_longest: NDArray[np.int64]  # [S]
    lead_pointer: NDArray[np.int64]  # [S + 1]
    lead_cdf: NDArray[np.float64]
    lead_guide: NDArray[np.int32]  # [S, CELLS]
    lead_factor: NDArray[np.float64]  # [S, G, states] lead-time multiplier
    lead_spread: NDArray[np.float64]  # [S, G, states] multiplier on the distance from the mean
    no_overtaking: NDArray[np.bool_]  # [S]
    factor: NDArray[np.float64]  # [V, G, states] of what is exposed to a regime
    regime_start: NDArray[np.float64]  # [G, states] cumulative stationary distribution
    regime_step: NDArray[np.float64]  # [G, states, states] cumulative transition rows
    schedule: NDArray[np.int64]  # [G, 3] first period, how many to draw from (0: Markov), duration
    seen_after: NDArray[np.int64]  # [G] periods, -1: hidden
    accuracy: NDArray[np.float64]  # [F, G] of the forecast, -1: none


def compile_tables(net: CompiledNetwork) -> TraceTables:
    """Tabulate every distribution the network can draw from."""
    demands = [net.network.stocks[p].demand for p in net.customer_pair]
    regimes = list(net.network.regimes)
    length = net.calendar_length
    builder = _TableBuilder()
    kind = np.zeros(len(demands), np.int64)
    table_of = np.zeros((len(demands), length), np.int64)
    history = np.zeros((len(demands), length))
    width = max([1, *(len(r.states) for r in regimes)])
    stride = np.zeros((len(demands), len(regimes)), np.int64)
    demand_factor = np.ones((len(demands), len(regimes), width))
    whole = np.zeros(len(demands), bool)
    correlation = np.zeros(len(demands))
    for d, demand in enumerate(demands):
        assert demand is not None
        correlation[d] = demand.correlation
        factors = [1.0]
        exposed = net.network.stocks[net.customer_pair[d]].demand_regimes
        for g, regime in enumerate(regimes):
            if regime.id in exposed and any(state.demand != 1.0 for state in regime.states):
                by_state = [state.demand for state in regime.states]
                stride[d, g] = len(factors)
                demand_factor[d, g, : len(by_state)] = by_state
                factors = [before * f for f in by_state for before in factors]
        if demand.history is not None:
            kind[d], history[d] = HISTORY, demand.history
            whole[d] = bool((demand.history == np.round(demand.history)).all())
            continue
        kind[d] = builder.kind(demand)
        multiplier = np.ones(length) if demand.multiplier is None else demand.multiplier
        rounded = np.array([float(f"{m:.3g}") for m in multiplier])  # bounds the number of tables
        for value in np.unique(rounded):
            table_of[d, rounded == value] = builder.add(demand, [value * f for f in factors])
    lead = _lead_tables(net, regimes)
    own = (kind, table_of, stride, demand_factor, whole, correlation, history)
    return TraceTables._make((*own, *builder.arrays(), *lead, *_regime_tables(regimes)))


class _TableBuilder:
    """Collects tables; equal ones (same process, same factors) are shared."""

    def __init__(self) -> None:
        self._values: list[NDArray[np.float64]] = []
        self._lowest: list[float] = []
        self._known: dict[object, int] = {}
        self._kinds: dict[object, int] = {}

    def kind(self, demand: Demand) -> int:
        """Whether the process is discrete or continuous."""
        process = demand.process
        assert process is not None
        if process not in self._kinds:  # SciPy takes a millisecond for a distribution
            discrete = hasattr(process.distribution(1.0), "pmf")
            self._kinds[process] = DISCRETE if discrete else CONTINUOUS
        return self._kinds[process]

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
            constant = np.ones(1) if self.kind(demand) == DISCRETE else np.zeros(_grid().size)
            self._values.append(constant)
            self._lowest.append(0.0)
            return
        distribution = demand.process.distribution(factor)
        if self.kind(demand) == CONTINUOUS:
            quantiles = distribution.ppf(stats.norm.cdf(_grid()))
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

    def arrays(self) -> tuple[Array, ...]:
        pointer = np.cumsum([0, *(v.size for v in self._values)])
        values = np.concatenate(self._values) if self._values else np.zeros(1)
        guide = np.array([_guide(v) for v in self._values], np.int32).reshape(-1, CELLS)
        return pointer.astype(np.int64), values, np.array(self._lowest, float), guide


def _guide(cdf: NDArray[np.float64]) -> NDArray[np.int32]:
    edges = np.arange(CELLS + 1) / CELLS
    first = np.minimum(np.searchsorted(cdf, edges[:-1], side="right"), cdf.size - 1)
    last = np.minimum(np.searchsorted(cdf, edges[1:], side="left"), cdf.size - 1)
    return np.where(first == last, first, ~first).astype(np.int32)


def _grid() -> NDArray[np.float64]:
    return np.arange(-Z_MAX, Z_MAX + Z_STEP / 2, Z_STEP)


def _fill_ends(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.flatnonzero(~np.isnan(values))
    return np.interp(np.arange(values.size), known, values[known])


def _lead_tables(net: CompiledNetwork, regimes: list[Regime]) -> tuple[Array, ...]:
    lanes = net.network.lanes
    stochastic = np.flatnonzero(net.arrays.lead_row >= 0)
    exposed = [lanes[q].regimes for q in stochastic]
    cdfs = [np.cumsum(lanes[q].lead_time.probabilities()) for q in stochastic]
    exposures = [(e.regimes, e.multiplier) for e in net.exposures]
    return (
        np.array([lanes[q].lead_time.minimum for q in stochastic], np.int64),
        np.array([lanes[q].lead_time.mean() for q in stochastic], float),
        np.array(
            [min(1, lanes[q].lead_time.minimum) * bool(lanes[q].inputs) for q in stochastic],
            np.int64,
        ),
        net.lead_longest[stochastic],
        np.cumsum([0, *(c.size for c in cdfs)]).astype(np.int64),
        np.concatenate(cdfs) if cdfs else np.zeros(1),
        np.array([_guide(c) for c in cdfs], np.int32).reshape(-1, CELLS),
        _multipliers(regimes, [(lane, "lead_time") for lane in exposed]),
        _multipliers(regimes, [(lane, "lead_time_spread") for lane in exposed]),
        np.array([lanes[q].lead_time.no_overtaking for q in stochastic], bool),
        _multipliers(regimes, exposures),
    )


def _width(regimes: list[Regime]) -> int:
    return max([1, *(len(r.states) for r in regimes)])


def _multipliers(
    regimes: list[Regime], rows: Sequence[tuple[Collection[str], str]]
) -> NDArray[np.float64]:
    """[rows, G, states] a multiplier of the regimes that each row is exposed to; of others 1."""
    factor = np.ones((len(rows), len(regimes), _width(regimes)))
    for row, (exposed, name) in enumerate(rows):
        for g, regime in enumerate(regimes):
            if regime.id in exposed:
                factor[row, g, : len(regime.states)] = [getattr(s, name) for s in regime.states]
    return factor


def _regime_tables(regimes: list[Regime]) -> tuple[Array, ...]:
    width = _width(regimes)
    start = np.ones((len(regimes), width))
    step = np.ones((len(regimes), width, width))
    schedule = np.zeros((len(regimes), 3), np.int64)
    ahead = max((len(r.forecast_accuracy) for r in regimes), default=0)
    accuracy = np.full((ahead, len(regimes)), -1.0)
    for g, regime in enumerate(regimes):
        size = len(regime.states)
        start[g, :size] = np.cumsum(regime.stationary())
        accuracy[: len(regime.forecast_accuracy), g] = regime.forecast_accuracy
        when = regime.schedule
        if when is not None:
            lasts = _FOREVER if when.duration is None else when.duration
            schedule[g] = when.first, when.last - when.first + 1, lasts
        else:
            step[g, :size, :size] = np.cumsum(np.asarray(regime.transition, float), axis=1)
    seen_after = [-1 if r.seen_after is None else r.seen_after for r in regimes]
    return start, step, schedule, np.array(seen_after, np.int64), accuracy
