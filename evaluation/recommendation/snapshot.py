"""From a request to arrays: names looked up in the network, dates turned into periods.

Everything that a request can get wrong about the network is found here and reported with the path
of the field; what it leaves out is assumed and reported as a notice.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.dates import DEFAULT_START
from envs.errors import EchelonError, did_you_mean
from envs.network.lane import Lane
from envs.policies import policy_class
from envs.scenario import Scenario
from envs.simulation.snapshot import Snapshot
from envs.types import Floats
from evaluation.recommendation.schemas import FieldError, Notice, OpenOrder, RecommendationRequest

_MOST_ERRORS = 20  # in one answer
_MOST_NAMED = 20  # rows named in one notice
_WEEKS_OF_YEAR = 364  # days

_MESSAGES = {
    "MISSING_STOCK": "not in stock: taken as nothing on hand and no backorders",
    "MISSING_SALES": "not in recent_sales: the demand level of training is used",
    "OVERDUE_ORDER": "open orders that were due already: taken to arrive as early as possible",
    "ETA_CAPPED": "open orders due later than the longest lead time: taken to arrive after it",
    "ETA_ASSUMED": "open orders without eta: taken to arrive after the lane's mean lead time",
    "CALENDAR_EXTRAPOLATED": "as_of is outside the known calendar: season of the same weekday and "
    "week of the year used, with that week's promotions",
    "CALENDAR_ASSUMED": f"the network has no start_date: its calendars count from {DEFAULT_START}",
}


class RequestError(EchelonError):
    """A request that doesn't fit the network; `errors` name the fields."""

    def __init__(self, errors: list[FieldError]) -> None:
        self.errors = errors[:_MOST_ERRORS]
        super().__init__("; ".join(f"{e.field}: {e.message}" for e in self.errors))


@dataclass
class _Findings:
    """Collects errors and notices while a request is read."""

    errors: list[FieldError] = field(default_factory=list)
    rows: dict[str, list[str]] = field(default_factory=dict)

    def error(self, path: str, message: str) -> None:
        self.errors.append(FieldError(field=path, message=message))

    def notice(self, code: str, row: str) -> None:
        self.rows.setdefault(code, []).append(row)

    def notices(self) -> list[Notice]:
        return [
            Notice(code=code, message=_MESSAGES[code], rows=len(rows), where=rows[:_MOST_NAMED])
            for code, rows in self.rows.items()
        ]


class SnapshotReader:
    """Reads requests for one scenario.

    needs_date: whether what is ordered depends on `as_of`.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._net: CompiledNetwork = scenario.compiled
        network = self._net.network
        self._pair = {(s.node, s.sku): p for p, s in enumerate(network.stocks)}
        self._labels = [s.label for s in network.stocks]
        self._locations = {s.node for s in network.stocks}
        self._items = {s.sku for s in network.stocks}
        self._lane = {lane.id: q for q, lane in enumerate(network.lanes)}
        self._lanes_to: dict[tuple[str, str], list[int]] = {}
        for q, lane in enumerate(network.lanes):
            self._lanes_to.setdefault((lane.node, lane.sku), []).append(q)
        self._scenario = scenario
        self.needs_date = bool(
            self._net.demand.multiplier is not None
            or (self._net.arrays.rules.calendar_row >= 0).any()
            or policy_class(scenario.base_policy).by_date
        )

    def read(self, request: RecommendationRequest) -> tuple[Snapshot, list[Notice]]:
        """Return the snapshot and what was assumed in it.

        Raises RequestError naming every field that doesn't fit.
        """
        found = _Findings()
        day = self._today(request, found)
        on_hand, backorders = self._stock(request, found)
        owed, in_transit = self._open_orders(request, found)
        sales = self._sales(request, found)
        if found.errors:
            raise RequestError(found.errors)
        # Where customers are served before orders are placed, the last sales are of the same day.
        first = day - len(sales) + int(self._net.arrays.switches.demand_first)
        sold_in = tuple(self._calendar_period(first + t) for t in range(len(sales)))
        snapshot = Snapshot(
            on_hand, backorders, owed, in_transit, day, self._calendar_period(day), sales, sold_in
        )
        return snapshot, found.notices()

    def _calendar_period(self, day: int) -> int:
        """Return the period of demand's calendar that stands for the calendar period `day`.

        Outside it, where periods are days, `day` moves by whole weeks, so that it stays the same
        day of the week, and by about whole years, where the calendar has a year.
        """
        length = self._net.demand.calendar_length
        if 0 <= day < length:
            return day
        if self._scenario.period_name != "day" or length < 7:
            return day % length
        if length < _WEEKS_OF_YEAR:
            return day % (length - length % 7)
        moved = day - 7 * round(day // 365.25 * 365.25 / 7)
        if moved < 0:
            return moved + _WEEKS_OF_YEAR
        return moved if moved < length else moved - _WEEKS_OF_YEAR

    def _today(self, request: RecommendationRequest, found: _Findings) -> int:
        """The calendar period in which orders are placed."""
        if request.as_of is None:
            if self.needs_date:
                found.error("as_of", "is missing; what this network orders depends on the date")
            return 0
        today, demand = self._scenario.period_of(request.as_of), self._net.demand
        is_known = demand.multiplier is None or 0 <= today < demand.calendar_length
        if self.needs_date and self._scenario.start_date is None:
            found.notice("CALENDAR_ASSUMED", "as_of")
        elif not is_known:
            found.notice("CALENDAR_EXTRAPOLATED", request.as_of.isoformat())
        return today

    def _stock(self, request: RecommendationRequest, found: _Findings) -> tuple[Floats, Floats]:
        on_hand, backorders = np.zeros(len(self._pair)), np.zeros(len(self._pair))
        given: set[int] = set()
        for i, row in enumerate(request.stock):
            p = self._row(row.location, row.item, f"stock[{i}]", given, found)
            if p is None:
                continue
            if row.backorders > 0 and self._net.arrays.stocks.demand_of[p] < 0:
                found.error(
                    f"stock[{i}].backorders",
                    f"'{_short(row.location)}' has no customers; what other locations wait for "
                    "goes into open_orders, without eta",
                )
            on_hand[p], backorders[p] = row.on_hand, row.backorders
        self._note_missing("MISSING_STOCK", given, range(len(self._pair)), found)
        return on_hand, backorders

    def _sales(self, request: RecommendationRequest, found: _Findings) -> Floats:
        longest = max((len(row.quantities) for row in request.recent_sales), default=0)
        sales = np.full((longest, len(self._pair)), np.nan)
        given: set[int] = set()
        for i, row in enumerate(request.recent_sales):
            p = self._row(row.location, row.item, f"recent_sales[{i}]", given, found)
            if p is not None:
                sales[longest - len(row.quantities) :, p] = row.unconstrained()
        customers = [int(p) for p in self._net.customer_pair]
        self._note_missing("MISSING_SALES", given, customers, found)
        return sales

    def _open_orders(
        self, request: RecommendationRequest, found: _Findings
    ) -> tuple[Floats, Floats]:
        lanes, slots = self._net.network.lanes, self._net.slots
        owed, in_transit = np.zeros(len(lanes)), np.zeros((len(lanes), slots))
        for i, order in enumerate(request.open_orders):
            path = f"open_orders[{i}]"
            q = self._find_lane(order, path, found)
            due = self._due(order, request.as_of, path, found)
            if q is None:
                continue
            if due is None and self._can_owe(lanes[q]):
                owed[q] += order.quantity
                continue
            if due is None:
                found.notice("ETA_ASSUMED", path)
                due = round(lanes[q].lead_time.mean())
            in_transit[q, self._slot(due, path, found)] += order.quantity
        return owed, in_transit

    def _slot(self, due: int, path: str, found: _Findings) -> int:
        """Periods from now within the pipeline; goods due now are on the shelf already, except
        where the period's receipts come after its shipments."""
        last = self._net.slots - 1
        earliest = 0 if self._net.arrays.switches.receive_after_ship else 1
        if due < earliest:
            found.notice("OVERDUE_ORDER", path)
        elif due > last:
            found.notice("ETA_CAPPED", path)
        return min(max(due, earliest), last)

    def _can_owe(self, lane: Lane) -> bool:
        limited = bool(lane.inputs or lane.resources or lane.regimes)
        return limited and not self._net.arrays.switches.cancel_unfilled

    def _due(
        self, order: OpenOrder, as_of: dt.date | None, path: str, found: _Findings
    ) -> int | None:
        if order.eta is None:
            return order.due_in_periods
        if as_of is None:
            found.error(f"{path}.eta", "can't be counted from: as_of is missing; give it")
            return None
        return self._scenario.period_of(order.eta) - self._scenario.period_of(as_of)

    def _find_lane(self, order: OpenOrder, path: str, found: _Findings) -> int | None:
        if order.lane is not None:
            q = self._lane.get(order.lane)
            if q is None:
                found.error(f"{path}.lane", _unknown("lane", order.lane, self._lane))
            return q
        assert order.to is not None
        assert order.item is not None
        if self._row(order.to, order.item, path, None, found, location="to") is None:
            return None
        lanes = self._net.network.lanes
        fitting = [
            q
            for q in self._lanes_to[order.to, order.item]
            if order.source is None or order.source in {use.node for use in lanes[q].inputs}
        ]
        if len(fitting) == 1:
            return fitting[0]
        if not fitting:
            assert order.source is not None
            known = {u.node for q in self._lanes_to[order.to, order.item] for u in lanes[q].inputs}
            message = f"no lane from '{_short(order.source)}' delivers this.{_known(known)}"
            found.error(f"{path}.from", f"{message} An outside supplier has no name: leave it out.")
        else:
            ids = ", ".join(f"'{lanes[q].id}'" for q in fitting[:5])
            found.error(path, f"fits {len(fitting)} lanes ({ids}); give lane")
        return None

    def _row(
        self,
        node: str,
        item: str,
        path: str,
        given: set[int] | None,
        found: _Findings,
        location: str = "location",
    ) -> int | None:
        """Return the row of a pair, or None after noting what is wrong with it."""
        p = self._pair.get((node, item))
        if p is None:
            if node not in self._locations:
                found.error(f"{path}.{location}", _unknown("location", node, self._locations))
            elif item not in self._items:
                found.error(f"{path}.item", _unknown("item", item, self._items))
            else:
                found.error(f"{path}.item", f"'{item}' is not stocked at '{node}'")
            return None
        if given is not None:
            if p in given:
                found.error(path, f"'{self._labels[p]}' is given twice; expected one row each")
                return None
            given.add(p)
        return p

    def _note_missing(
        self, code: str, given: set[int], wanted: Iterable[int], found: _Findings
    ) -> None:
        for p in wanted:
            if p not in given:
                found.notice(code, self._labels[p])


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    return f"{what} '{_short(name)}' is unknown.{_known(known, name)}"


def _known(known: Iterable[str], name: str = "") -> str:
    """The hint at the closest name; all names only where they are few."""
    names = sorted(known)
    if not names:
        return ""
    hint = did_you_mean(_short(name), names)
    return hint if len(names) <= 10 else hint.partition(" Known: ")[0]


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
