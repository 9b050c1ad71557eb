"""How lanes share what is scarce, where it isn't in proportion to what they want: the rising level
of envs/events/allocate.py, with the slope that its equation implies.

Lane q gets min(want, [weight x level - offset]+), and all of it adds up to what is there. The level
is found without a slope; one step of Newton's method from it changes nothing but gives it one.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from envs.actions import SHARE_RANGE, HeadArrays
from envs.compiled import CompiledNetwork
from envs.network import Allocation
from envs.state import Flows

__all__ = ["ScarceStock"]

_FAIR_SHARE = list(Allocation).index(Allocation.fair_share)
_PRIORITY = list(Allocation).index(Allocation.priority)
_BISECTIONS = 60


class ScarceStock:
    """Takers of things that are shared by a rule: pairs first, then resources by priority."""

    def __init__(
        self, net: CompiledNetwork, heads: HeadArrays, dtype: torch.dtype, device: str
    ) -> None:
        a = net.arrays
        self._device, self._dtype = device, dtype
        self._pairs = len(a.holding_cost)
        self._things = self._pairs + len(a.capacity)
        thing, lane, use, rule, head, ahead = [], [], [], [], [], []
        for p in np.flatnonzero(~a.shares_simply):
            for i in range(a.outbound.pointer[p], a.outbound.pointer[p + 1]):
                q = int(a.outbound.index[i])
                thing.append(int(p))
                lane.append(q)
                use.append(a.outbound.value[i])
                rule.append(int(a.allocation[p]))
                head.append(int(heads.weight_head[i]))
                ahead.append(float(a.priority[q]))
        limited = ((a.capacity < np.inf) | (a.capacity_row >= 0)) & ~a.limits_orders
        for r in np.flatnonzero(a.capacity_by_priority & limited):
            for i in range(a.users.pointer[r], a.users.pointer[r + 1]):
                q = int(a.users.index[i])
                thing.append(self._pairs + int(r))
                lane.append(q)
                use.append(a.users.value[i])
                rule.append(_PRIORITY)
                head.append(-1)
                ahead.append(float(a.priority[q]))
        self.rules = bool(thing)
        if not self.rules:
            return
        places = np.array(head)
        self._thing, self._lane = self._index(thing), self._index(lane)
        self._use = self._column(use)
        fair = np.array(rule) == _FAIR_SHARE
        rank = np.where(np.array(rule) == _PRIORITY, ahead, 0.0)
        self._fair, self._rank = self._column(fair), self._column(rank)
        self._rate = self._column(a.demand_rate[a.lane_to[lane]])
        self._to, self._to_all = self._index(a.lane_to[lane]), self._index(a.lane_to)
        self._has_heads = bool((places >= 0).any())
        self._has_head = self._column(places >= 0)
        self._head, self._pair = (
            self._index(np.maximum(places, 0)),
            self._index(np.minimum(thing, self._pairs - 1)),
        )
        self._several = a.ship_rounds > 1
        self._lanes = len(a.lane_to)

    def _index(self, values: object) -> Tensor:
        return torch.as_tensor(np.array(values, np.int64), device=self._device)

    def _column(self, values: object) -> Tensor:
        return torch.as_tensor(np.array(values, float), dtype=self._dtype, device=self._device)[
            :, None
        ]

    def limit(
        self, want: Tensor, on_hand: Tensor, left: Tensor | None, level: Tensor, on_way: Tensor,
        shipped: Tensor, action: Tensor | None, flows: Flows | None,
    ) -> Tensor:  # fmt: skip
        """[Q, B] what each lane gets at most. flows: the simulator's, where its limits are of this
        round; the rising level is then read off them."""
        there = on_hand if left is None else torch.cat([on_hand, left])
        if left is None and self._things > self._pairs:
            rest = on_hand.new_zeros(self._things - self._pairs, on_hand.shape[1])
            there = torch.cat([on_hand, rest])
        wanted = want[self._lane]
        need = self._sum(self._use * wanted)
        stock = level.index_add(0, self._to_all, on_way)
        if self._several:
            stock = stock.index_add(0, self._to_all, shipped)
        weight = torch.where(self._fair > 0, self._rate.expand_as(wanted), wanted)
        offset = torch.where(self._fair > 0, stock[self._to], self._rank * wanted)
        if self._has_heads and action is not None:
            moved = (SHARE_RANGE * action[self._pair, self._head] * self._has_head).exp()
            weight = weight * moved
        with torch.no_grad():
            if flows is None:
                rising = self._bisect(there, weight, offset, wanted)
            else:
                rising = self._read_off(flows, weight, offset, wanted)
            line = weight * rising[self._thing] - offset
            inside = (line > 0.0) & (line < wanted)
            slope = self._sum(self._use * weight * inside)
        given = self._sum(self._use * _part(weight, rising[self._thing], offset, wanted))
        step = torch.where(slope > 0.0, (there - given) / torch.where(slope > 0.0, slope, 1.0), 0.0)
        part = _part(weight, (rising + step)[self._thing], offset, wanted)
        scarce = (need > there)[self._thing]
        part = torch.where(scarce, part, wanted)
        index = self._lane[:, None].expand_as(part)
        return want.scatter_reduce(0, index, part, "amin")

    def _sum(self, values: Tensor) -> Tensor:
        return values.new_zeros(self._things, values.shape[1]).index_add(0, self._thing, values)

    def _read_off(self, flows: Flows, weight: Tensor, offset: Tensor, wanted: Tensor) -> Tensor:
        """The level from the simulator's limits: the highest that a lane with a part stands for."""
        limit = torch.tensor(flows.limit, dtype=self._dtype, device=self._device)[self._lane]
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
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            much = self._sum(self._use * _part(weight, middle[self._thing], offset, wanted)) > there
            high = torch.where(much, middle, high)
            low = torch.where(much, low, middle)
        return low


def _part(weight: Tensor, level: Tensor, offset: Tensor, wanted: Tensor) -> Tensor:
    return torch.minimum((weight * level - offset).clamp(min=0.0), wanted)
