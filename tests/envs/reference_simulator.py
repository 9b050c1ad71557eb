"""A second simulator: what a period does, one number at a time, from the definitions alone.

Written from what fields and events are documented to mean (`envs/network`, docs/how_to/orders.md,
replay.md), in plain Python over the network itself, without the simulator's arrays: the two agree
only if both do what is said. It doesn't know storage capacities, whole units, and fair or learned
sharing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from envs.compiled.arrays import CostColumn
from envs.network.lane import Allocation, Lane, LaneInput, Limits, Resource
from envs.network.network import InTransitPayer, Receive, ServeOrder, SupplyNetwork, Unfilled
from tests.envs.reference_orders import placed_orders

Amounts = dict[str, float]  # by lane, stocked pair ("tea@shop") or resource
# (multiplier, lane or resource) -> what regimes make of it in a period
Factors = Mapping[tuple[str, str], float]

_ROUNDS = 3  # of sharing: what a lane can't use, others get in the next one
_CRUMB = 1e-9  # units


@dataclass
class Period:
    """What happened in a period, and how it ended. Units by lane or by pair; cost [currency]."""

    ordered: Amounts = field(default_factory=dict)
    shipped: Amounts = field(default_factory=dict)
    cancelled: Amounts = field(default_factory=dict)
    received: Amounts = field(default_factory=lambda: defaultdict(float))
    scrapped: Amounts = field(default_factory=lambda: defaultdict(float))
    owed: Amounts = field(default_factory=dict)
    orders_on_way_total: Amounts = field(default_factory=dict)
    in_transit_total: Amounts = field(default_factory=dict)
    on_hand: Amounts = field(default_factory=dict)
    backorders: Amounts = field(default_factory=dict)
    sold: Amounts = field(default_factory=dict)
    backlog_served: Amounts = field(default_factory=dict)
    lost: Amounts = field(default_factory=dict)
    cost: dict[tuple[CostColumn, str], float] = field(default_factory=lambda: defaultdict(float))


class ReferenceSimulator:
    """Plays a network from its initial state, period by period."""

    def __init__(self, network: SupplyNetwork) -> None:
        self.network, self.t = network, 0
        self.stocks = {s.label: s for s in network.stocks}
        self.resources = {r.id: r for r in network.resources}
        self.on_hand = {pair: stock.initial_stock for pair, stock in self.stocks.items()}
        self.backorders = dict.fromkeys(self.stocks, 0.0)
        self.owed = {lane.id: 0.0 for lane in network.lanes}
        # lane -> period -> units: goods by when they arrive, orders by when they are heard of
        self.goods = {q.id: defaultdict(float, enumerate(q.initial_in_transit)) for q in self.lanes}
        self.orders = {q.id: defaultdict(float, enumerate(q.initial_orders)) for q in self.lanes}

    @property
    def lanes(self) -> tuple[Lane, ...]:
        return self.network.lanes

    def play(
        self,
        raw: Mapping[str, float],
        demand: Mapping[str, float],
        lead: Mapping[str, int],
        factors: Factors,
    ) -> Period:
        """Play a period. raw: units asked for by lane. demand: units by pair of customers. lead:
        periods that what ships now takes, by lane."""
        self.factors, timing, now = factors, self.network.timing, Period()
        late = timing.receive is Receive.after_ship
        for lane in self.lanes:  # orders are heard of when the period opens
            self.owed[lane.id] += self.orders[lane.id].pop(self.t, 0.0)
        if not late:
            self._receive(now, self.lanes)
        if timing.demand is ServeOrder.first:
            self._serve(demand, now)
        self._order(raw, now)
        self._ship(lead, now)
        # What is received after shipping, or was shipped to arrive at once.
        self._receive(now, self.lanes if late else ())
        if timing.demand is ServeOrder.last:
            self._serve(demand, now)
        self._close(now)
        self.t += 1
        return now

    def _receive(self, now: Period, on_road: tuple[Lane, ...]) -> None:
        """on_road: lanes whose goods on the way still wait a period where transit pauses; what has
        just left on the others is stopped only where it is due."""
        for lane in self.lanes:
            goods = self.goods[lane.id]
            if self.factors["transit", lane.id] == 0.0:
                for due in sorted(goods, reverse=True) if lane in on_road else (self.t,):
                    goods[due + 1] += goods.pop(due, 0.0)
            if self.factors["receiving", lane.id] == 0.0:
                goods[self.t + 1] += goods.pop(self.t, 0.0)
            arrived, share = goods.pop(self.t, 0.0), self._yield(lane)
            now.received[lane.id] += share * arrived
            now.scrapped[lane.id] += (1.0 - share) * arrived
            self.on_hand[_pair(lane)] += share * arrived

    def _yield(self, lane: Lane) -> float:
        return lane.yield_share * self.factors["yield_share", lane.id]

    def _serve(self, demand: Mapping[str, float], now: Period) -> None:
        for pair, stock in self.stocks.items():
            able = min(self.on_hand[pair], stock.serve_limit)
            older = min(self.backorders[pair], able)
            sold = min(demand.get(pair, 0.0), able - older)
            unmet = demand.get(pair, 0.0) - sold
            now.sold[pair], now.backlog_served[pair] = sold, older
            now.lost[pair] = (1.0 - stock.p_wait) * unmet
            self.on_hand[pair] -= sold + older
            self.backorders[pair] += stock.p_wait * unmet - older

    def _order(self, raw: Mapping[str, float], now: Period) -> None:
        now.ordered = placed_orders(self.network, raw, self.t, self.factors)
        for lane in self.lanes:
            if lane.information_delay == 0:
                self.owed[lane.id] += now.ordered[lane.id]
            else:
                self.orders[lane.id][self.t + lane.information_delay] += now.ordered[lane.id]

    def _limits(self, lane: Lane) -> Amounts:
        """What limits the lane's shipments -> units of it that a unit on the lane takes."""
        limits: Amounts = defaultdict(float)
        for item in lane.inputs:
            limits[_pair(item)] += item.quantity
        for use in lane.resources:
            resource = self.resources[use.resource]
            if resource.limits is Limits.shipments and self._capacity(resource) < math.inf:
                limits[use.resource] += use.per_unit
        return limits

    def _capacity(self, resource: Resource) -> float:
        up = self.factors["availability", resource.id]
        return resource.capacity * up if up > 0.0 else 0.0

    def _ship(self, lead: Mapping[str, int], now: Period) -> None:
        left = self.on_hand | {r.id: self._capacity(r) for r in self.network.resources}
        limits = {lane.id: self._limits(lane) for lane in self.lanes}
        now.shipped = {lane.id: 0.0 for lane in self.lanes}
        for again in range(_ROUNDS):
            usable = {q: self.factors["availability", q] for q in limits}
            want = {q: max(0.0, usable[q] * self.owed[q] - now.shipped[q]) for q in limits}
            if again:
                want = {
                    q: max(0.0, min([want[q], *(left[thing] / n for thing, n in use.items())]))
                    for q, use in limits.items()
                }
            part = dict(want)
            for thing, available in left.items():
                users = [lane for lane in self.lanes if thing in limits[lane.id]]
                for q, most in self._share(thing, available, users, limits, want).items():
                    part[q] = min(part[q], most)
            for q, use in limits.items():
                now.shipped[q] += part[q]
                for thing, quantity in use.items():
                    left[thing] = max(0.0, left[thing] - quantity * part[q])
        self.on_hand = {pair: left[pair] for pair in self.on_hand}
        for lane in self.lanes:
            self._send(lane, now.shipped[lane.id], self.t + lead[lane.id])
            self.owed[lane.id] -= now.shipped[lane.id]
            now.cancelled[lane.id] = 0.0
            if self.network.timing.unfilled is Unfilled.cancel:
                now.cancelled[lane.id], self.owed[lane.id] = self.owed[lane.id], 0.0

    def _share(
        self,
        thing: str,
        available: float,
        users: list[Lane],
        limits: Mapping[str, Mapping[str, float]],
        want: Amounts,
    ) -> Amounts:
        """Lane -> units it gets at most of what is shared: in proportion to what lanes want, rank
        by rank where the rule is priority."""
        owner = self.stocks.get(thing) or self.resources[thing]
        by_rank = owner.allocation is Allocation.priority
        given: Amounts = {}
        for rank in sorted({lane.priority if by_rank else 0 for lane in users}):
            group = [q.id for q in users if not by_rank or q.priority == rank]
            need = sum(limits[q][thing] * want[q] for q in group)
            share = 1.0 if need <= available else available / need
            given |= {q: share * want[q] for q in group}
            available = max(0.0, available - need)
        return given

    def _send(self, lane: Lane, shipped: float, arrives: int) -> None:
        late = lane.split_share * shipped
        self.goods[lane.id][arrives] += shipped - late
        self.goods[lane.id][arrives + lane.split_delay] += late

    def _close(self, now: Period) -> None:
        now.owed, now.on_hand = dict(self.owed), dict(self.on_hand)
        now.backorders = dict(self.backorders)
        now.orders_on_way_total = {q: sum(due.values()) for q, due in self.orders.items()}
        now.in_transit_total = {q: sum(due.values()) for q, due in self.goods.items()}
        for pair, stock in self.stocks.items():
            now.cost[CostColumn.HOLDING, pair] += stock.holding_cost * now.on_hand[pair]
            now.cost[CostColumn.BACKLOG, pair] += stock.backlog_cost * now.backorders[pair]
            now.cost[CostColumn.LOST_SALE, pair] += stock.lost_sale_cost * now.lost[pair]
            served = now.sold[pair] + now.backlog_served[pair]
            now.cost[CostColumn.REVENUE, pair] -= stock.price * served
        for lane in self.lanes:
            self._charge(lane, now)
        for resource in self.network.resources:
            flow = now.ordered if resource.limits is Limits.orders else now.shipped
            use = defaultdict[str, float](float)
            for lane in self.lanes:
                for item in lane.resources:
                    if item.resource == resource.id:
                        use[lane.id] += item.per_unit * flow[lane.id]
            used = sum(use.values())
            loads = math.ceil(used / (resource.load_size or math.inf) - _CRUMB)
            for lane in self.lanes:
                if used > _CRUMB:
                    part, pair = use[lane.id] / used, _pair(lane)
                    now.cost[CostColumn.FIXED_ORDER, pair] += part * resource.fixed_cost
                    rate = resource.load_cost * self.factors["cost", lane.id]
                    now.cost[CostColumn.LOAD, pair] += part * rate * loads

    def _charge(self, lane: Lane, now: Period) -> None:
        """What a lane's own orders, shipments and debts cost."""
        here, payer = _pair(lane), self.network.timing.in_transit_payer
        seller = _pair(lane.inputs[0]) if lane.inputs else here
        shipped, on_way = now.shipped[lane.id], now.in_transit_total[lane.id]
        factor = self.factors["cost", lane.id]
        now.cost[CostColumn.PURCHASE, here] += factor * lane.unit_cost * shipped
        now.cost[CostColumn.REVENUE, seller] -= lane.price * shipped
        if now.ordered[lane.id] > 0.0:
            now.cost[CostColumn.FIXED_ORDER, here] += lane.fixed_cost
        if lane.load_size is not None:
            loads = math.ceil(shipped / lane.load_size - _CRUMB)
            now.cost[CostColumn.LOAD, here] += factor * lane.load_cost * loads
        if lane.unfilled_cost is not None:
            now.cost[CostColumn.BACKLOG, seller] += lane.unfilled_cost * now.owed[lane.id]
            now.cost[CostColumn.LOST_SALE, seller] += lane.unfilled_cost * now.cancelled[lane.id]
        for item in lane.inputs if lane.unfilled_cost is None else ():
            sender = _pair(item)
            rate = item.quantity * self.stocks[sender].backlog_cost
            now.cost[CostColumn.BACKLOG, sender] += rate * now.owed[lane.id]
        if lane.in_transit_cost is not None:
            now.cost[CostColumn.IN_TRANSIT, here] += lane.in_transit_cost * on_way
        elif payer is InTransitPayer.receiver:
            now.cost[CostColumn.IN_TRANSIT, here] += self.stocks[here].holding_cost * on_way
        elif payer is InTransitPayer.sender:
            for item in lane.inputs:
                rate = item.quantity * self.stocks[_pair(item)].holding_cost
                now.cost[CostColumn.IN_TRANSIT, seller] += rate * on_way


def _pair(place: Lane | LaneInput) -> str:
    return f"{place.sku}@{place.node}"
