"""The best policy for one stocked pair that is bought from outside suppliers.

The state is the net stock, what arrives in the next periods, and what the planner knows. Where
customers wait, all that arrives within the shortest lead time counts as stock already (Karlin and
Scarf 1958), so that a single supplier leaves one number, and two of lead times l and l + k leave
k. Where they leave, the state is Zipkin's (2008, "Old and new methods for lost-sales inventory
systems", Operations Research 56(5)), cut to the orders that can be optimal by Morton's (1969)
bounds; elsewhere the cut is widened until the cost stands still.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from envs.types import Floats, Ints
from evaluation.optima.markov_demand import MarkovDemand
from evaluation.optima.mdp import Solution, iterate_values
from evaluation.optima.single_pair_kernels import expect, improve

_TAIL = 1e-9  # of demand beyond the first cut
_STANDS_STILL = 1e-6  # relative change of the cost when the cut is widened
_MOST_WIDENINGS = 8
_CYCLES = 0.7  # damping where orders come in batches, and so in cycles
_MOST_PIPELINES = 300_000
_MOST_VALUES = 100_000_000  # doubles: 800 MB
_MOST_STEPS = 5e9  # multiplications per iteration: about 2 seconds


class TooLarge(Exception):
    """The state has too many values for this method; the message says how many."""


@dataclass(frozen=True)
class Supply:
    """One way to buy."""

    lead_time: int  # periods; an order of period t serves the demand of period t + lead_time
    unit_cost: float = 0.0  # currency per unit
    fixed_cost: float = 0.0  # currency per order
    load_size: float = math.inf  # units
    load_cost: float = 0.0  # currency per load begun
    full_loads: bool = False  # whole loads only
    multiple: int = 1  # units an order can have, apart from 0
    minimum: float = 0.0
    maximum: float = math.inf
    open: tuple[bool, ...] = ()  # by regime state, whether orders can be placed; empty: always
    cost_factor: tuple[float, ...] = ()  # by regime state, on unit and load cost; empty: 1

    def order_cost(self, most: int, states: int) -> Floats:
        """Return [S, most + 1] the cost of an order of 0, 1, ... units; infinite: not allowed."""
        units = np.arange(most + 1)
        is_allowed = (units % self.multiple == 0) & (units >= self.minimum)
        is_allowed &= units <= self.maximum
        loads = np.ceil(units / self.load_size - 1e-9)
        if self.full_loads:
            is_allowed &= np.abs(loads * self.load_size - units) < 1e-9
        factor = np.array(self.cost_factor or (1.0,) * states)[:, None]
        cost = self.fixed_cost + factor * (self.unit_cost * units + self.load_cost * loads)
        cost = np.where(is_allowed, cost, np.inf)
        cost[~np.array(self.open or (True,) * states)] = np.inf
        cost[:, 0] = 0.0
        return cost

    @property
    def is_plain(self) -> bool:
        """Whether any whole number of units can be ordered, at a cost in proportion."""
        return (
            self.fixed_cost == 0.0 and self.load_cost == 0.0 and not self.full_loads
            and self.multiple == 1 and self.minimum <= 1.0 and self.maximum == math.inf
            and not self.open and not self.cost_factor
        )  # fmt: skip

    def cheapest(self) -> float:
        """Return the least it takes to buy a unit [currency], fixed and load costs apart."""
        return self.unit_cost * min(self.cost_factor, default=1.0)


@dataclass(frozen=True, eq=False)
class SinglePair:
    """One item at one place; in a period: order, then demand, then costs on what is left.

    holding_cost: currency per unit per period. Customers wait at backlog_cost [currency per unit
    per period] or, where it is None, leave at lost_sale_cost [currency per unit].
    """

    process: MarkovDemand
    supplies: tuple[Supply, ...]
    holding_cost: float
    backlog_cost: float | None = None
    lost_sale_cost: float = 0.0

    @property
    def shortest(self) -> int:
        """What arrives within so many periods counts as stock."""
        return 0 if self.backlog_cost is None else min(s.lead_time for s in self.supplies)

    @property
    def delays(self) -> tuple[int, ...]:
        """Return the suppliers' lead times beyond the shortest that counts."""
        return tuple(s.lead_time - self.shortest for s in self.supplies)

    @property
    def cheapest(self) -> float:
        """Return the least it takes to buy a unit [currency]; see _least_cost."""
        return min(supply.cheapest() for supply in self.supplies)


@dataclass(frozen=True)
class Optimum:
    """The best policy in the long run, of the state as cut."""

    cost: float  # currency per period, between lower and upper
    lower: float
    upper: float
    states: int  # of the cut
    iterations: int
    converged: bool  # False where the time was up

    @classmethod
    def of(cls, found: Solution, always: float) -> Optimum:
        """Put a solution and what is paid whatever one does [currency per period] together."""
        return cls(
            found.cost + always,
            found.lower + always,
            found.upper + always,
            found.values.size,
            found.iterations,
            found.converged,
        )


@dataclass(frozen=True)
class _Cut:
    """What of the state is kept."""

    lowest: int  # net stock with all that is ordered [units]
    highest: int
    most: tuple[int, ...]  # [periods on the way] units of the newest 1, 2, ... orders together
    is_exact: bool = False  # whether the optimum is known to stay within

    def wider(self) -> _Cut:
        """Return the next cut to compare with."""
        spread = self.highest - self.lowest
        return _Cut(
            self.lowest - (spread // 3 + 2 if self.lowest < 0 else 0),
            self.highest + spread // 3 + 2,
            tuple(units + max(1, units // 4) for units in self.most),
        )


def solve_single_pair(pair: SinglePair, *, time_limit: float | None = None) -> Optimum:
    """Return the long-run cost of the best policy. Raises TooLarge.

    time_limit: seconds; what is known then is a lower bound, or too large where the cut is not
    known to hold the optimum.
    """
    deadline = math.inf if time_limit is None else time.monotonic() + time_limit
    always = pair.cheapest * pair.process.mean_demand()
    cut = _first_cut(pair)
    found = _Model(pair, cut).solve(deadline)
    if cut.is_exact:
        return Optimum.of(found, always)
    for _ in range(_MOST_WIDENINGS):
        narrow, before = cut, found
        cut = narrow.wider()
        found = _Model(pair, cut).solve(deadline, _grown(found.values, narrow, cut))
        if not found.converged:
            raise TooLarge("the time was up before its cost stood still")
        if abs(found.cost - before.cost) <= _STANDS_STILL * max(abs(found.cost), 1e-6):
            return Optimum.of(found, always)
    raise TooLarge("its cost still moves when more states are looked at")


def _grown(values: Floats, narrow: _Cut, wide: _Cut) -> Floats:
    """Return values of a narrow cut as a start for a wider one."""
    below, above = narrow.lowest - wide.lowest, wide.highest - narrow.highest
    return np.pad(values, ((0, 0), (0, 0), (below, above)), mode="edge")


def _first_cut(pair: SinglePair) -> _Cut:
    """Morton's bounds where they hold: one supplier, lost sales, nothing but unit costs."""
    process, delays = pair.process, pair.delays
    longest, reach = max(s.lead_time for s in pair.supplies), max(delays)
    plain = len(pair.supplies) == 1 and pair.supplies[0].is_plain and len(process.weight) == 1
    if pair.backlog_cost is None and plain:
        worth = max(pair.lost_sale_cost - pair.cheapest, 0.0)
        tail = pair.holding_cost / (pair.holding_cost + worth)
        most = [process.quantile(periods, tail) for periods in range(1, longest + 2)]
        return _Cut(0, most[-1], tuple(most[:-1]), is_exact=True)
    mean, shortage = process.mean_demand(), pair.backlog_cost or pair.lost_sale_cost
    fixed = max(s.fixed_cost + s.load_cost for s in pair.supplies)
    batch = math.sqrt(2.0 * fixed * mean / pair.holding_cost)  # the economic order quantity
    batch += max(
        max(s.minimum, s.multiple, s.load_size if s.full_loads else 0.0) for s in pair.supplies
    )
    waiting = batch * pair.holding_cost / (pair.holding_cost + shortage)
    lowest = 0
    if pair.backlog_cost is not None:
        lowest = -process.quantile(longest + 1, _TAIL) - math.ceil(waiting)
    order = process.quantile(1, 1e-3) + math.ceil(batch)
    return _Cut(
        lowest,
        process.quantile(longest + 1, 1e-3) + math.ceil(1.5 * batch),
        tuple(order * (k + 1) for k in range(reach)),
    )


class _Model:
    """A pair with its state cut to finitely many values, as the arrays that kernels work on."""

    def __init__(self, pair: SinglePair, cut: _Cut) -> None:
        self._pair, self._is_lost = pair, pair.backlog_cost is None
        process, reach = pair.process, len(cut.most)
        self._levels = cut.highest - cut.lowest + 1
        pipelines = list(islice(_pipelines(cut, max(reach - 1, 0)), _MOST_PIPELINES + 1))
        if len(pipelines) > _MOST_PIPELINES:
            raise TooLarge(f"more than {_MOST_PIPELINES:,} pipelines can be on the way")
        self._on_way = np.array([sum(p) for p in pipelines], np.int64)
        self._set_orders(cut, pipelines)
        self._shape = (len(process.weight), len(pipelines), self._levels)
        # Where customers wait, what arrives next adds to the level at once: see `improve`.
        arrivals = int(self._arrival.max()) + 1 if self._is_lost else 1
        room = np.maximum(self._levels - self._on_way[:, None] - np.arange(arrivals), 0)
        end = np.cumsum(room).reshape(room.shape)
        self._place = np.column_stack([end[:, 0] - room[:, 0], end])
        outcomes = len(process.demand) / len(process.weight)
        values = len(process.weight) * int(end[-1, -1])
        steps = len(process.weight) * int((room * np.minimum(room, outcomes)).sum())
        if values > _MOST_VALUES or steps > _MOST_STEPS:
            raise TooLarge(f"its state has {values:,} values, with {outcomes:.0f} outcomes each")
        self._expected = np.zeros((len(process.weight), int(end[-1, -1])))
        level = np.arange(cut.lowest, cut.highest + 1)
        self._stage = process.weight @ self._level_cost(level)

    def _level_cost(self, level: Ints) -> Floats:
        """Return [S, levels] expected holding and shortage cost of what an order leads to."""
        pair = self._pair
        if self._is_lost:
            periods, shortage = 1, pair.lost_sale_cost - pair.cheapest
        else:
            assert pair.backlog_cost is not None
            periods, shortage = pair.shortest + 1, pair.backlog_cost
        pmf = pair.process.demand_over(periods)
        left = level - np.arange(pmf.shape[1])[:, None]
        cost = pair.holding_cost * np.maximum(left, 0) + shortage * np.maximum(-left, 0)
        return pmf @ cost

    def _set_orders(self, cut: _Cut, pipelines: list[tuple[int, ...]]) -> None:
        """An order is a quantity per delay; suppliers of the same delay share it at least cost."""
        pair, reach = self._pair, len(cut.most)
        states = pair.process.weight.argmax(axis=1)  # hidden states have no effect on suppliers
        now = np.zeros((len(states), 1))
        later, added = np.zeros((len(states), 1)), np.zeros((1, reach), np.int64)
        for delay in sorted(set(pair.delays)):
            most = self._levels - 1 if delay == 0 else min(cut.most[0], self._levels - 1)
            cost = _least_cost(pair, delay, most)[states]
            if delay == 0:
                now = cost
                continue
            sizes = np.flatnonzero(np.isfinite(cost).any(axis=0))
            units = np.zeros((len(sizes), reach), np.int64)
            units[:, delay - 1] = sizes
            added = (added[:, None, :] + units).reshape(-1, reach)
            later = (later[:, :, None] + cost[:, None, sizes]).reshape(len(states), -1)
        self._now, self._later = np.ascontiguousarray(now), np.ascontiguousarray(later)
        self._slope = np.array([_slope(cost) for cost in now])
        self._follow(pipelines, added, cut.most)

    def _follow(self, pipelines: list[tuple[int, ...]], added: Ints, most: tuple[int, ...]) -> None:
        row = {pipeline: j for j, pipeline in enumerate(pipelines)}
        self._following = np.zeros((len(pipelines), len(added)), np.int64)
        self._arrival = np.zeros_like(self._following)
        if not most:
            return
        for j, pipeline in enumerate(pipelines):
            way = added.copy()
            way[:, : len(pipeline)] += np.array(pipeline, np.int64)
            is_allowed = (np.cumsum(way[:, ::-1], axis=1) <= np.array(most)).all(axis=1)
            self._arrival[j] = way[:, 0]
            self._following[j] = -1
            for a in np.flatnonzero(is_allowed):
                self._following[j, a] = row.get(tuple(way[a, 1:].tolist()), -1)

    def solve(self, deadline: float, start: Floats | None = None) -> Solution:
        """Iterate to the optimum of this cut. start: used where the pipelines are as many."""
        process, expected, row = self._pair.process, self._expected, np.zeros(self._levels)

        def step(values: Floats, improved: Floats) -> tuple[float, float]:
            expect(
                process.pointer, process.demand, process.successor, process.probability,
                self._place, values, expected,
            )  # fmt: skip
            lower, upper = improve(
                self._now, self._slope, self._later, self._arrival, self._following,
                self._on_way, self._place, self._stage, self._is_lost, expected, row, values,
                improved,
            )  # fmt: skip
            return float(lower), float(upper)

        if start is None or start.shape != self._shape:
            start = np.zeros(self._shape)
        plain = all(supply.is_plain for supply in self._pair.supplies)
        damping = {} if plain else {"damping": _CYCLES}
        return iterate_values(step, start, deadline=deadline, **damping)


def _slope(cost: Floats) -> float:
    """Return what a unit costs if each costs the same, else -1."""
    if len(cost) < 2 or not np.isfinite(cost).all():
        return -1.0
    is_even = np.allclose(np.diff(cost), cost[1], rtol=1e-12, atol=1e-12)
    return max(float(cost[1]), 0.0) if is_even else -1.0


def _pipelines(cut: _Cut, length: int) -> Iterator[tuple[int, ...]]:
    """Yield what can be on the way in so many periods, oldest first."""

    def older(newer: tuple[int, ...], units: int) -> Iterator[tuple[int, ...]]:
        if len(newer) == length:
            yield newer
            return
        most = min(cut.most[len(newer)], cut.highest - cut.lowest)
        for quantity in range(most - units + 1):
            yield from older((quantity, *newer), units + quantity)

    return older((), 0)


def _least_cost(pair: SinglePair, delay: int, most: int) -> Floats:
    """Return [S, most + 1] the least cost of buying 0, 1, ... units from suppliers of a delay,
    beyond the cheapest unit cost of all: in the long run, what is bought is what isn't lost."""
    states, units = len(pair.process.pmf), np.arange(most + 1)
    total: Floats | None = None
    for supply, its_delay in zip(pair.supplies, pair.delays, strict=True):
        if its_delay != delay:
            continue
        cost = supply.order_cost(most, states) - pair.cheapest * units
        if total is None:
            total = cost
            continue
        shared = np.full_like(cost, np.inf)
        for k in units:
            shared[:, k:] = np.minimum(shared[:, k:], total[:, [k]] + cost[:, : most + 1 - k])
        total = shared
    assert total is not None
    return total
