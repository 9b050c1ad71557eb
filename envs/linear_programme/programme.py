"""A supply network over T known periods as a linear programme: what to order, ship and sell.

The programme follows the events of `envs.simulation.simulator` row by row. Where the simulator
isn't linear it is relaxed, always so that no way to run the network costs less than the
programme finds:

- Fixed costs of orders and joint fixed costs count by the share of the largest order, or of the
  capacity, that is used (not at all where there is none); loads count by their share of a load.
- Minimum orders, order multiples, full loads, whole units and the room kept when ordering are left
  out; what is rounded of whole units (that are good, come late, or wait) may be rounded or not.
- The simulator ships, serves and lets in all it can, oldest customers first, and shares by fixed
  rules; the programme may keep goods back and choose who gets them.

`relaxations` lists those that a network meets. Solved by HiGHS (Huangfu and Hall 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.optimize import linprog
from scipy.sparse import csgraph

from envs.compiled.network import CompiledNetwork
from envs.errors import NetworkError
from envs.simulation.state import Flows, State
from envs.trace.trace import Trace
from envs.types import Floats, Ints, Matrix

_UNBOUNDED = 3  # linprog's status
_SMALL = 5000  # columns: to call HiGHS again costs more than there is to gain


class Outlook(NamedTuple):
    """What happens in T periods, the first one being that in which orders are placed now."""

    demand: Floats  # [T, D] units
    lead_time: Ints  # [T, Q] periods of what ships
    factor: Floats  # [T, V] of regimes, as a `Trace` hands them out
    period: int  # of row 0, as the simulator counts
    offset: int  # calendar period in which the episode began


class OpeningState(NamedTuple):
    """One replication as agents find it when they order."""

    on_hand: Floats  # [P] units
    backorders: Floats  # [P]
    owed: Floats  # [Q]
    in_transit: Floats  # [L, Q] by periods until they are due
    orders_on_way: Floats  # [slots, Q] by periods until the sender hears of them
    served: Floats  # [P] to customers in this period, where they come before orders
    lost: Floats  # [P] the same

    @classmethod
    def of(
        cls, net: CompiledNetwork, state: State, flows: Flows | None, period: int, b: int
    ) -> OpeningState:
        """Return replication b between the events 2 and 3. flows None: what customers got today
        doesn't matter."""
        slots, order_slots = state.in_transit.shape[1], state.orders_on_way.shape[1]
        due = (period + np.arange(slots)) % slots
        known = (period + np.arange(order_slots)) % order_slots
        today = flows if net.arrays.switches.demand_first else None
        nothing = np.zeros(len(state.on_hand))
        return cls(
            state.on_hand[:, b].copy(),
            state.backorders[:, b].copy(),
            state.owed[:, b].copy(),
            state.in_transit[:, due, b].T.copy(),
            state.orders_on_way[:, known, b].T.copy(),
            nothing if today is None else today.sold[:, b] + today.backlog_served[:, b],
            nothing if today is None else today.lost[:, b].copy(),
        )


class Pricing(NamedTuple):
    """What counts beside the network's own costs. All [P], in currency per unit."""

    first_counted: int  # periods before this one cost nothing (a warm-up)
    opening_worth: Floats  # charged for stock, in transit too, at the first counted period
    end_worth: Floats  # earned by stock, in transit too, at the end
    end_backlog: Floats  # charged for customers who still wait at the end
    safety_stock: Floats  # units
    safety_cost: Floats  # charged per period for stock below safety_stock

    @classmethod
    def plain(cls, net: CompiledNetwork, salvage_share: float, first_counted: int = 0) -> Pricing:
        """Price stock as key figures do: at its salvage value, at the start and at the end."""
        worth, nothing = (
            salvage_share * net.arrays.stocks.salvage,
            np.zeros(len(net.arrays.stocks.salvage)),
        )
        return cls(first_counted, worth, worth, nothing, nothing, nothing)


@dataclass(frozen=True, eq=False)
class Solution:
    """The optimum."""

    value: float  # currency over the counted periods
    columns: Floats  # of the programme


@dataclass(frozen=True, eq=False)
class Programme:
    """min cost @ x, lower <= x <= upper, equal @ x = equal_to, at_most @ x <= limit."""

    cost: Floats
    lower: Floats
    upper: Floats
    equal: Matrix
    equal_to: Floats
    at_most: Matrix
    limit: Floats
    ordered: Ints  # [T, Q] columns of x
    shipped: Ints  # [T, Q] columns of x
    on_hand: Ints  # [T + 1, P] columns of x (row 0: the start)

    def solve(self) -> Solution:
        """Solve it, part by part where it falls into parts that have nothing in common.

        Raises NetworkError where cost has no lower end, or HiGHS gives up.
        """
        x = np.clip(0.0, self.lower, self.upper)
        equal_part, at_most_part, column_part, parts = self._parts()
        equal_rows, at_most_rows = _members(equal_part, parts), _members(at_most_part, parts)
        for part, columns in enumerate(_members(column_part, parts)):
            rows, limits = equal_rows[part], at_most_rows[part]
            if len(columns) == 0:  # a row without any column
                continue
            if len(rows) + len(limits) == 0:  # columns without any constraint
                cheap = columns[self.cost[columns] < 0.0]
                x[cheap] = self.upper[cheap]
                continue
            result = self._solve_part(columns, rows, limits)
            x[columns] = result.x
        if not np.isfinite(x).all():
            raise _unbounded()
        return Solution(float(self.cost @ x), x)

    def _solve_part(self, columns: Ints, rows: Ints, limits: Ints) -> Any:
        """HiGHS's result for some columns, equalities and limits."""
        bounds: Any = np.column_stack([self.lower[columns], self.upper[columns]])
        for presolve in (True, False):  # presolve may take a cost without end for a contradiction
            result = linprog(
                self.cost[columns],
                A_ub=self.at_most[limits][:, columns] if len(limits) else None,
                b_ub=self.limit[limits] if len(limits) else None,
                A_eq=self.equal[rows][:, columns] if len(rows) else None,
                b_eq=self.equal_to[rows] if len(rows) else None,
                bounds=bounds,
                method="highs",
                options={"presolve": presolve},
            )
            if result.status == 0:
                return result
            if result.status == _UNBOUNDED:
                raise _unbounded()
        raise NetworkError(
            f"The linear programme of {len(columns)} columns wasn't solved (HiGHS: "
            f"{' '.join(str(result.message).split())}); expected an optimum. Check the network's "
            "numbers for very large and very small ones."
        )

    def _parts(self) -> tuple[Ints, Ints, Ints, int]:
        """The part that every equality, every limit and every column belongs to; how many."""
        first, columns = self.equal.shape[0], len(self.cost)
        rows, parts = first + self.at_most.shape[0], 1
        part = np.zeros(rows + columns, np.int64)
        if columns >= _SMALL:
            matrix = sparse.vstack([self.equal, self.at_most], format="coo")
            links = sparse.coo_matrix(
                (np.ones(matrix.nnz, np.int8), (matrix.row, rows + matrix.col)),
                shape=(len(part), len(part)),
            )
            parts, part[:] = csgraph.connected_components(links, directed=False)
        return part[:first], part[first:rows], part[rows:], parts


def _members(part: Ints, parts: int) -> list[Ints]:
    order = np.argsort(part, kind="stable")
    return np.split(order, np.cumsum(np.bincount(part, minlength=parts))[:-1])


def _unbounded() -> NetworkError:
    return NetworkError(
        "The linear programme's cost has no lower end: buying without end pays; expected stock to "
        "be worth no more at the horizon than it costs. Lower `value` of the SKUs, or prices of "
        "lanes, or raise unit costs."
    )


def record_outlooks(trace: Trace, net: CompiledNetwork, period: int, periods: int) -> list[Outlook]:
    """Return what each replication of a trace brings in `periods` periods, from the current one,
    `period`, on. The trace moves on."""
    arrays = net.arrays
    batch = trace.offset.size
    demand = np.zeros((batch, periods, len(net.customer_pair)))
    lead = np.zeros((batch, periods, len(arrays.lanes.to)), np.int64)
    factor = np.ones((batch, periods, len(net.exposures)))
    drawn = np.flatnonzero(arrays.lanes.lead_row >= 0)
    lead[:] = arrays.lanes.lead_time
    for t in range(periods):
        demand[:, t], factor[:, t] = trace.demand.T, trace.factor.T
        lead[:, t, drawn] = trace.lead_time[arrays.lanes.lead_row[drawn]].T
        trace.advance()
    return [
        Outlook(demand[b], lead[b], factor[b], period, int(trace.offset[b])) for b in range(batch)
    ]


def relaxations(net: CompiledNetwork) -> tuple[str, ...]:
    """Name what of this network the programme treats as if it were linear; none: it is exact but
    for keeping goods back."""
    arrays, lanes = net.arrays, net.network.lanes
    whole = arrays.stocks.whole
    waits_in_part = (arrays.stocks.p_wait > 0.0) & (arrays.stocks.p_wait < 1.0)
    comes_in_part = (arrays.lanes.split_share > 0.0) | (arrays.lanes.expected_yield < 1.0)
    found = {
        "fixed order costs": bool(
            arrays.lanes.fixed_cost.any() or arrays.resources.joint_cost.any()
        ),
        "whole loads": bool(arrays.resources.load_cost.any() or any(q.full_loads for q in lanes)),
        "minimum orders": bool(arrays.rules.minimum_order.any()),
        "order multiples": bool(arrays.rules.pack.any()),
        "storage room": bool(np.isfinite(arrays.nodes.storage_capacity).any()),
        "partial waiting": any(0.0 < s.p_wait < 1.0 for s in net.network.stocks),
        "parts of whole units": bool(
            (whole[arrays.lanes.to] & comes_in_part).any() or (whole & waits_in_part).any()
        ),
        "partial availability": any(
            0.0 < state.availability < 1.0
            for regime in net.network.regimes
            if any(regime.id in lane.regimes for lane in lanes)
            for state in regime.states
        ),
    }
    return tuple(name for name, is_met in found.items() if is_met)
