"""Event 1 with slopes: orders due now reach their sender, shipments due now reach the shelf."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from training.twin.state import Draws, TwinState
from training.twin.tables import Tables, proportion
from training.twin.whole_units import WholeUnits


class Receiving:
    """Of one network."""

    def __init__(self, tables: Tables) -> None:
        self._tables, a = tables, tables.net.arrays
        self._has_delay = bool((a.lanes.information_delay > 0).any())
        self._at_once = tables.column(a.lanes.at_once)
        self._is_disturbed = not bool(a.lanes.plain_receipt.all())
        self._plain = tables.column(a.lanes.plain_receipt)
        self._yield_share = tables.column(a.lanes.yield_share)
        stored = np.isfinite(a.nodes.storage_capacity[a.stocks.node_of]) & (a.stocks.volume > 0)
        self._has_storage = bool(stored.any())
        self._needs_room = tables.column(stored[a.lanes.to] & ~a.lanes.plain_receipt)
        self._volume = tables.column(a.stocks.volume)
        self._capacity = tables.column(a.nodes.storage_capacity)
        self._node = tables.index(a.stocks.node_of)
        self._whole = WholeUnits(tables)
        perfect = a.factor_rows.yield_share < 0
        self._is_perfect = tables.column(perfect & (a.lanes.yield_share == 1.0)) > 0.0

    def hear(self, state: TwinState) -> TwinState:
        """Orders due now are owed."""
        if not self._has_delay:
            return state
        arrived = state.orders_on_way[:1]
        rest = torch.cat([torch.zeros_like(arrived), state.orders_on_way[1:]])
        return state._replace(owed=state.owed + arrived[0], orders_on_way=rest)

    def receive(self, state: TwinState, draws: Draws, *, at_once: bool) -> TwinState:
        """at_once: only what was shipped in this period with lead time 0."""
        due, rest = state.in_transit[0], state.in_transit[1:]
        stays = torch.zeros_like(due)
        if at_once:
            due, stays = due * self._at_once, due * (1.0 - self._at_once)
        good = due
        if self._is_disturbed:
            due, rest = self._disturb(state.on_hand, due, rest, draws, at_once)
            good = self._good(due, draws, draws.rounding)
        on_hand = state.on_hand + self._tables.at_pairs(good)
        return state._replace(on_hand=on_hand, in_transit=torch.cat([stays[None], rest]))

    def _yield(self, draws: Draws) -> Tensor:
        factor = self._tables.factor(self._tables.net.arrays.factor_rows.yield_share, draws)
        return self._yield_share if factor is None else self._yield_share * factor

    def _good(self, due: Tensor, draws: Draws, rounding: float) -> Tensor:
        """[Q, B] what is usable of it; of whole units at a node of limited room rounded down."""
        rounded = rounding * (1.0 - self._needs_room)
        good = due * self._yield(draws)
        return torch.where(self._is_perfect, good, self._whole.of_lanes(good, rounded))

    def _disturb(
        self, on_hand: Tensor, due: Tensor, rest: Tensor, draws: Draws, at_once: bool
    ) -> tuple[Tensor, Tensor]:
        """Pauses and full nodes: (what comes in now, the pipeline behind it)."""
        a, tables = self._tables.net.arrays, self._tables
        waits = torch.zeros_like(due)
        moving = tables.factor(a.factor_rows.transit, draws)
        if moving is not None:
            paused = moving == 0.0
            if at_once:
                waits = torch.where(paused, due, 0.0)
            else:  # all comes a period later; the last slot takes two
                behind = torch.cat([due[None], rest[:-1]])
                behind = torch.cat([behind[:-1], behind[-1:] + rest[-1:]])
                rest = torch.where(paused, behind, rest)
            due = torch.where(paused, 0.0, due)
        receiving = tables.factor(a.factor_rows.receiving, draws)
        if receiving is not None:
            waits = waits + torch.where(receiving == 0.0, due, 0.0)
            due = torch.where(receiving == 0.0, 0.0, due)
        if self._has_storage:
            kept_out = self._kept_out(on_hand, due, draws, at_once)
            waits, due = waits + kept_out, due - kept_out
        return due, torch.cat([rest[:1] + waits, rest[1:]])

    def _kept_out(self, on_hand: Tensor, due: Tensor, draws: Draws, at_once: bool) -> Tensor:
        """[Q, B] units that don't fit: the same share of all that is due at a node."""
        tables = self._tables
        if not at_once:  # what nothing disturbs is on the shelf already
            on_hand = on_hand + tables.at_pairs(due * self._plain)
        nodes = len(self._capacity)
        volume = self._volume[tables.to] * self._yield(draws) * due * self._needs_room
        need = tables.total(nodes, self._node[tables.to], volume)
        taken = tables.total(nodes, self._node, self._volume * on_hand)
        let_in = proportion((self._capacity - taken).clamp(min=0.0), need)
        if self._whole.any:
            comes = self._whole.let_in(due, on_hand, draws, let_in, at_once)
            return (due - comes) * self._needs_room
        return due * (1.0 - let_in[self._node[tables.to]]) * self._needs_room
