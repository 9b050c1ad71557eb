"""A second simulator: what a period does, one number at a time, from the definitions alone.

Written from what fields and events are documented to mean (`envs/network`, docs/how_to/orders.md,
replay.md), in plain Python over the network itself, without the simulator's arrays: the two agree
only if both do what is said. What chance and agents bring is given (`Given`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from envs.compiled.arrays import CostColumn
from envs.network.lane import Lane, Limits
from envs.network.network import InTransitPayer, Receive, ServeOrder, SupplyNetwork, Unfilled
from tests.envs.reference_calendars import Factors, with_calendars
from tests.envs.reference_orders import Orders
from tests.envs.reference_sharing import Amounts, Sharing, pair_of
from tests.envs.reference_units import CRUMB, down, in_whole_units, some_up, step_of


@dataclass(frozen=True)
class Given:
    """What isn't the simulator's to decide in a period."""

    raw: Mapping[str, float]  # units asked for, by lane
    demand: Mapping[str, float]  # units, by pair of customers
    lead: Mapping[str, int]  # periods that what ships now takes, by lane
    factors: Factors  # what regimes make of lanes and resources
    forecast: Mapping[str, float]  # units until what is ordered now arrives, by pair
    weights: Mapping[tuple[str, str], float]  # (pair, lane): of learned allocation


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
    """Plays a network from its initial state, period by period; `begins`: in which period of
    calendars."""

    def __init__(self, network: SupplyNetwork, begins: int = 0) -> None:
        self.network, self.t, self.begins = network, 0, begins
        self.stocks = {s.label: s for s in network.stocks}
        self.resources = {r.id: r for r in network.resources}
        self.volume = {s.id: s.volume for s in network.skus}
        self.whole = in_whole_units(network)
        self.steps = {lane.id: step_of(lane, self.whole) for lane in network.lanes}
        self.orders_of = Orders(network, self.steps)
        self.on_hand = {pair: stock.initial_stock for pair, stock in self.stocks.items()}
        self.backorders = dict.fromkeys(self.stocks, 0.0)
        self.owed = {lane.id: 0.0 for lane in network.lanes}
        # lane -> period -> units: goods by when they arrive, orders by when they are heard of
        self.goods = {q.id: defaultdict(float, enumerate(q.initial_in_transit)) for q in self.lanes}
        self.orders = {q.id: defaultdict(float, enumerate(q.initial_orders)) for q in self.lanes}

    @property
    def lanes(self) -> tuple[Lane, ...]:
        return self.network.lanes

    def play(self, given: Given) -> Period:
        """Play a period."""
        self.factors = with_calendars(self.network, given.factors, self.begins + self.t)
        timing, now = self.network.timing, Period()
        late = timing.receive is Receive.after_ship
        for lane in self.lanes:  # orders are heard of when the period opens
            self.owed[lane.id] += self.orders[lane.id].pop(self.t, 0.0)
        if not late:
            self._receive(now, self.lanes)
        if timing.demand is ServeOrder.first:
            self._serve(given.demand, now)
        stock = self._stock_on_order({q.id: 1.0 for q in self.lanes}, in_transit_only=True)
        self._order(given, now)
        self._ship(given, stock, now)
        # What is received after shipping, or was shipped to arrive at once.
        self._receive(now, self.lanes if late else ())
        if timing.demand is ServeOrder.last:
            self._serve(given.demand, now)
        self._close(now)
        self.t += 1
        return now

    def _receive(self, now: Period, on_road: tuple[Lane, ...]) -> None:
        """on_road: lanes whose goods on the way still wait a period where transit pauses; what has
        just left on the others is stopped only where it is due."""
        for lane in self.lanes:
            goods = self.goods[lane.id]
            if self.factors["transit", lane.id] == 0.0:
                for when in sorted(goods, reverse=True) if lane in on_road else (self.t,):
                    goods[when + 1] += goods.pop(when, 0.0)
            if self.factors["receiving", lane.id] == 0.0:
                goods[self.t + 1] += goods.pop(self.t, 0.0)
        due = {lane.id: self.goods[lane.id].pop(self.t, 0.0) for lane in self.lanes}
        comes_in = dict(due)
        for node in self.network.nodes:
            if node.storage_capacity < math.inf:
                comes_in |= self._let_in(node.id, node.storage_capacity, due)
        for lane in self.lanes:
            units = comes_in[lane.id]
            self.goods[lane.id][self.t + 1] += due[lane.id] - units
            good = self._usable(lane, units)
            now.received[lane.id] += good
            now.scrapped[lane.id] += units - good
            self.on_hand[pair_of(lane)] += good

    def _let_in(self, node: str, capacity: float, due: Amounts) -> Amounts:
        """Lane -> units of what is due that a node with little room takes in."""
        room = capacity - sum(
            self.volume[s.sku] * self.on_hand[pair]
            for pair, s in self.stocks.items()
            if s.node == node
        )
        lanes = [q for q in self.lanes if q.node == node and self._takes_room(q)]
        need = sum(self.volume[q.sku] * self._share(q) * due[q.id] for q in lanes)
        share = 1.0 if need <= max(room, 0.0) else max(room, 0.0) / need
        takes = {q.id: share * due[q.id] for q in lanes}
        for lane in lanes:
            if lane.sku in self.whole:
                takes[lane.id] = down(takes[lane.id])
        room = max(room, 0.0) - sum(self._volume_of(q, takes[q.id]) for q in lanes)
        for lane in sorted(lanes, key=lambda q: (q.priority, q.id)):
            has = takes[lane.id]
            if lane.sku in self.whole and has < due[lane.id]:
                more = self._volume_of(lane, has + 1.0) - self._volume_of(lane, has)
                if more <= room + CRUMB:
                    takes[lane.id], room = has + 1.0, room - more
        return takes

    def _takes_room(self, lane: Lane) -> bool:
        node = next(n for n in self.network.nodes if n.id == lane.node)
        return node.storage_capacity < math.inf and self.volume[lane.sku] > 0.0

    def _volume_of(self, lane: Lane, units: float) -> float:
        """Room that the usable part of what comes in takes."""
        return self.volume[lane.sku] * self._usable(lane, units)

    def _share(self, lane: Lane) -> float:
        """Of what arrives, that is usable."""
        return lane.yield_share * self.factors["yield_share", lane.id]

    def _usable(self, lane: Lane, units: float) -> float:
        share = self._share(lane)
        if lane.sku not in self.whole or share == 1.0:
            return share * units
        return down(share * units) if self._takes_room(lane) else some_up(share * units, self.t)

    def _serve(self, demand: Mapping[str, float], now: Period) -> None:
        for pair, stock in self.stocks.items():
            is_whole = stock.sku in self.whole and stock.serve_limit < math.inf
            limit = down(stock.serve_limit) if is_whole else stock.serve_limit
            able = min(self.on_hand[pair], limit)
            older = min(self.backorders[pair], able)
            sold = min(demand.get(pair, 0.0), able - older)
            unmet = demand.get(pair, 0.0) - sold
            waits = stock.p_wait * unmet
            if stock.sku in self.whole:
                waits = some_up(waits, self.t)
            now.sold[pair], now.backlog_served[pair] = sold, older
            now.lost[pair] = unmet - waits
            self.on_hand[pair] -= sold + older
            self.backorders[pair] += waits - older

    def _stock_on_order(self, good: Amounts, in_transit_only: bool = False) -> Amounts:
        """Pair -> on hand, less what is waited for, plus what is on its way or ordered, of which
        a share is good."""
        stock = {pair: self.on_hand[pair] - self.backorders[pair] for pair in self.stocks}
        for lane in self.lanes:
            ordered = self.owed[lane.id] + sum(self.orders[lane.id].values())
            on_way = sum(self.goods[lane.id].values()) + (0.0 if in_transit_only else ordered)
            stock[pair_of(lane)] += good[lane.id] * on_way
            for item in lane.inputs:
                stock[pair_of(item)] -= item.quantity * self.owed[lane.id]
        return stock

    def _order(self, given: Given, now: Period) -> None:
        regimes = {g.id: g for g in self.network.regimes}
        good = {}
        for lane in self.lanes:
            means = [regimes[g].for_mode(lane.mode).mean("yield_share") for g in lane.regimes]
            good[lane.id] = max(0.001, lane.yield_share * math.prod(means))
        position = self._stock_on_order(good)
        room = {n.id: n.storage_capacity for n in self.network.nodes}
        for pair, stock in self.stocks.items():
            stays = max(0.0, position[pair] - given.forecast[pair])
            room[stock.node] -= self.volume[stock.sku] * stays
        room = {node: max(0.0, volume) for node, volume in room.items()}
        now.ordered = self.orders_of.placed(given.raw, self.factors, room)
        for lane in self.lanes:
            if lane.information_delay == 0:
                self.owed[lane.id] += now.ordered[lane.id]
            else:
                self.orders[lane.id][self.t + lane.information_delay] += now.ordered[lane.id]

    def _limits(self, lane: Lane) -> Amounts:
        """What limits the lane's shipments -> units of it that a unit on the lane takes."""
        limits: Amounts = defaultdict(float)
        for item in lane.inputs:
            limits[pair_of(item)] += item.quantity
        for use in lane.resources:
            if self.resources[use.resource].limits is Limits.shipments:
                limits[use.resource] += use.per_unit
        return limits

    def _capacity(self, resource: str) -> float:
        up = self.factors["availability", resource]
        return self.resources[resource].capacity * up if up > 0.0 else 0.0

    def _ship(self, given: Given, stock: Amounts, now: Period) -> None:
        left = self.on_hand | {r: self._capacity(r) for r in self.resources}
        limits = {lane.id: self._limits(lane) for lane in self.lanes}
        may = {q: self.factors["availability", q] * self.owed[q] for q in limits}
        for q, step in self.steps.items():
            may[q] = down(may[q], step) if step else may[q]
        sharing = Sharing(self.network, left, limits, stock, given.weights)
        sharing.in_rounds(may)
        sharing.by_largest_remainder(
            self.steps, may, [*sorted(self.stocks), *sorted(self.resources)]
        )
        now.shipped = sharing.shipped
        self.on_hand = {pair: left[pair] for pair in self.on_hand}
        for lane in self.lanes:
            self._send(lane, now.shipped[lane.id], self.t + given.lead[lane.id])
            self.owed[lane.id] -= now.shipped[lane.id]
            now.cancelled[lane.id] = 0.0
            if self.network.timing.unfilled is Unfilled.cancel:
                now.cancelled[lane.id], self.owed[lane.id] = self.owed[lane.id], 0.0

    def _send(self, lane: Lane, shipped: float, arrives: int) -> None:
        late = lane.split_share * shipped
        if lane.sku in self.whole:
            late = some_up(late, self.t)
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
            loads = math.ceil(used / (resource.load_size or math.inf) - CRUMB)
            for lane in self.lanes:
                if used > CRUMB:
                    part, pair = use[lane.id] / used, pair_of(lane)
                    now.cost[CostColumn.FIXED_ORDER, pair] += part * resource.fixed_cost
                    rate = resource.load_cost * self.factors["cost", lane.id]
                    now.cost[CostColumn.LOAD, pair] += part * rate * loads

    def _charge(self, lane: Lane, now: Period) -> None:
        """What a lane's own orders, shipments and debts cost."""
        here, payer = pair_of(lane), self.network.timing.in_transit_payer
        seller = pair_of(lane.inputs[0]) if lane.inputs else here
        shipped, on_way = now.shipped[lane.id], now.in_transit_total[lane.id]
        factor = self.factors["cost", lane.id]
        now.cost[CostColumn.PURCHASE, here] += factor * lane.unit_cost * shipped
        now.cost[CostColumn.REVENUE, seller] -= lane.price * shipped
        if now.ordered[lane.id] > 0.0:
            now.cost[CostColumn.FIXED_ORDER, here] += lane.fixed_cost
        if lane.load_size is not None:
            loads = math.ceil(shipped / lane.load_size - CRUMB)
            now.cost[CostColumn.LOAD, here] += factor * lane.load_cost * loads
        if lane.unfilled_cost is not None:
            now.cost[CostColumn.BACKLOG, seller] += lane.unfilled_cost * now.owed[lane.id]
            now.cost[CostColumn.LOST_SALE, seller] += lane.unfilled_cost * now.cancelled[lane.id]
        for item in lane.inputs if lane.unfilled_cost is None else ():
            sender = pair_of(item)
            rate = item.quantity * self.stocks[sender].backlog_cost
            now.cost[CostColumn.BACKLOG, sender] += rate * now.owed[lane.id]
        if lane.in_transit_cost is not None:
            now.cost[CostColumn.IN_TRANSIT, here] += lane.in_transit_cost * on_way
        elif payer is InTransitPayer.receiver:
            now.cost[CostColumn.IN_TRANSIT, here] += self.stocks[here].holding_cost * on_way
        elif payer is InTransitPayer.sender:
            for item in lane.inputs:
                rate = item.quantity * self.stocks[pair_of(item)].holding_cost
                now.cost[CostColumn.IN_TRANSIT, seller] += rate * on_way
