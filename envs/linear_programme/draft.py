"""A linear programme while it is written: numbered columns and rows, and what they charge.

Numbers come as arrays shaped like what they stand for; -1 stands for none, and is passed over
wherever it turns up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from envs.compiled.arrays import NetworkArrays
from envs.compiled.network import CompiledNetwork
from envs.linear_programme.programme import OpeningState, Outlook, Pricing
from envs.simulation.whole_units import rounding_of
from envs.types import Floats, Ints, Matrix


class Columns:
    """Quantities to decide, with their bounds and what a unit costs."""

    def __init__(self) -> None:
        self.count = 0
        self._lower: list[Floats] = []
        self._upper: list[Floats] = []
        self._charged: list[Ints] = []
        self._charge: list[Floats] = []

    def new(
        self,
        shape: tuple[int, ...],
        lower: ArrayLike = 0.0,
        upper: ArrayLike = np.inf,
        where: ArrayLike = True,
    ) -> Ints:
        """Return the numbers of new columns."""
        numbers, self.count = _number(shape, where, self.count)
        kept = numbers >= 0
        self._lower.append(np.broadcast_to(np.asarray(lower, float), shape)[kept])
        self._upper.append(np.broadcast_to(np.asarray(upper, float), shape)[kept])
        return numbers

    def given(self, values: Floats) -> Ints:
        """Return columns that are what they are; none where they are 0."""
        return self.new(values.shape, values, values, values != 0.0)

    def charge(self, columns: Ints, cost: ArrayLike) -> None:
        """Charge [currency per unit], beside what has been charged before."""
        spread = np.broadcast_to(np.asarray(cost, float), columns.shape)
        kept = (columns >= 0) & (spread != 0.0)
        self._charged.append(columns[kept])
        self._charge.append(spread[kept])

    def bounds(self) -> tuple[Floats, Floats]:
        """Return (lower, upper) of all columns."""
        return np.concatenate(self._lower), np.concatenate(self._upper)

    def cost(self) -> Floats:
        """Return [columns] currency per unit."""
        cost = np.zeros(self.count)
        np.add.at(cost, np.concatenate(self._charged), np.concatenate(self._charge))
        return cost


class Rows:
    """Constraints: sum of value x column, equal to (or at most) a right side."""

    def __init__(self) -> None:
        self.count = 0
        self._right: list[Floats] = []
        self._row: list[Ints] = []
        self._column: list[Ints] = []
        self._value: list[Floats] = []

    def new(self, shape: tuple[int, ...], right: ArrayLike = 0.0, where: ArrayLike = True) -> Ints:
        """Return the numbers of new rows."""
        numbers, self.count = _number(shape, where, self.count)
        self._right.append(np.broadcast_to(np.asarray(right, float), shape)[numbers >= 0])
        return numbers

    def put(self, rows: Ints, columns: Ints, values: ArrayLike) -> None:
        """Add value x column to the rows; the three are broadcast."""
        row, column, value = np.broadcast_arrays(rows, columns, np.asarray(values, float))
        kept = (row >= 0) & (column >= 0) & (value != 0.0)
        self._row.append(row[kept])
        self._column.append(column[kept])
        self._value.append(value[kept])

    def matrix(self, columns: int) -> Matrix:
        """Return [rows, columns], sparse."""
        none = np.zeros(0, np.int64)
        place = (np.concatenate([none, *self._row]), np.concatenate([none, *self._column]))
        entries = np.concatenate([np.zeros(0), *self._value])
        return sparse.csr_matrix((entries, place), shape=(self.count, columns))

    def right(self) -> Floats:
        """Return [rows]."""
        return np.concatenate([np.zeros(0), *self._right])


def _number(shape: tuple[int, ...], where: ArrayLike, first: int) -> tuple[Ints, int]:
    exists = np.broadcast_to(np.asarray(where, bool), shape)
    numbers = np.full(shape, -1, np.int64)
    last = first + int(exists.sum())
    numbers[exists] = np.arange(first, last)
    return numbers, last


@dataclass(frozen=True, eq=False)
class Draft:
    """What the events write into. Periods are counted from 0, the first one of the outlook."""

    net: NetworkArrays
    outlook: Outlook
    start: OpeningState
    pricing: Pricing
    weight: Floats  # [T] 0 while costs don't count, else 1
    columns: Columns
    equal: Rows
    at_most: Rows
    on_hand: Ints  # [T + 1, P] columns: at the start, and at the end of period t - 1
    balance: Ints  # [T, P] rows: on_hand[t + 1] - on_hand[t] = what comes - what goes in period t
    # [T, P] rows: what goes before goods come late is there; none where nothing comes late
    floor: Ints

    @classmethod
    def begin(
        cls, net: CompiledNetwork, outlook: Outlook, start: OpeningState, pricing: Pricing
    ) -> Draft:
        """Return a draft with its shelves, and nothing on them but what is there at the start."""
        arrays, periods, pairs = net.arrays, len(outlook.lead_time), len(start.on_hand)
        columns, equal, at_most = Columns(), Rows(), Rows()
        initial = columns.given(start.on_hand[None])
        on_hand = np.concatenate([initial, columns.new((periods, pairs))])
        balance = equal.new((periods, pairs))
        equal.put(balance, on_hand[1:], 1.0)
        equal.put(balance, on_hand[:-1], -1.0)
        comes_late = np.full(pairs, arrays.switches.receive_after_ship)
        comes_late[arrays.lanes.to[arrays.lanes.at_once]] = True
        goes = np.diff(arrays.stocks.outbound.pointer) > 0
        goes |= arrays.switches.demand_first & (arrays.stocks.demand_of >= 0)
        floor = at_most.new((periods, pairs), where=comes_late & goes)
        at_most.put(floor, on_hand[:-1], -1.0)
        weight = (np.arange(periods) >= pricing.first_counted).astype(float)
        written = columns, equal, at_most, on_hand, balance, floor
        return cls(arrays, outlook, start, pricing, weight, *written)

    @property
    def periods(self) -> int:
        """T."""
        return len(self.weight)

    def withdraw(self, columns: Ints, quantity: ArrayLike, pairs: Ints, early: bool) -> None:
        """Take quantity x columns [T, K] from the pairs [K]; early: before what comes late."""
        self.equal.put(self.balance[:, pairs], columns, quantity)
        if early:
            self.at_most.put(self.floor[:, pairs], columns, quantity)


def roundings(outlook: Outlook) -> Floats:
    """[T, 1] what parts of whole units are rounded up from."""
    periods = range(outlook.period, outlook.period + len(outlook.lead_time))
    return np.array([[rounding_of(period)] for period in periods])


def factors(outlook: Outlook, row: Ints) -> Floats:
    """[T, K] what regimes make of things that have the row [K] of the outlook's factors; -1: 1."""
    usual = np.ones((len(outlook.factor), 1))
    return np.concatenate([outlook.factor, usual], axis=1)[:, row]
