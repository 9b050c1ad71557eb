"""The best policy for two items that share a supplier: joint fixed costs, loads, a budget.

The state is both inventory positions; each item's costs are charged a lead time later, as for one
item alone. It is cut to a rectangle that is widened until the cost stands still.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from envs.types import Floats, Ints
from evaluation.optima.mdp import Solution, iterate_values
from evaluation.optima.single_pair import Optimum, SinglePair, TooLarge

_TAIL = 1e-9  # of demand beyond the first cut
_STANDS_STILL = 1e-6  # relative change of the cost when the cut is widened
_MOST_WIDENINGS = 6
_MOST_STEPS = 4e9  # comparisons per iteration: a few seconds
_CYCLES = 0.7  # damping: orders come in cycles

_njit: Any = numba.njit(cache=True, error_model="numpy")


@dataclass(frozen=True, eq=False)
class JointPair:
    """Two items of one supplier each, without regimes; where customers leave, without lead time."""

    items: tuple[SinglePair, SinglePair]
    fixed_cost: float = 0.0  # currency per period with an order
    use: tuple[float, float] = (1.0, 1.0)  # what a unit of either takes of a load and the budget
    load_size: float = math.inf  # in the units of use
    load_cost: float = 0.0  # currency per load begun
    full_loads: bool = False  # whole loads only
    budget: float = math.inf  # of use per period

    def order_cost(self, first: Ints, second: Ints) -> Floats:
        """Return what orders of first [n] and second [m] units cost, [n, m]; infinite: not
        allowed. Each item's own cost beyond its unit cost is included."""
        total = np.zeros((len(first), len(second)))
        for axis, (item, units) in enumerate(zip(self.items, (first, second), strict=True)):
            supply = item.supplies[0]
            own = supply.order_cost(int(units.max()), 1)[0] - supply.unit_cost * np.arange(
                units.max() + 1
            )
            total += own[units][:, None] if axis == 0 else own[units]
        used = self.use[0] * first[:, None] + self.use[1] * second
        loads = np.ceil(used / self.load_size - 1e-9)
        total += self.fixed_cost * (used > 0.0) + self.load_cost * loads
        is_allowed = used <= self.budget + 1e-9
        if self.full_loads:
            is_allowed &= np.abs(loads * self.load_size - used) < 1e-9
        return np.where(is_allowed, total, np.inf)


def solve_joint_pair(pair: JointPair, *, time_limit: float | None = None) -> Optimum:
    """Return the long-run cost of the best policy. Raises TooLarge.

    time_limit: seconds; what isn't known then is too large.
    """
    deadline = math.inf if time_limit is None else time.monotonic() + time_limit
    cuts = [_first_cut(pair, item) for item in pair.items]
    found = _solve(pair, cuts, deadline)
    for _ in range(_MOST_WIDENINGS):
        narrow, before = cuts, found
        cuts = [cut.wider() for cut in narrow]
        room = [
            (n.lowest - c.lowest, c.highest - n.highest) for n, c in zip(narrow, cuts, strict=True)
        ]
        found = _solve(pair, cuts, deadline, np.pad(found.values, room, mode="edge"))
        if not found.converged:
            raise TooLarge("the time was up before its cost stood still")
        if abs(found.cost - before.cost) <= _STANDS_STILL * max(abs(found.cost), 1e-6):
            always = sum(i.supplies[0].unit_cost * i.process.mean_demand() for i in pair.items)
            return Optimum.of(found, always)
    raise TooLarge("its cost still moves when more states are looked at")


@dataclass(frozen=True)
class _Cut:
    """The inventory positions of an item that are looked at, and its largest order [units]."""

    lowest: int
    highest: int
    most: int

    @property
    def levels(self) -> int:
        return self.highest - self.lowest + 1

    def wider(self) -> _Cut:
        """Return the next cut to compare with: backlog is what grows where a budget is tight."""
        below, above = self.levels // 3 * (self.lowest < 0), self.levels // 8 + 1
        return _Cut(self.lowest - below, self.highest + above, self.most + above)


def _first_cut(pair: JointPair, item: SinglePair) -> _Cut:
    process, lead_time = item.process, item.supplies[0].lead_time
    mean, shortage = process.mean_demand(), item.backlog_cost or item.lost_sale_cost
    fixed = pair.fixed_cost + pair.load_cost + item.supplies[0].fixed_cost
    batch = math.sqrt(2.0 * fixed * mean / item.holding_cost)  # if it had to pay all of it
    if pair.full_loads:
        batch += pair.load_size / min(pair.use)
    lowest = 0
    if item.backlog_cost is not None:
        waiting = batch * item.holding_cost / (item.holding_cost + shortage)
        lowest = -process.quantile(lead_time + 1, _TAIL) - math.ceil(waiting)
    highest = process.quantile(lead_time + 1, 1e-3) + math.ceil(batch)
    return _Cut(lowest, highest, math.ceil(1.5 * batch) + process.quantile(lead_time + 1, 1e-3))


def _solve(
    pair: JointPair, cuts: list[_Cut], deadline: float, start: Floats | None = None
) -> Solution:
    sizes = [np.arange(min(cut.most, cut.levels - 1) + 1) for cut in cuts]
    cost = pair.order_cost(*sizes)
    first, second = np.nonzero(np.isfinite(cost))
    charge = cost[first, second]
    shape = (cuts[0].levels, cuts[1].levels)
    if (steps := charge.size * math.prod(shape)) > _MOST_STEPS:
        raise TooLarge(f"its states and orders make {steps:,} pairs")
    stage = np.add.outer(*(_level_cost(i, c) for i, c in zip(pair.items, cuts, strict=True)))
    step_of = [_demand_steps(i, c) for i, c in zip(pair.items, cuts, strict=True)]

    def step(values: Floats, improved: Floats) -> tuple[float, float]:
        expected = stage + step_of[0] @ values @ step_of[1].T
        lower, upper = _improve(first, second, charge, expected, values, improved)
        return float(lower), float(upper)

    start = np.zeros(shape) if start is None else start
    return iterate_values(step, start, damping=_CYCLES, deadline=deadline)


def _level_cost(item: SinglePair, cut: _Cut) -> Floats:
    """Return [levels] the cost, a lead time later, of the position that an order leads to."""
    pmf = item.process.demand_over(item.supplies[0].lead_time + 1)[0]
    left = np.arange(cut.lowest, cut.highest + 1) - np.arange(len(pmf))[:, None]
    shortage = item.backlog_cost
    if shortage is None:
        shortage = item.lost_sale_cost - item.supplies[0].unit_cost
    cost: Floats = pmf @ (item.holding_cost * np.maximum(left, 0) + shortage * np.maximum(-left, 0))
    return cost


def _demand_steps(item: SinglePair, cut: _Cut) -> Floats:
    """Return [levels, levels] the probabilities of the level after a period's demand."""
    pmf, rows = item.process.pmf[0], np.arange(cut.levels)
    step = np.zeros((cut.levels, cut.levels))
    for units, probability in enumerate(pmf):
        step[rows, np.maximum(rows - units, 0)] += probability
    return step


@_njit
def _improve(
    first: Ints, second: Ints, charge: Floats, expected: Floats, values: Floats, improved: Floats
) -> tuple[float, float]:
    """improved [levels, levels] = the least charge [A] of an order and what is expected after it.

    Returns the least and the largest difference from values.
    """
    rows, columns = values.shape
    improved[:] = np.inf
    for a in range(charge.size):
        for x in range(rows - first[a]):
            best, after = improved[x], expected[x + first[a], second[a] :]
            for y in range(columns - second[a]):
                best[y] = min(best[y], charge[a] + after[y])
    lowest, highest = np.inf, -np.inf
    for x in range(rows):
        for y in range(columns):
            difference = improved[x, y] - values[x, y]
            lowest, highest = min(lowest, difference), max(highest, difference)
    return lowest, highest
