"""Event 4 with slopes: lanes ship what is owed, as far as inputs, resources and regimes allow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.simulation.actions import HeadArrays
from envs.simulation.state import Flows
from training.twin.allocate import ScarceStock
from training.twin.state import Draws, TwinState, anchor
from training.twin.tables import Entries, Tables, proportion
from training.twin.whole_units import WholeUnits


class Shipment(NamedTuple):
    """Units [Q, B]."""

    shipped: Tensor
    cancelled: Tensor


class Shipping:
    """Of one network."""

    def __init__(self, tables: Tables, heads: HeadArrays) -> None:
        self._tables, a = tables, tables.net.arrays
        limited = (
            (a.resources.capacity < np.inf) | (a.factor_rows.capacity >= 0)
        ) & ~a.resources.limits_orders
        self._any_limited = bool(limited.any())
        self._capacity = tables.column(a.resources.capacity)
        self._inputs = tables.entries(a.lanes.inputs)
        uses = tables.entries(a.lanes.uses)
        keep = torch.as_tensor(limited[a.lanes.uses.index], device=tables.device)
        self._limits = Entries(uses.row[keep], uses.column[keep], uses.value[keep])
        self._shared = self._places(limited & ~a.resources.by_priority)
        self._scarce = ScarceStock(tables, heads)
        self._whole = WholeUnits(tables)
        self._lead = tables.index(a.lanes.lead_time)[:, None]
        self._drawn = tables.index(np.flatnonzero(a.lanes.lead_row >= 0))
        self._draw = tables.index(a.lanes.lead_row[a.lanes.lead_row >= 0])
        self._splits = bool((a.lanes.split_share > 0).any())
        self._split_share = tables.column(a.lanes.split_share)
        self._split_delay = tables.index(a.lanes.split_delay)[:, None]

    def _places(self, resources: np.ndarray) -> list[Tensor]:
        """Per lane the 1st, 2nd ... thing it shares in proportion [Q]: pairs are numbered first,
        then resources, then nothing."""
        tables, a = self._tables, self._tables.net.arrays
        shared: list[list[int]] = []
        for q in range(tables.lanes):
            pairs = a.lanes.inputs.index[a.lanes.inputs.pointer[q] : a.lanes.inputs.pointer[q + 1]]
            used = a.lanes.uses.index[a.lanes.uses.pointer[q] : a.lanes.uses.pointer[q + 1]]
            of_pairs = [int(p) for p in pairs if a.stocks.shares_simply[p]]
            shared.append(of_pairs + [tables.pairs + int(r) for r in used if resources[r]])
        table = np.full(
            (max(map(len, shared)), tables.lanes), tables.pairs + len(a.resources.capacity)
        )
        for q, row in enumerate(shared):
            table[: len(row), q] = row
        return [tables.index(row) for row in table]

    def ship(
        self, state: TwinState, level: Tensor, draws: Draws, action: Tensor | None,
        flows: Flows | None,
    ) -> tuple[TwinState, Shipment]:  # fmt: skip
        """Ship what is owed.

        level [P, B]: `Positions.inventory_level` when orders were placed.
        action [P, A, B]: for learned weights.
        flows: the simulator's.
        """
        a, tables = self._tables.net.arrays, self._tables
        on_hand, owed = state.on_hand, state.owed
        usable = tables.factor(a.factor_rows.availability, draws)
        full = owed if usable is None else self._whole.available(owed * usable)
        left = self._open_resources(draws, owed.shape[1])
        shipped = torch.zeros_like(owed)
        for done in range(a.switches.ship_rounds):
            want = self._want_less(full - shipped, on_hand, left) if done else full
            share = self._share_out(want, on_hand, left)
            if self._scarce.has_rules:
                stock = level + tables.at_pairs(state.in_transit.sum(0) + shipped)
                read_off = flows if a.switches.ship_rounds == 1 else None
                limit = self._scarce.limit(want, on_hand, left, stock, action, read_off)
                share = torch.minimum(share, limit)
            shipped = shipped + share if done else share
            on_hand = _less(on_hand, self._inputs, share, tables)
            left = None if left is None else _less(left, self._limits, share, tables)
        if flows is None and self._whole.any:
            shipped = self._whole.shipped(owed, shipped, on_hand, left)
            on_hand = _less(state.on_hand, self._inputs, shipped, tables)
        shipped = anchor(None if flows is None else flows.shipped, shipped)
        owed = owed - shipped
        cancelled = torch.zeros_like(owed)
        if a.switches.cancel_unfilled:
            owed, cancelled = cancelled, owed
        in_transit = self._send(state.in_transit, shipped, draws)
        state = state._replace(on_hand=on_hand, owed=owed, in_transit=in_transit)
        return state, Shipment(shipped, cancelled)

    def _open_resources(self, draws: Draws, batch: int) -> Tensor | None:
        if not self._any_limited:
            return None
        factor = self._tables.factor(self._tables.net.arrays.factor_rows.capacity, draws)
        if factor is None:
            return self._capacity.expand(-1, batch)
        return torch.where(factor > 0.0, self._capacity * factor, 0.0)

    def _want_less(self, want: Tensor, on_hand: Tensor, left: Tensor | None) -> Tensor:
        """In a later round: no more than the other lanes left."""
        want = want.clamp(min=0.0)
        for entries, there in ((self._inputs, on_hand), (self._limits, left)):
            if there is not None and len(entries.row):
                most = there[entries.column] / entries.value
                index = entries.row[:, None].expand_as(most)
                want = want.scatter_reduce(0, index, most, "amin")
        return want

    def _share_out(self, want: Tensor, on_hand: Tensor, left: Tensor | None) -> Tensor:
        """Each lane's part of the scarcest thing that it shares in proportion."""
        if not self._shared:
            return want
        parts = [proportion(on_hand, _need(self._inputs, want, len(on_hand), self._tables))]
        if left is None:
            parts.append(want.new_ones(len(self._capacity), want.shape[1]))
        else:
            parts.append(proportion(left, _need(self._limits, want, len(left), self._tables)))
        parts.append(torch.ones_like(want[:1]))
        proportions = torch.cat(parts)
        least = proportions[self._shared[0]]
        for place in self._shared[1:]:
            least = torch.minimum(least, proportions[place])
        return want * least

    def _send(self, in_transit: Tensor, shipped: Tensor, draws: Draws) -> Tensor:
        lead = self._lead
        if len(self._drawn):
            lead = lead.expand(-1, shipped.shape[1]).index_copy(
                0, self._drawn, draws.lead_time[self._draw]
            )
        if not self._splits:
            return added(in_transit, lead, shipped)
        late = self._whole.of_lanes(self._split_share * shipped, draws.rounding)
        in_transit = added(in_transit, lead, shipped - late)
        return added(in_transit, (lead + self._split_delay) % len(in_transit), late)


def _need(entries: Entries, want: Tensor, rows: int, tables: Tables) -> Tensor:
    return tables.total(rows, entries.column, entries.value * want[entries.row])


def _less(there: Tensor, entries: Entries, share: Tensor, tables: Tables) -> Tensor:
    """What lanes leave of it."""
    if not len(entries.row):
        return there
    return (there - _need(entries, share, len(there), tables)).clamp(min=0.0)


def added(pipeline: Tensor, ahead: Tensor, values: Tensor) -> Tensor:
    """values [Q, B] join the pipeline [L, Q, B], ahead [Q, 1 or B] periods from now."""
    return pipeline.scatter_add(0, ahead.expand_as(values)[None], values[None])
