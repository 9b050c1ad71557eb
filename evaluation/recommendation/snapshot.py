"""From a request to arrays: names looked up in the network, dates turned into periods.

Everything that a request can get wrong about the network is found here and reported with the path
of the field; what it leaves out is unknown and reported as a notice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from envs.dates import in_calendar
from envs.policies.base import Policy
from envs.scenario import Scenario
from envs.simulation.snapshot import Snapshot
from envs.types import Bools, Floats, Ints
from evaluation.recommendation.findings import Findings, RequestError, short, unknown
from evaluation.recommendation.names import Names
from evaluation.recommendation.orders import OrderReader
from evaluation.recommendation.schemas import Notice, RecommendationRequest, StockLevel
from evaluation.recommendation.statuses import StatusReader


class Reading(NamedTuple):
    """What a request says."""

    snapshot: Snapshot
    lanes: Ints  # that are asked for
    is_stale: Bools  # [P] whether the stock was counted too long ago
    notices: list[Notice]  # what was assumed


class SnapshotReader:
    """Reads requests for one scenario.

    needs_date: whether what is ordered depends on `as_of`.
    """

    def __init__(
        self, scenario: Scenario, policy: Policy, stale_after: int, refuse_after: int
    ) -> None:
        """policy: the base policy.
        stale_after, refuse_after: age of stock [periods] beyond which it is stale, or the request
            is refused."""
        self._scenario, self._net = scenario, scenario.compiled
        self._stale_after, self._refuse_after = stale_after, refuse_after
        self._policy = policy
        self._names = Names(scenario)
        self._orders = OrderReader(self._net, self._names)
        self._statuses = StatusReader(self._net, self._names)
        self.needs_date = scenario.by_date or policy.by_date

    def read(self, request: RecommendationRequest) -> Reading:
        """Look everything up. Raises RequestError naming every field that doesn't fit."""
        found, net = Findings(), self._net
        today = self._today(request, found)
        on_hand, backorders, is_stale = self._stock(request, found)
        lanes = self._scope(request, found)
        goods, history = self._orders.read(request, today, found)
        sales, asked = self._sales(request, history.length, found)
        known = self._statuses.read(request, len(sales), found)
        if self._policy.keeps_plan:
            found.notice("PLANNED_ANEW", self._policy.name)
        if found.errors:
            raise RequestError(found.errors)
        # Where customers are served before orders are placed, the last sales are of the same day.
        first = today - len(sales) + int(net.arrays.switches.demand_first)
        periods = len(sales)
        snapshot = Snapshot(
            on_hand=on_hand,
            backorders=backorders,
            **goods._asdict(),
            today=today,
            calendar=self._calendar_period(today),
            sales=sales,
            asked=asked,
            sold_in=tuple(self._calendar_period(first + t) for t in range(periods)),
            **history.tables(periods, net)._asdict(),
            **known._asdict(),
        )
        return Reading(snapshot, lanes, is_stale, found.notices())

    def _calendar_period(self, day: int) -> int:
        """The period of demand's calendar that stands for the calendar period `day`."""
        return in_calendar(day, self._net.demand.calendar_length, self._scenario.period_name)

    def _today(self, request: RecommendationRequest, found: Findings) -> int:
        """The calendar period in which orders are placed."""
        if request.as_of is None:
            if self.needs_date:
                found.error("as_of", "is missing; what this network orders depends on the date")
            return 0
        today, demand = self._scenario.period_of(request.as_of), self._net.demand
        is_known = demand.multiplier is None or 0 <= today < demand.calendar_length
        is_known |= self._scenario.repeats
        if self.needs_date and self._scenario.start_date is None:
            found.notice("CALENDAR_ASSUMED", "as_of")
        elif not is_known:
            found.notice("CALENDAR_EXTRAPOLATED", request.as_of.isoformat())
        return today

    def _scope(self, request: RecommendationRequest, found: Findings) -> Ints:
        """The lanes that are asked for."""
        lanes, scope = self._net.network.lanes, request.scope
        if scope is None:
            rows = {(row.location, row.item) for row in request.stock}
            return np.flatnonzero([(lane.node, lane.sku) in rows for lane in lanes])
        asked = np.ones(len(lanes), bool)
        for name, has in self._names.of_lane.items():
            wanted = getattr(scope, name)
            if wanted is None:
                continue
            known = set().union(*has)
            for i, one in enumerate(wanted):
                if one not in known:
                    found.error(f"scope.{name}[{i}]", unknown(name[:-1], one, known))
            asked &= np.array([not names.isdisjoint(wanted) for names in has])
        return np.flatnonzero(asked)

    def _age(
        self, row: StockLevel, path: str, request: RecommendationRequest, found: Findings
    ) -> int:
        """Periods since the stock was counted."""
        if row.date is None:
            return 0
        age = -self._names.past(row.date, request.as_of, f"{path}.date", found)
        if age > self._refuse_after:
            period = self._scenario.period_name
            found.error(
                f"{path}.date",
                f"is {row.date}: counted {age} {period}s before as_of; expected at most "
                f"{self._refuse_after} (refuse_after). Count again, or leave the row out",
            )
        return age

    def _stock(
        self, request: RecommendationRequest, found: Findings
    ) -> tuple[Floats, Floats, Bools]:
        pairs = len(self._names.labels)
        on_hand, backorders = np.zeros(pairs), np.zeros(pairs)
        is_stale = np.zeros(pairs, bool)
        given: set[int] = set()
        for i, row in enumerate(request.stock):
            p = self._names.pair(row.location, row.item, f"stock[{i}]", given, found)
            if p is None:
                continue
            if row.backorders > 0 and self._net.arrays.stocks.demand_of[p] < 0:
                found.error(
                    f"stock[{i}].backorders",
                    f"'{short(row.location)}' has no customers; what other locations wait for "
                    "goes into open_orders, without eta",
                )
            on_hand[p], backorders[p] = row.on_hand, row.backorders
            is_stale[p] = self._age(row, f"stock[{i}]", request, found) > self._stale_after
            if is_stale[p]:
                found.notice("STALE_STOCK", self._names.labels[p])
        self._note_missing("MISSING_STOCK", given, range(pairs), found)
        return on_hand, backorders, is_stale

    def _sales(
        self, request: RecommendationRequest, least: int, found: Findings
    ) -> tuple[Floats, Floats]:
        """Return [T, P] what customers and what lanes asked for; T is `least` or more."""
        length = max([least, *(len(row.quantities) for row in request.recent_sales)])
        sales, asked = np.full((2, length, len(self._names.labels)), np.nan)
        given: set[int] = set()
        for i, row in enumerate(request.recent_sales):
            path = f"recent_sales[{i}]"
            p = self._names.pair(row.location, row.item, path, given, found)
            if p is None:
                continue
            first = length - len(row.quantities)
            sells = self._net.arrays.stocks.demand_of[p] >= 0
            (sales if sells else asked)[first:, p] = row.unconstrained()
            if sells and row.transfers is not None:
                asked[first:, p] = row.transfers
            elif row.transfers is not None:
                found.error(
                    f"{path}.transfers",
                    f"'{short(row.location)}' has no customers; what others ordered from it goes "
                    "into quantities",
                )
        customers = [int(p) for p in self._net.customer_pair]
        self._note_missing("MISSING_SALES", given, customers, found)
        return sales, asked

    def _note_missing(
        self, code: str, given: set[int], wanted: Iterable[int], found: Findings
    ) -> None:
        for p in wanted:
            if p not in given:
                found.notice(code, self._names.labels[p])
