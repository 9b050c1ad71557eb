"""The period of envs/simulation/simulator.py once more, in torch: what it does, with slopes.

Events have the names and the order of the simulator's. Without a slope of their own: rounding to
packs and loads and minimum orders (passed straight through, so that an order that was rounded to
nothing still learns), order fees (flat), a load begun (its cost per unit of load).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.simulation.actions import HeadArrays
from envs.simulation.state import Flows, State
from training.twin.account import Accounting
from training.twin.receive import Receiving
from training.twin.ship import Shipping, added
from training.twin.state import Draws, TwinState, anchor
from training.twin.tables import Tables
from training.twin.whole_units import WholeUnits

Simulated = tuple[State, Flows, int]  # the simulator after the same event, and its period
Served = tuple[Tensor, Tensor, Tensor]  # [P, B] units: sold, older demand served, lost


class Positions(NamedTuple):
    """What is known when agents order; [P, B] units, as in envs.simulation.state.State."""

    inventory_level: Tensor
    on_order: Tensor
    inventory_position: Tensor
    echelon_inventory_position: Tensor
    expedite_position: Tensor
    owed_to_lanes: Tensor


class TwinFlows(NamedTuple):
    """What happened in a period: [Q, B] and [P, B] units, cost [P, B] currency."""

    ordered: Tensor
    shipped: Tensor
    sold: Tensor
    lost: Tensor
    demand: Tensor
    cost: Tensor


class Twin:
    """One network's period with slopes.

    In training every value comes from the simulator, stepped beside it (`simulated`): errors never
    add up. Without, the twin goes its own way, and has to arrive where the simulator does.
    """

    def __init__(self, tables: Tables, heads: HeadArrays) -> None:
        self.net, self._tables, a = tables.net, tables, tables.net.arrays
        self._shipping, self._receiving = Shipping(tables, heads), Receiving(tables)
        self._accounting = Accounting(tables)
        self._outbound = tables.entries(a.stocks.outbound)
        self._downstream = tables.entries(a.stocks.downstream)
        self._expected_yield = tables.column(a.lanes.expected_yield)
        self._maximum_order = tables.column(a.rules.maximum_order)
        self._delay = tables.index(a.lanes.information_delay)[:, None]
        self._has_delay = bool((a.lanes.information_delay > 0).any())
        self._hears_at_once = tables.column(a.lanes.information_delay == 0)
        self._serve_limit = tables.column(a.stocks.serve_limit)
        self._p_wait = tables.column(a.stocks.p_wait)
        self._soon = _Soon(tables)
        self._whole = WholeUnits(tables)
        self._customers = tables.index(np.flatnonzero(a.stocks.demand_of >= 0))
        self._stream = tables.index(a.stocks.demand_of[a.stocks.demand_of >= 0])
        self._served: Served | None = None  # before orders, where customers come first

    def positions(self, state: TwinState) -> Positions:
        """What agents know of stock when they order (envs/simulation/events/observe.py)."""
        tables = self._tables
        level = state.on_hand - state.backorders
        owed_to = torch.zeros_like(level)
        if len(self._outbound.row):
            owing = self._outbound.value * state.owed[self._outbound.column]
            owed_to = tables.total(tables.pairs, self._outbound.row, owing)
        on_way = self._expected_yield * state.in_transit.sum(0)
        coming = on_way + self._expected_yield * state.owed
        if self._has_delay:
            coming = coming + self._expected_yield * state.orders_on_way.sum(0)
        on_order = tables.at_pairs(coming)
        echelon = level + on_order
        if len(self._downstream.row):
            below = (level + tables.at_pairs(on_way))[self._downstream.column]
            echelon = echelon.index_add(0, self._downstream.row, self._downstream.value * below)
        inner = level - owed_to
        soon = self._soon.position(inner, state.in_transit)
        return Positions(inner, on_order, inner + on_order, echelon, soon, owed_to)

    def close_period(
        self,
        state: TwinState,
        raw_order: Tensor,
        draws: Draws,
        action: Tensor | None = None,
        simulated: Simulated | None = None,
    ) -> tuple[TwinState, TwinFlows]:
        """Events 3-6. raw_order [Q, B] units; action [P, A, B]: for learned allocation weights.

        simulated: the simulator after its own `close_period`; its values are taken.
        """
        level = self.positions(state).inventory_level
        flows = None if simulated is None else simulated[1]
        state, ordered = self._order(state, raw_order, flows)
        state, shipment = self._shipping.ship(state, level, draws, action, flows)
        if self.net.arrays.switches.receive_after_ship:
            state = self._receiving.receive(state, draws, at_once=False)
        elif self.net.arrays.lanes.at_once.any():
            state = self._receiving.receive(state, draws, at_once=True)
        demand = self._demand(draws)
        if not self.net.arrays.switches.demand_first or self._served is None:
            state, self._served = self._serve(state, demand, draws)
        if simulated is not None:
            state = state.anchored(simulated[0], simulated[2])
        cost = self._accounting.cost(state, draws, ordered, shipment, self._served)
        cost = anchor(None if flows is None else flows.total_cost, cost)
        sold, _, lost = self._served
        return state, TwinFlows(ordered, shipment.shipped, sold, lost, demand, cost)

    def open_period(
        self, state: TwinState, draws: Draws, simulated: Simulated | None = None
    ) -> TwinState:
        """Events 1-2 of the next period, and 5 where customers come first; draws: that period's.

        simulated: the simulator after its own `open_period`.
        """
        state = self._receiving.hear(state.advanced())
        if not self.net.arrays.switches.receive_after_ship:
            state = self._receiving.receive(state, draws, at_once=False)
        if self.net.arrays.switches.demand_first:
            state, self._served = self._serve(state, self._demand(draws), draws)
        return state if simulated is None else state.anchored(simulated[0], simulated[2])

    def begin(self, flows: Flows) -> None:
        """Record what was served before the first orders, where customers come first."""
        tensor = self._tables.tensor
        self._served = tensor(flows.sold), tensor(flows.backlog_served), tensor(flows.lost)

    def _order(
        self, state: TwinState, raw: Tensor, flows: Flows | None
    ) -> tuple[TwinState, Tensor]:
        """Feasible orders join what is owed, or go on their way there."""
        ordered = torch.minimum(raw.clamp(min=0.0), self._maximum_order)
        if flows is not None:
            if self.net.arrays.switches.has_order_rules:  # closed, full or out of budget: no more
                refused = (flows.ordered <= 0.0) & (flows.raw_order > 0.0)
                ordered = ordered.masked_fill(torch.as_tensor(refused, device=ordered.device), 0.0)
            ordered = anchor(flows.ordered, ordered)
        if not self._has_delay:
            return state._replace(owed=state.owed + ordered), ordered
        heard = ordered * self._hears_at_once
        on_way = added(state.orders_on_way, self._delay, ordered - heard)
        return state._replace(owed=state.owed + heard, orders_on_way=on_way), ordered

    def _demand(self, draws: Draws) -> Tensor:
        tables = self._tables
        return tables.total(tables.pairs, self._customers, draws.demand[self._stream])

    def _serve(self, state: TwinState, demand: Tensor, draws: Draws) -> tuple[TwinState, Served]:
        available = torch.minimum(state.on_hand, self._serve_limit)
        older = torch.minimum(state.backorders, available)
        sold = torch.minimum(demand, available - older)
        unmet = demand - sold
        lost = (1.0 - self._p_wait) * unmet
        if self._whole.any:
            lost = unmet - self._whole.of_pairs(self._p_wait * unmet, draws.rounding)
        state = state._replace(
            on_hand=state.on_hand - older - sold,
            backorders=state.backorders + (unmet - lost) - older,
        )
        return state, (sold, older, lost)


class _Soon:
    """What expedited goods find: the inventory level, and what arrives before or with them."""

    def __init__(self, tables: Tables) -> None:
        arrays = tables.net.arrays
        late = int(arrays.switches.receive_after_ship)  # today's are still to come, in slot 0
        slot = np.arange(tables.net.slots)[:, None]
        counted = (slot + late >= 1) & (slot <= arrays.stocks.expedite_periods[arrays.lanes.to])
        weight = np.where(counted, arrays.lanes.expected_yield, 0.0)  # [L, Q]
        last = int(np.flatnonzero(counted.any(axis=1)).max(initial=-1)) + 1
        self._tables, self._has_any = tables, bool((arrays.stocks.expedite_periods >= 0).any())
        self._has = tables.column(arrays.stocks.expedite_periods >= 0)
        self._weight = torch.stack([tables.column(row) for row in weight])[:last]

    def position(self, level: Tensor, in_transit: Tensor) -> Tensor:
        """[P, B] of level [P, B] and in_transit [L, Q, B]; 0 where a pair has no expedite lanes."""
        if not self._has_any:
            return torch.zeros_like(level)
        due = (in_transit[: len(self._weight)] * self._weight).sum(0)
        return (level + self._tables.at_pairs(due)) * self._has
