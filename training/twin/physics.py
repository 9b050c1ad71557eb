"""The period of envs/simulator.py once more, in torch: what it does, with slopes.

Events have the names and the order of the simulator's. Without a slope of their own: rounding to
packs and loads, minimum orders (passed straight through, so that an order that was rounded to
nothing still learns), order fees (flat), a load begun (its cost per unit of load).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.actions import HeadArrays
from envs.arrays import Csr
from envs.compiled import CompiledNetwork
from envs.state import Flows, State
from training.twin.allocate import ScarceStock
from training.twin.state import Chance, TwinState, anchor

__all__ = ["Positions", "Simulated", "Twin", "TwinFlows"]

Simulated = tuple[State, Flows, int]  # the simulator after the same event, and its period


class Positions(NamedTuple):
    """What is known when agents order; [P, B] units, as in envs.state.State."""

    inventory_level: Tensor
    on_order: Tensor
    inventory_position: Tensor
    echelon_inventory_position: Tensor
    owed_to_lanes: Tensor


class TwinFlows(NamedTuple):
    """What happened in a period: [Q, B] and [P, B] units, cost [P, B] currency."""

    ordered: Tensor
    shipped: Tensor
    sold: Tensor
    lost: Tensor
    demand: Tensor
    cost: Tensor


class _Entries(NamedTuple):
    """A sparse matrix: rows and columns [n], values [n, 1]."""

    row: Tensor
    column: Tensor
    value: Tensor


class Twin:
    """One network's period with slopes."""

    def __init__(
        self, net: CompiledNetwork, heads: HeadArrays, dtype: torch.dtype, device: str
    ) -> None:
        self.net, self._dtype, self._device = net, dtype, device
        a = net.arrays
        self._pairs, self._lanes = len(a.holding_cost), len(a.lane_to)
        self._to = self._index(a.lane_to)
        self._inputs, self._outbound = self._entries(a.inputs), self._entries(a.outbound)
        self._downstream = self._entries(a.downstream)
        self._uses = self._entries(a.resources)
        limited = ((a.capacity < np.inf) | (a.capacity_row >= 0)) & ~a.limits_orders
        self._limited = bool(limited.any())
        keep = torch.as_tensor(limited)[self._uses.column.cpu()].to(device)
        self._limits = _Entries(*(part[keep] for part in self._uses))
        self._proportional = self._padded(limited & ~a.capacity_by_priority)
        self._scarce = ScarceStock(net, heads, dtype, device)
        for name in (
            "holding_cost", "backlog_cost", "lost_sale_cost", "price", "p_wait", "serve_limit",
            "unit_cost", "lane_price", "unfilled_cost", "in_transit_cost", "expected_yield",
            "yield_share", "maximum_order", "split_share", "waiting_cost", "volume", "capacity",
            "storage_capacity",
        ):  # fmt: skip
            setattr(self, "_" + name, self._column(getattr(a, name)))
        self._seller, self._payer = self._index(a.seller), self._index(a.in_transit_payer)
        self._lead = self._index(a.lead_time)[:, None]
        self._drawn = self._index(np.flatnonzero(a.lead_row >= 0))
        self._draw = self._index(a.lead_row[a.lead_row >= 0])
        self._split = bool((a.split_share > 0).any())
        self._split_delay = self._index(a.split_delay)[:, None]
        self._delays = [
            (int(d), self._column(a.information_delay == d)) for d in np.unique(a.information_delay)
        ]
        self._customers = self._index(np.flatnonzero(a.demand_of >= 0))
        self._stream = self._index(a.demand_of[a.demand_of >= 0])
        self._disturbed = self._column(~a.plain_receipt) if not a.plain_receipt.all() else None
        self._at_once = self._column(a.at_once) if a.at_once.any() else None
        stored = np.isfinite(a.storage_capacity[a.node_of]) & (a.volume > 0)
        self._needs_room = self._column(stored[a.lane_to] & ~a.plain_receipt)
        self._has_storage = bool(stored.any())
        self._node = self._index(a.node_of)
        load = np.where(a.load_size > 0, a.load_cost / np.where(a.load_size > 0, a.load_size, 1), 0)
        self._load_rate = self._column(load)
        self._has_loads = bool(load.any())
        self._terms = {n: bool(getattr(a, n).any()) for n in (
            "backlog_cost", "lost_sale_cost", "price", "unit_cost", "lane_price", "unfilled_cost",
            "in_transit_cost", "waiting_cost",
        )}  # fmt: skip

    def _index(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.array(values, np.int64), device=self._device)

    def _column(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.array(values, float), dtype=self._dtype, device=self._device)[
            :, None
        ]

    def _entries(self, matrix: Csr) -> _Entries:
        rows = np.repeat(np.arange(len(matrix.pointer) - 1), np.diff(matrix.pointer))
        return _Entries(self._index(rows), self._index(matrix.index), self._column(matrix.value))

    def _padded(self, resources: np.ndarray) -> list[Tensor]:
        """Per lane its 1st, 2nd ... thing that is shared in proportion: pairs, then resources, then
        nothing."""
        a = self.net.arrays
        nothing = self._pairs + len(a.capacity)
        shared: list[list[int]] = []
        for q in range(self._lanes):
            pairs = a.inputs.index[a.inputs.pointer[q] : a.inputs.pointer[q + 1]]
            used = a.resources.index[a.resources.pointer[q] : a.resources.pointer[q + 1]]
            shared.append(
                [int(p) for p in pairs if a.shares_simply[p]]
                + [self._pairs + int(r) for r in used if resources[r]]
            )
        most = max(map(len, shared))
        table = np.full((most, self._lanes), nothing)
        for q, row in enumerate(shared):
            table[: len(row), q] = row
        return [self._index(row) for row in table]

    def _sum(self, rows: int, index: Tensor, values: Tensor) -> Tensor:
        return values.new_zeros(rows, values.shape[1]).index_add(0, index, values)

    def _factor(self, rows: np.ndarray, chance: Chance) -> Tensor | None:
        """[len(rows), B] of the trace's factors, 1 where a row is -1; None: all are 1."""
        if not (rows >= 0).any():
            return None
        one = torch.ones_like(chance.factor[:1])
        return torch.cat([one, chance.factor])[self._index(rows + 1)]

    def positions(self, state: TwinState) -> Positions:
        """What agents know of stock when they order (envs/events/observe.py)."""
        level = state.on_hand - state.backorders
        owed_to = torch.zeros_like(level)
        if len(self._outbound.row):
            owing = self._outbound.value * state.owed[self._outbound.column]
            owed_to = self._sum(self._pairs, self._outbound.row, owing)
        on_way = self._expected_yield * state.in_transit.sum(0)
        coming = on_way + self._expected_yield * state.owed
        if len(self._delays) > 1 or self._delays[0][0]:
            coming = coming + self._expected_yield * state.orders_on_way.sum(0)
        on_order = self._sum(self._pairs, self._to, coming)
        echelon = level + on_order
        if len(self._downstream.row):
            below = level + self._sum(self._pairs, self._to, on_way)
            more = self._downstream.value * below[self._downstream.column]
            echelon = echelon + self._sum(self._pairs, self._downstream.row, more)
        inner = level - owed_to
        return Positions(inner, on_order, inner + on_order, echelon, owed_to)

    def close_period(
        self,
        state: TwinState,
        raw_order: Tensor,
        chance: Chance,
        action: Tensor | None = None,
        simulated: Simulated | None = None,
    ) -> tuple[TwinState, TwinFlows]:
        """Events 3-6. raw_order [Q, B] units; action [P, A, B]: for learned allocation weights.

        simulated: the simulator after its own `close_period`; its values are taken.
        """
        level = self.positions(state).inventory_level
        flows = None if simulated is None else simulated[1]
        state, ordered = self._order(state, raw_order, chance, flows)
        state, shipped, cancelled = self._ship(state, level, chance, action, flows)
        if self.net.arrays.receive_after_ship:
            state = self._receive(state, chance, at_once=False)
        elif self._at_once is not None:
            state = self._receive(state, chance, at_once=True)
        demand = self._demand(chance)
        if self.net.arrays.demand_first:
            assert simulated is not None or self._served is not None
            sold, older, lost = self._served
        else:
            state, sold, older, lost = self._serve(state, demand)
        if simulated is not None:
            state = state.anchored(simulated[0], simulated[2])
        cost = self._account(state, chance, ordered, shipped, cancelled, sold, older, lost)
        if flows is not None:
            cost = anchor(flows.total_cost, cost)
        return state, TwinFlows(ordered, shipped, sold, lost, demand, cost)

    def open_period(
        self, state: TwinState, chance: Chance, simulated: Simulated | None = None
    ) -> TwinState:
        """Events 1-2 of the next period, and 5 where customers come first; chance: that period's.

        simulated: the simulator after its own `open_period`.
        """
        state = state._replace(
            in_transit=_advanced(state.in_transit),
            orders_on_way=_advanced(state.orders_on_way),
        )
        if not self.net.arrays.receive_after_ship:
            state = self._receive(state, chance, at_once=False)
        if self.net.arrays.demand_first:
            state, sold, older, lost = self._serve(state, self._demand(chance))
            self._served = sold, older, lost
        return state if simulated is None else state.anchored(simulated[0], simulated[2])

    _served: tuple[Tensor, Tensor, Tensor]

    # 3

    def _order(
        self, state: TwinState, raw: Tensor, chance: Chance, flows: Flows | None
    ) -> tuple[TwinState, Tensor]:
        """Feasible orders join what is owed, or go on their way there."""
        ordered = torch.minimum(raw.clamp(min=0.0), self._maximum_order)
        if flows is not None:
            if self.net.arrays.has_order_rules:  # closed, full or out of budget: nothing more
                refused = (flows.ordered <= 0.0) & (flows.raw_order > 0.0)
                ordered = ordered.masked_fill(torch.as_tensor(refused, device=self._device), 0.0)
            ordered = anchor(flows.ordered, ordered)
        owed, on_way = state.owed, state.orders_on_way
        for delay, lanes in self._delays:
            part = ordered if len(self._delays) == 1 else ordered * lanes
            if delay == 0:
                owed = owed + part
            else:
                on_way = _added(on_way, delay, part)
        return state._replace(owed=owed, orders_on_way=on_way), ordered

    # 4

    def _ship(
        self, state: TwinState, level: Tensor, chance: Chance, action: Tensor | None,
        flows: Flows | None,
    ) -> tuple[TwinState, Tensor, Tensor]:  # fmt: skip
        a = self.net.arrays
        on_hand, owed = state.on_hand, state.owed
        usable = self._factor(a.availability_row, chance)
        full = owed if usable is None else owed * usable
        left = self._open_resources(chance, owed.shape[1])
        shipped = torch.zeros_like(owed)
        for done in range(a.ship_rounds):
            want = full
            if done:
                want = self._want_less(full - shipped, on_hand, left)
            share = self._share_out(want, on_hand, left)
            if self._scarce.rules:
                limit = self._scarce.limit(
                    want, on_hand, left, level, state.in_transit.sum(0), shipped, action,
                    flows if a.ship_rounds == 1 else None,
                )  # fmt: skip
                share = torch.minimum(share, limit)
            shipped = share if a.ship_rounds == 1 else shipped + share
            if len(self._inputs.row):
                taken = self._inputs.value * share[self._inputs.row]
                used = self._sum(self._pairs, self._inputs.column, taken)
                on_hand = (on_hand - used).clamp(min=0.0)
            if left is not None:
                taken = self._limits.value * share[self._limits.row]
                left = (left - self._sum(len(left), self._limits.column, taken)).clamp(min=0.0)
        if flows is not None:
            shipped = anchor(flows.shipped, shipped)
        owed = owed - shipped
        cancelled = torch.zeros_like(owed)
        if a.cancel_unfilled:
            owed, cancelled = cancelled, owed
        in_transit = self._send(state.in_transit, shipped, chance)
        return (
            state._replace(on_hand=on_hand, owed=owed, in_transit=in_transit),
            shipped,
            cancelled,
        )

    def _open_resources(self, chance: Chance, batch: int) -> Tensor | None:
        if not self._limited:
            return None
        factor = self._factor(self.net.arrays.capacity_row, chance)
        if factor is None:
            return self._capacity.expand(-1, batch)
        return torch.where(factor > 0.0, self._capacity * factor, 0.0)

    def _want_less(self, want: Tensor, on_hand: Tensor, left: Tensor | None) -> Tensor:
        """In a later round: no more than the other lanes left."""
        want = want.clamp(min=0.0)
        for entries, there in ((self._inputs, on_hand), (self._limits, left)):
            if there is None or not len(entries.row):
                continue
            most = there[entries.column] / entries.value
            index = entries.row[:, None].expand_as(most)
            want = want.scatter_reduce(0, index, most, "amin")
        return want

    def _share_out(self, want: Tensor, on_hand: Tensor, left: Tensor | None) -> Tensor:
        """Each lane's part of the scarcest thing that is shared in proportion."""
        if not self._proportional:
            return want
        need = self._sum(
            self._pairs, self._inputs.column, self._inputs.value * want[self._inputs.row]
        )
        parts = [_proportion(on_hand, need)]
        if left is not None:
            need = self._sum(
                len(left), self._limits.column, self._limits.value * want[self._limits.row]
            )
            parts.append(_proportion(left, need))
        else:
            parts.append(torch.ones(len(self.net.arrays.capacity), want.shape[1]).to(want))
        parts.append(torch.ones_like(want[:1]))
        proportion = torch.cat(parts)
        least = proportion[self._proportional[0]]
        for place in self._proportional[1:]:
            least = torch.minimum(least, proportion[place])
        return want * least

    def _send(self, in_transit: Tensor, shipped: Tensor, chance: Chance) -> Tensor:
        lead = self._lead
        if len(self._drawn):
            lead = lead.expand(-1, shipped.shape[1]).clone()
            lead[self._drawn] = chance.lead_time[self._draw]
        slots = in_transit.shape[0]
        if not self._split:
            return _added(in_transit, lead, shipped)
        late = self._split_share * shipped
        in_transit = _added(in_transit, lead, shipped - late)
        return _added(in_transit, (lead + self._split_delay) % slots, late)

    # 1

    def _receive(self, state: TwinState, chance: Chance, *, at_once: bool) -> TwinState:
        """at_once: only what was shipped in this period with lead time 0."""
        a, in_transit, owed, on_way = (
            self.net.arrays, state.in_transit, state.owed, state.orders_on_way,
        )  # fmt: skip
        if not at_once and (len(self._delays) > 1 or self._delays[0][0]):
            owed = owed + on_way[0]
            on_way = torch.cat([torch.zeros_like(on_way[:1]), on_way[1:]])
        due, rest = in_transit[0], in_transit[1:]
        if at_once:
            assert self._at_once is not None
            waits = due * (1.0 - self._at_once)
            due = due * self._at_once
        else:
            waits = None
        later = None
        if self._disturbed is not None:
            due, rest, later = self._disturb(state.on_hand, due, rest, chance, at_once)
        now = torch.zeros_like(due) if waits is None else waits
        good = due
        if self._disturbed is not None:
            good = due * self._yield(chance)
        on_hand = state.on_hand + self._sum(self._pairs, self._to, good)
        if later is not None and len(rest):
            rest = torch.cat([(rest[0] + later)[None], rest[1:]])
        return state._replace(
            on_hand=on_hand, owed=owed, orders_on_way=on_way,
            in_transit=torch.cat([now[None], rest]),
        )  # fmt: skip

    def _yield(self, chance: Chance) -> Tensor:
        factor = self._factor(self.net.arrays.yield_row, chance)
        return self._yield_share if factor is None else self._yield_share * factor

    def _disturb(
        self, on_hand: Tensor, due: Tensor, rest: Tensor, chance: Chance, at_once: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pauses and full stores: (due, the rest of the pipeline, what waits for the next period)."""
        a = self.net.arrays
        assert self._disturbed is not None
        later = torch.zeros_like(due)
        moving = self._factor(a.transit_row, chance)
        if moving is not None:
            paused = moving == 0.0
            if at_once:
                later = later + torch.where(paused, due, 0.0)
            else:
                delayed = torch.cat([due[None], rest[:-1]])
                delayed = (
                    torch.cat([delayed[:-1], delayed[-1:] + rest[-1:]]) if len(rest) else delayed
                )
                rest = torch.where(paused, delayed, rest)
            due = torch.where(paused, 0.0, due)
        receiving = self._factor(a.receiving_row, chance)
        if receiving is not None:
            shut = receiving == 0.0
            later = later + torch.where(shut, due, 0.0)
            due = torch.where(shut, 0.0, due)
        if self._has_storage:
            plain = due * (1.0 - self._disturbed)
            if not at_once:
                on_hand = on_hand + self._sum(self._pairs, self._to, plain)
            nodes = len(a.storage_capacity)
            volume = self._volume[self._to] * due * self._yield(chance) * self._needs_room
            need = self._sum(nodes, self._node[self._to], volume)
            free = self._storage_capacity - self._sum(nodes, self._node, self._volume * on_hand)
            let_in = _proportion(free.clamp(min=0.0), need)[self._node[self._to]]
            kept_out = due * (1.0 - let_in) * self._needs_room
            later, due = later + kept_out, due - kept_out
        return due, rest, later

    # 5

    def _demand(self, chance: Chance) -> Tensor:
        return self._sum(self._pairs, self._customers, chance.demand[self._stream])

    def _serve(self, state: TwinState, demand: Tensor) -> tuple[TwinState, Tensor, Tensor, Tensor]:
        available = torch.minimum(state.on_hand, self._serve_limit)
        older = torch.minimum(state.backorders, available)
        sold = torch.minimum(demand, available - older)
        on_hand = state.on_hand - older - sold
        unmet = demand - sold
        lost = (1.0 - self._p_wait) * unmet
        backorders = state.backorders + (unmet - lost) - older
        return state._replace(on_hand=on_hand, backorders=backorders), sold, older, lost

    # 6

    def _account(
        self, state: TwinState, chance: Chance, ordered: Tensor, shipped: Tensor,
        cancelled: Tensor, sold: Tensor, older: Tensor, lost: Tensor,
    ) -> Tensor:  # fmt: skip
        """[P, B] currency; fees per order are flat and left out."""
        a, used = self.net.arrays, self._terms
        cost = self._holding_cost * state.on_hand
        if used["backlog_cost"]:
            cost = cost + self._backlog_cost * state.backorders
        if used["waiting_cost"]:
            waiting = self._waiting_cost * state.owed[self._outbound.column]
            cost = cost.index_add(0, self._outbound.row, waiting)
        if used["lost_sale_cost"]:
            cost = cost + self._lost_sale_cost * lost
        if used["price"]:
            cost = cost - self._price * (sold + older)
        if used["in_transit_cost"]:
            way = self._in_transit_cost * state.in_transit.sum(0)
            cost = cost.index_add(0, self._payer, way)
        if used["lane_price"]:
            cost = cost.index_add(0, self._seller, -self._lane_price * shipped)
        if used["unfilled_cost"]:
            cost = cost.index_add(0, self._seller, self._unfilled_cost * (state.owed + cancelled))
        factor = self._factor(a.cost_row, chance)
        if used["unit_cost"]:
            price = self._unit_cost if factor is None else self._unit_cost * factor
            cost = cost.index_add(0, self._to, price * shipped)
        if self._has_loads:
            uses = self._uses
            orders = self._index(a.limits_orders)[uses.column, None] > 0
            flow = torch.where(orders, ordered[uses.row], shipped[uses.row])
            charge = self._load_rate[uses.column] * uses.value * flow
            if factor is not None:
                charge = charge * factor[uses.row]
            cost = cost.index_add(0, self._to[uses.row], charge)
        return cost


def _proportion(available: Tensor, need: Tensor) -> Tensor:
    """available / need where that is scarce, else 1."""
    scarce = need > available
    return torch.where(scarce, available / torch.where(scarce, need, 1.0), 1.0)


def _advanced(pipeline: Tensor) -> Tensor:
    """A period later: what was due then is due now less one."""
    return torch.cat([pipeline[1:], pipeline[:1]])


def _added(pipeline: Tensor, ahead: Tensor | int, values: Tensor) -> Tensor:
    """values [Q, B] join the pipeline [L, Q, B] so many periods ahead: a number or [Q, 1 or B]."""
    if isinstance(ahead, int):
        ahead = torch.full_like(values, ahead, dtype=torch.int64)
    return pipeline.scatter_add(0, ahead.expand_as(values)[None], values[None])
