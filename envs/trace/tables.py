"""The tables that a trace draws from: every distribution of a network as an inverse CDF.

So draws cost the same for every process and stay monotone in the underlying uniform number.
Discrete tables carry a guide (Chen and Asau 1974): [0, 1) is cut into CELLS equal cells; where a
whole cell falls on one outcome, the guide holds it and there is nothing to search.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from envs.compiled.arrays import CalendarArrays
from envs.compiled.network import CompiledNetwork
from envs.compiled.sparse import row_numbers
from envs.errors import ConfigError
from envs.network.demand import DemandProcess, draws_whole_units
from envs.network.lane import Lane
from envs.network.lead_time import LeadTime
from envs.network.network import SupplyNetwork
from envs.network.regime import EventWindow, Regime
from envs.types import Bools, Floats, Ints

CELL_BITS = 10
CELLS = 1 << CELL_BITS  # a guide of 4 KB: of Poisson draws, 2 % fall in a cell to search
Z_MAX, Z_STEP = 6.5, 0.005  # continuous quantiles are interpolated on this normal-score grid
DISCRETE, CONTINUOUS, HISTORY = 0, 1, 2


_FOREVER = 1 << 40  # periods that an event without an end lasts
_LONGEST_TABLE = 5_000_000
_TAIL = 1e-12  # probability beyond which a discrete table ends


class Effects(NamedTuple):
    """What regimes multiply: row i by multiplier[e, its state], for each entry e in
    pointer[i]..pointer[i + 1] the state of regime[e]."""

    pointer: Ints  # [rows + 1]
    regime: Ints  # [entries]
    multiplier: Floats  # [entries, states]


class TraceTables(NamedTuple):  # read-only
    """What the kernels draw from. D demand streams, C calendar periods, G regimes, V exposures,
    S lanes with a lead time that can vary, F periods of regime forecasts.

    A period uses `numbers` pairs of random numbers: of regimes that are Markov chains, one that all
    streams share, of streams, of lanes that draw. Events use none of them, so that all else happens
    as it would have without them.
    """

    numbers: int
    common_number: int  # the first stream's comes after it
    kind: Ints  # [D] discrete, continuous or history
    place_of: Ints  # [D, C] first place of the calendar period in table_at
    table_at: Ints  # tables by place: a calendar period has one for each mix of regime states
    demand: Effects  # [D] on mean demand
    stride: Ints  # [entries of demand] places from a state to the next
    whole: Bools  # [D] the history is in whole units
    rounding: Floats  # [D] where its sequence of roundings starts: not the same in all shops
    correlation: Floats  # [D]
    history: Floats  # [D, C] units
    known: Floats  # [D, C] multipliers of the history that are known ahead
    pointer: Ints  # [tables + 1] into values
    values: Floats  # CDFs, and quantiles of continuous processes
    lowest: Floats  # [tables] units or periods at the first CDF entry
    guide: NDArray[np.int32]  # [tables, CELLS] outcome, or ~first outcome to look at
    lead_table: Ints  # [S]
    lead_number: Ints  # [S] the same for lanes on one vehicle; -1: constant but for regimes
    lead_mean: Floats  # [S] periods, as usual
    lead_shortest: Ints  # [S] 1 with inputs: a regime can't make goods arrive at once
    lead_longest: Ints  # [S]
    lead_time: Effects  # [S]
    lead_spread: Effects  # [S] on the distance from the mean
    no_overtaking: Bools  # [S]
    factor: Effects  # [V]
    calendars: CalendarArrays
    factor_calendar: Ints  # [V] row of the calendars, or -1
    regime_number: Ints  # [G], -1: scheduled
    regime_start: Floats  # [G, states] cumulative stationary distribution
    regime_step: Floats  # [G, states, states] cumulative transition rows
    schedule: Ints  # [G, 3] first period, how many to draw from, duration
    seen_after: Ints  # [G] periods, -1: hidden
    accuracy: Floats  # [F, G] of the forecast, -1: none


# A search plays hundreds of batches on one network, and tables of a calendar take seconds.
_TABLES: WeakKeyDictionary[CompiledNetwork, TraceTables] = WeakKeyDictionary()


def compile_tables(net: CompiledNetwork) -> TraceTables:
    """Tabulate every distribution the network can draw from; once for a compiled network."""
    if net not in _TABLES:
        _TABLES[net] = _tabulate(net)
    return _TABLES[net]


def _tabulate(net: CompiledNetwork) -> TraceTables:
    stocks = [net.network.stocks[p] for p in net.customer_pair]
    demands = [stock.demand for stock in stocks if stock.demand is not None]
    regimes, length = net.network.regimes, net.demand.calendar_length
    builder = _TableBuilder()
    kind = np.zeros(len(demands), np.int64)
    place_of = np.zeros((len(demands), length), np.int64)
    history = np.zeros((len(demands), length))
    known = np.ones((len(demands), length))
    whole = np.zeros(len(demands), bool)
    effects = _effects(regimes, [(stock.demand_regimes, "", "demand") for stock in stocks])
    strides: list[int] = []
    for d, demand in enumerate(demands):
        factors = np.ones(1)
        for entry in range(effects.pointer[d], effects.pointer[d + 1]):
            strides.append(factors.size)
            states = len(regimes[effects.regime[entry]].states)
            factors = np.outer(effects.multiplier[entry, :states], factors).ravel()
        if demand.process is None:
            assert demand.history is not None
            kind[d], history[d] = HISTORY, demand.history
            if demand.multiplier is not None:
                known[d] = demand.multiplier
            whole[d] = demand.is_whole
            continue
        kind[d] = builder.kind(demand.process)
        multiplier = np.ones(length) if demand.multiplier is None else demand.multiplier
        rounded = np.array([float(f"{m:.3g}") for m in multiplier])  # bounds the number of tables
        for value in np.unique(rounded):
            place_of[d, rounded == value] = builder.add_demand(demand.process, value * factors)
    lanes = [net.network.lanes[q] for q in np.flatnonzero(net.arrays.lanes.lead_row >= 0)]
    lead_table = [builder.add_lead_time(lane.lead_time) for lane in lanes]
    markov = [regime.process.is_chain for regime in regimes]
    draws = [not lane.lead_time.constant for lane in lanes]
    drawn_before = sum(markov) + 1 + len(demands)
    number = row_numbers(draws, drawn_before)
    start, step, schedule = _paths(regimes)
    return TraceTables(
        numbers=drawn_before + sum(draws),
        common_number=sum(markov),
        kind=kind,
        place_of=place_of,
        table_at=np.array(builder.table_at, np.int64),
        demand=effects,
        stride=np.array(strides, np.int64),
        whole=whole,
        rounding=np.array([crc32(stock.label.encode()) / 2**32 for stock in stocks], float),
        correlation=np.array([demand.correlation for demand in demands], float),
        history=history,
        known=known,
        pointer=np.cumsum([0, *(v.size for v in builder.values)]).astype(np.int64),
        values=np.concatenate([*builder.values, np.zeros(0)]),
        lowest=np.array(builder.lowest, float),
        guide=np.array([_guide(v) for v in builder.values], np.int32).reshape(-1, CELLS),
        lead_table=np.array(lead_table, np.int64),
        lead_number=np.where(number >= 0, number[_first_on_board(net.network, lanes)], -1),
        lead_mean=np.array([lane.lead_time.mean() for lane in lanes], float),
        lead_shortest=np.array(
            [min(1, lane.lead_time.minimum) * bool(lane.inputs) for lane in lanes], np.int64
        ),
        lead_longest=net.lead_longest[net.arrays.lanes.lead_row >= 0],
        lead_time=_effects(regimes, [(q.regimes, q.mode, "lead_time") for q in lanes]),
        lead_spread=_effects(regimes, [(q.regimes, q.mode, "lead_time_spread") for q in lanes]),
        no_overtaking=np.array([lane.lead_time.no_overtaking for lane in lanes], bool),
        factor=_effects(
            regimes, [(row.regimes, row.mode, row.multiplier) for row in net.exposures]
        ),
        calendars=net.arrays.calendars,
        factor_calendar=net.arrays.factor_rows.calendar,
        regime_number=row_numbers(markov),
        regime_start=start,
        regime_step=step,
        schedule=schedule,
        seen_after=np.array(
            [-1 if r.seen_after is None else r.seen_after for r in regimes], np.int64
        ),
        accuracy=_accuracy(regimes),
    )


def _first_on_board(network: SupplyNetwork, lanes: list[Lane]) -> Ints:
    """[S] the first lane that draws for what travels on the same vehicle (see `Resource`)."""
    vehicles = {r.id for r in network.resources if r.load_size is not None}
    first: dict[tuple[object, ...], int] = {}
    leader = np.arange(len(lanes))
    for s, lane in enumerate(lanes):
        on = next((use.resource for use in lane.resources if use.resource in vehicles), None)
        if on is not None and not lane.lead_time.constant:
            senders = frozenset(item.node for item in lane.inputs)
            leader[s] = first.setdefault((on, senders, lane.node, lane.mode), s)
    return leader


class _TableBuilder:
    """Collects tables; equal ones (same process and factor, same lead time) are shared."""

    def __init__(self) -> None:
        self.values: list[Floats] = []
        self.lowest: list[float] = []
        self.table_at: list[int] = []
        self._table: dict[object, int] = {}
        self._place: dict[object, int] = {}

    def kind(self, process: DemandProcess) -> int:
        """Whether the process is discrete or continuous."""
        return DISCRETE if draws_whole_units(process) else CONTINUOUS

    def add_demand(self, process: DemandProcess, factors: Floats) -> int:
        """Put one table per factor in consecutive places; return the first place."""
        key = (process, tuple(factors))
        if key not in self._place:
            self._place[key] = len(self.table_at)
            self.table_at += [self._add_factor(process, float(f"{f:.12g}")) for f in factors]
        return self._place[key]

    def add_lead_time(self, lead_time: LeadTime) -> int:
        """Add the table of a lead time; return it."""
        cdf = np.cumsum(lead_time.probabilities())
        return self._add(lead_time, cdf, lead_time.minimum)

    def _add_factor(self, process: DemandProcess, factor: float) -> int:
        key = (process, factor)
        if key in self._table:
            return self._table[key]
        discrete = self.kind(process) == DISCRETE
        if factor == 0.0:
            return self._add(key, np.ones(1) if discrete else np.zeros(_grid().size), 0)
        distribution = process.distribution(factor)
        if not discrete:
            quantiles = distribution.ppf(stats.norm.cdf(_grid()))
            finite = np.where(np.isfinite(quantiles), quantiles, np.nan)
            return self._add(key, np.maximum(_fill_ends(finite), 0.0), 0)
        low = max(0, int(distribution.ppf(_TAIL)))
        high = max(low, int(distribution.ppf(1.0 - _TAIL)))
        if high - low > _LONGEST_TABLE:
            raise ConfigError(
                f"demand: {process} can be any of {high - low:.1e} whole numbers; expected at most "
                f"{_LONGEST_TABLE:.0e}. Count in larger units, or take normal demand without "
                "whole_units."
            )
        cdf = np.asarray(distribution.cdf(np.arange(low, high + 1)), float)
        cdf[-1] = 1.0
        return self._add(key, cdf, low)

    def _add(self, key: object, values: Floats, lowest: int) -> int:
        if key not in self._table:
            self._table[key] = len(self.values)
            self.values.append(values)
            self.lowest.append(lowest)
        return self._table[key]


def _guide(cdf: Floats) -> NDArray[np.int32]:
    edges = np.arange(CELLS + 1) / CELLS
    first = np.minimum(np.searchsorted(cdf, edges[:-1], side="right"), cdf.size - 1)
    last = np.minimum(np.searchsorted(cdf, edges[1:], side="left"), cdf.size - 1)
    return np.where(first == last, first, ~first).astype(np.int32)


def _grid() -> Floats:
    return np.arange(-Z_MAX, Z_MAX + Z_STEP / 2, Z_STEP)


def _fill_ends(values: Floats) -> Floats:
    known = np.flatnonzero(~np.isnan(values))
    return np.interp(np.arange(values.size), known, values[known])


def _effects(
    regimes: Sequence[Regime], rows: Iterable[tuple[Collection[str], str, str]]
) -> Effects:
    """rows: which regimes a row is exposed to, as lanes of which mode, and by which multiplier."""
    pointer, regime, multipliers = [0], [], []
    width = _width(regimes)
    for exposed, mode, name in rows:
        for g, one in enumerate(regimes):
            if one.id in exposed:
                by_state = [float(getattr(state, name)) for state in one.for_mode(mode).states]
                if any(m != 1.0 for m in by_state):
                    regime.append(g)
                    multipliers.append(by_state + [1.0] * (width - len(by_state)))
        pointer.append(len(regime))
    return Effects(
        np.array(pointer, np.int64),
        np.array(regime, np.int64),
        np.array(multipliers, float).reshape(-1, width),
    )


def _width(regimes: Sequence[Regime]) -> int:
    return max([1, *(len(r.states) for r in regimes)])


def _paths(regimes: Sequence[Regime]) -> tuple[Floats, Floats, Ints]:
    """Return regime_start, regime_step and schedule. The cumulative distributions end at exactly 1,
    so that no state is drawn that a regime doesn't have."""
    width = _width(regimes)
    start = np.ones((len(regimes), width))
    step = np.ones((len(regimes), width, width))
    schedule = np.zeros((len(regimes), 3), np.int64)
    for g, regime in enumerate(regimes):
        last, when = len(regime.states) - 1, regime.process
        start[g, :last] = np.cumsum(regime.stationary())[:-1]
        if isinstance(when, EventWindow):
            lasts = _FOREVER if when.duration is None else when.duration
            schedule[g] = when.first, when.last - when.first + 1, lasts
        else:
            step[g, : last + 1, :last] = np.cumsum(regime.step(), axis=1)[:, :-1]
    return start, step, schedule


def _accuracy(regimes: Sequence[Regime]) -> Floats:
    ahead = max((len(r.forecast_accuracy) for r in regimes), default=0)
    accuracy = np.full((ahead, len(regimes)), -1.0)
    for g, regime in enumerate(regimes):
        accuracy[: len(regime.forecast_accuracy), g] = regime.forecast_accuracy
    return accuracy
