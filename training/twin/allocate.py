"""How lanes share what is scarce, where it isn't in proportion to what they want: the rising level
of envs/simulation/events/allocate.py, with the slope that its equation implies.

Lane q gets min(want, [weight x level - offset]+), and all of it adds up to what is there. The level
is found without a slope; one step of Newton's method from it changes nothing but gives it one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.network.lane import Allocation
from envs.simulation.actions import SHARE_RANGE, HeadArrays
from envs.simulation.state import Flows
from training.twin.tables import CRUMB_UNITS, Tables

_FAIR_SHARE = list(Allocation).index(Allocation.fair_share)
_PRIORITY = list(Allocation).index(Allocation.priority)
_BISECTIONS = {torch.float32: 24, torch.float64: 60}  # to the last digit


class _Taker(NamedTuple):
    """A lane that takes of something scarce."""

    thing: int
    lane: int
    use: float  # units of the thing per unit on the lane
    rule: int
    head: int  # of the action, -1: none


class ScarceStock:
    """Takers of things that are shared by a rule: pairs first, then resources by priority."""

    def __init__(self, tables: Tables, heads: HeadArrays) -> None:
        a = tables.net.arrays
        self._tables, self._things = tables, tables.pairs + len(a.resources.capacity)
        limited = (
            (a.resources.capacity < np.inf) | (a.factor_rows.capacity >= 0)
        ) & ~a.resources.limits_orders
        takers = [
            _Taker(int(p), int(a.stocks.outbound.index[i]), float(a.stocks.outbound.value[i]),
                   int(a.stocks.allocation[p]), int(heads.weight_head[i]))
            for p in np.flatnonzero(~a.stocks.shares_simply)
            for i in range(a.stocks.outbound.pointer[p], a.stocks.outbound.pointer[p + 1])
        ]  # fmt: skip
        users = a.resources.users
        takers += [
            _Taker(tables.pairs + int(r), int(users.index[i]), float(users.value[i]), _PRIORITY, -1)
            for r in np.flatnonzero(a.resources.by_priority & limited)
            for i in range(users.pointer[r], users.pointer[r + 1])
        ]  # fmt: skip
        self.has_rules = bool(takers)
        if not takers:
            return
        thing, lane, use, rule, head = map(np.array, zip(*takers, strict=True))
        self._thing, self._lane = tables.index(thing), tables.index(lane)
        self._use = tables.column(use)
        self._is_fair = tables.column(rule == _FAIR_SHARE) > 0.0
        self._rank = tables.column(np.where(rule == _PRIORITY, a.lanes.priority[lane], 0.0))
        self._rate = tables.column(a.stocks.demand_rate[a.lanes.to[lane]])
        self._to = tables.index(a.lanes.to[lane])
        self._has_heads = bool((head >= 0).any())
        self._has_head = tables.column(head >= 0)
        self._head = tables.index(np.maximum(head, 0))
        self._pair = tables.index(np.minimum(thing, tables.pairs - 1))

    def limit(
        self, want: Tensor, on_hand: Tensor, left: Tensor | None, stock: Tensor,
        action: Tensor | None, flows: Flows | None,
    ) -> Tensor:  # fmt: skip
        """[Q, B] what each lane gets at most.

        stock [P, B]: on hand and on the way to a pair, less what waits.
        flows: the simulator's, where its limits are of this round: the level is read off them.
        """
        if left is None:
            left = on_hand.new_zeros(self._things - self._tables.pairs, on_hand.shape[1])
        there = torch.cat([on_hand, left])
        wanted = want[self._lane]
        need = self._sum(self._use * wanted)
        weight = torch.where(self._is_fair, self._rate, wanted)
        offset = torch.where(self._is_fair, stock[self._to], self._rank * wanted)
        if self._has_heads and action is not None:
            moved = SHARE_RANGE * action[self._pair, self._head] * self._has_head
            weight = weight * moved.exp()
        with torch.no_grad():
            if flows is None:
                rising = self._bisect(there, weight, offset, wanted)
            else:
                rising = self._read_off(flows, weight, offset, wanted)
            rising = rising + self._newton(rising, there, weight, offset, wanted)
            line = weight * rising[self._thing] - offset
            full, inside = line >= wanted, (line > 0.0) & (line < wanted)
            inside &= wanted > CRUMB_UNITS
            slope = self._sum(self._use * weight * inside)
            value = _part(weight, rising[self._thing], offset, wanted)

        def parts(level: Tensor) -> Tensor:
            # Who gets nothing has no slope: a clamp would have one at exactly 0.
            line = weight * level[self._thing] - offset
            return torch.where(inside, line, torch.where(full, wanted, 0.0))

        missing = there - self._sum(self._use * parts(rising))
        step = torch.where(slope > 0.0, missing / torch.where(slope > 0.0, slope, 1.0), 0.0)
        part = parts(rising + step)
        part = value + (part - part.detach())
        part = torch.where((need > there)[self._thing], part, wanted)
        index = self._lane[:, None].expand_as(part)
        return want.scatter_reduce(0, index, part, "amin")

    def _newton(
        self, level: Tensor, there: Tensor, weight: Tensor, offset: Tensor, wanted: Tensor
    ) -> Tensor:
        """The step that makes what is given out what is there."""
        line = weight * level[self._thing] - offset
        slope = self._sum(self._use * weight * ((line > 0.0) & (line < wanted)))
        missing = there - self._sum(self._use * _part(weight, level[self._thing], offset, wanted))
        return torch.where(slope > 0.0, missing / torch.where(slope > 0.0, slope, 1.0), 0.0)

    def _sum(self, values: Tensor) -> Tensor:
        return values.new_zeros(self._things, values.shape[1]).index_add(0, self._thing, values)

    def _read_off(self, flows: Flows, weight: Tensor, offset: Tensor, wanted: Tensor) -> Tensor:
        """The level from the simulator's limits: the highest that a lane with a part stands for."""
        limit = torch.tensor(flows.limit, dtype=wanted.dtype, device=wanted.device)[self._lane]
        part = torch.minimum(limit, wanted)
        stands = torch.where(part > 0.0, (part + offset) / weight.clamp(min=1e-30), -1e30)
        lowest = stands.new_full((self._things, stands.shape[1]), -1e30)
        return lowest.scatter_reduce(
            0, self._thing[:, None].expand_as(stands), stands, "amax"
        ).clamp(min=-1e9)

    def _bisect(self, there: Tensor, weight: Tensor, offset: Tensor, wanted: Tensor) -> Tensor:
        index = self._thing[:, None].expand_as(wanted)
        known = wanted > 0.0
        safe = weight.clamp(min=1e-30)
        begins = torch.where(known, offset / safe, 1e30)
        ends = torch.where(known, (offset + wanted) / safe, -1e30)
        shape = (self._things, wanted.shape[1])
        low = wanted.new_full(shape, 1e30).scatter_reduce(0, index, begins, "amin")
        high = wanted.new_full(shape, -1e30).scatter_reduce(0, index, ends, "amax")
        low, high = torch.minimum(low, high), torch.maximum(low, high)
        low, high = low.clamp(-1e9, 1e9), high.clamp(-1e9, 1e9)
        for _ in range(_BISECTIONS[wanted.dtype]):
            middle = 0.5 * (low + high)
            much = self._sum(self._use * _part(weight, middle[self._thing], offset, wanted)) > there
            high = torch.where(much, middle, high)
            low = torch.where(much, low, middle)
        return low


def _part(weight: Tensor, level: Tensor, offset: Tensor, wanted: Tensor) -> Tensor:
    return torch.minimum((weight * level - offset).clamp(min=0.0), wanted)
