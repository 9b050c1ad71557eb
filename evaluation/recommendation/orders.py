"""Open orders, work in progress and receipts of a request as arrays.

What a buyer believes of a lane is learned from what was ordered and received when; a receipt and
what is still open are parts of one order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.network.lane import Lane
from envs.types import Floats
from evaluation.recommendation.findings import Findings
from evaluation.recommendation.names import Names
from evaluation.recommendation.schemas import LONGEST_HISTORY, OpenOrder, RecommendationRequest


class OpenGoods(NamedTuple):
    """What is under way; fields as in `envs.simulation.snapshot.Snapshot`."""

    owed: Floats
    in_transit: Floats
    orders_on_way: Floats


class Part(NamedTuple):
    """Units of an order on a lane with beliefs. Periods count from now; -1: the last one."""

    k: int  # row of beliefs
    ordered: int
    units: float
    received: int | None = None  # None: not yet
    cancelled: int | None = None  # None: not


class OrderTables(NamedTuple):
    """Fields as in `envs.simulation.snapshot.Snapshot`."""

    ordered: Floats
    received: Floats
    cancelled: Floats


@dataclass
class OrderHistory:
    """What happened on lanes with beliefs, and how many periods it reaches back."""

    parts: list[Part] = field(default_factory=list)
    length: int = 0

    def add(self, part: Part, promised: int) -> None:
        """promised: periods within which it should have come; later, it is overdue."""
        self.parts.append(part)
        is_late = int(-part.ordered > promised)
        since = max(is_late, 0 if part.received is None else -part.received)
        self.length = min(max(self.length, since), LONGEST_HISTORY)

    def tables(self, periods: int, net: CompiledNetwork) -> OrderTables:
        """Return what happened in `periods` periods; what was over before is left out."""
        beliefs = len(net.arrays.beliefs.lane)
        ordered = np.zeros((periods + net.cohorts, beliefs))
        received, cancelled = np.zeros((2, periods, beliefs))
        for part in self.parts:
            over = part.received if part.received is not None else part.cancelled
            if over is not None and over < -periods:
                continue
            ordered[max(part.ordered, -len(ordered)), part.k] += part.units
            if part.received is not None:
                received[part.received, part.k] += part.units
            elif part.cancelled is not None:
                cancelled[part.cancelled, part.k] += part.units
        return OrderTables(ordered, received, cancelled)


class OrderReader:
    """Reads what a request says of orders."""

    def __init__(self, net: CompiledNetwork, names: Names) -> None:
        self._net, self._names = net, names

    def read(
        self, request: RecommendationRequest, today: int, found: Findings
    ) -> tuple[OpenGoods, OrderHistory]:
        """Return what is under way, and what was ordered and received; today: calendar period."""
        net = self._net
        goods = OpenGoods(
            np.zeros(len(net.network.lanes)),
            np.zeros((len(net.network.lanes), net.slots)),
            np.zeros((len(net.network.lanes), net.order_slots)),
        )
        history = OrderHistory()
        for name, orders in (("open_orders", request.open_orders), ("wip", request.wip)):
            for i, order in enumerate(orders):
                path, is_started = f"{name}[{i}]", name == "wip"
                self._open(order, path, is_started, request, today, goods, history, found)
        self._receipts(request, history, found)
        return goods, history

    def _open(
        self, order: OpenOrder, path: str, is_started: bool, request: RecommendationRequest,
        today: int, goods: OpenGoods, history: OrderHistory, found: Findings,
    ) -> None:  # fmt: skip
        q = self._names.find_lane(order, path, found)
        due, ordered = order.due_in_periods, None
        if order.eta is not None:
            due = self._names.periods(order.eta, request.as_of, f"{path}.eta", found)
        if order.ordered is not None:
            ordered = self._names.past(order.ordered, request.as_of, f"{path}.ordered", found)
        if q is None:
            return
        lane = self._net.network.lanes[q]
        heard_in = 0 if ordered is None else ordered + lane.information_delay
        if due is None and heard_in > 0:
            goods.orders_on_way[q, heard_in] += order.quantity
        elif due is None and not is_started and self._can_owe(lane):
            goods.owed[q] += order.quantity
        else:
            if due is None:
                found.notice("ETA_ASSUMED", path)
                due = round(lane.lead_time.mean())
            else:
                due = self._net.calendars[q].way_left(today, due)
            due = self._slot(due, path, found)
            goods.in_transit[q, due] += order.quantity
        k = self._net.arrays.beliefs.row[q]
        if k >= 0:
            if ordered is None:
                found.notice("ORDER_DATE_ASSUMED", path)
                usual = round(float(self._net.leads.lane[q]))  # periods from order to receipt
                ordered = -lane.information_delay if due is None else due - usual
            promised = int(self._net.arrays.beliefs.promised[k]) + int(self._net.comes_late[q])
            history.add(Part(k, min(ordered, -1), order.quantity), promised)

    def _receipts(
        self, request: RecommendationRequest, history: OrderHistory, found: Findings
    ) -> None:
        beliefs, given = self._net.arrays.beliefs, set()
        for i, row in enumerate(request.receipts):
            path = f"receipts[{i}]"
            q = self._names.find_lane(row, path, found)
            ordered = self._names.past(row.ordered, request.as_of, f"{path}.ordered", found)
            ordered, received = min(ordered, -1), None
            if row.received is not None:
                received = self._names.past(row.received, request.as_of, f"{path}.received", found)
                if received < ordered and not found.errors:
                    found.error(f"{path}.received", "is before ordered; expected it later")
            promised = None
            if row.promised is not None:
                promised = self._names.periods(
                    row.promised, request.as_of, f"{path}.promised", found
                )
                if promised < ordered and not found.errors:
                    found.error(f"{path}.promised", "is before ordered; expected it later")
            if q is None:
                continue
            k = int(beliefs.row[q])
            if k < 0:
                found.notice("RECEIPTS_UNUSED", self._net.network.lanes[q].id)
                continue
            if promised is not None and promised - ordered != beliefs.promised[k]:
                found.notice("PROMISE_UNUSED", path)
            given.add(k)
            if received is not None and row.quantity > 0:
                # What arrives after the period's orders is seen when the next period opens.
                seen = received if self._net.comes_late[q] else received - 1
                history.add(Part(k, ordered, row.quantity, received=min(seen, -1)), LONGEST_HISTORY)
            if row.cancelled > 0:
                when = min(ordered + self._net.network.lanes[q].information_delay, -1)
                history.add(Part(k, ordered, row.cancelled, cancelled=when), LONGEST_HISTORY)
        for k, q in enumerate(beliefs.lane):
            if k not in given:
                found.notice("MISSING_RECEIPTS", self._net.network.lanes[q].id)

    def _slot(self, due: int, path: str, found: Findings) -> int:
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
        """Whether its sender can have heard of orders that it has not shipped."""
        if lane.information_delay > 0:
            return True
        limited = bool(lane.inputs or lane.resources or lane.regimes or lane.shipping)
        return limited and not self._net.arrays.switches.cancel_unfilled
