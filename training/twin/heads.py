"""Actions to raw orders on lanes, with slopes: `envs.simulation.events.order.decide` once more.

What has no slope stays as the simulator decided it: whether a gate was open, which lanes
had negligible shares.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from envs.simulation.actions import (
    CAP_RANGE,
    LEAST_SHARE,
    LEVEL,
    LEVEL_RANGE,
    NEGLIGIBLE_SHARE,
    SHARE_RANGE,
    SMOOTHING_BOUNDS,
    Decision,
    HeadArrays,
)
from envs.simulation.state import Flows
from training.twin.tables import Tables

_SLOWEST, _FASTEST = SMOOTHING_BOUNDS


class _Clip(torch.autograd.Function):
    """Clip to [-1, 1]; beyond, only the part of a slope that leads back inside."""

    @staticmethod
    def forward(ctx, action: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(action)
        return action.clamp(-1.0, 1.0)

    @staticmethod
    def backward(ctx, slope: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        (action,) = ctx.saved_tensors
        outward = ((action > 1.0) & (slope < 0.0)) | ((action < -1.0) & (slope > 0.0))
        return slope.masked_fill(outward, 0.0)


def clip_action(action: Tensor) -> Tensor:
    """Clip to [-1, 1], as the simulator gets it; a mean beyond can still find its way back."""
    clipped: Tensor = _Clip.apply(action)
    return clipped


class RawOrders:
    """The heads of one network."""

    def __init__(self, tables: Tables, heads: HeadArrays) -> None:
        self._tables, arrays = tables, tables.net.arrays
        self._pairs, self._simple = len(heads.simple), bool(heads.simple.all())
        self._to = tables.to
        if self._simple:
            return
        fast = arrays.lanes.expedite
        self._fast = torch.as_tensor(fast.copy(), device=tables.device)[:, None]
        self._group = tables.index(arrays.lanes.to * 2 + fast)  # lanes of one speed to a pair
        self._base = tables.column(tables.net.base_share)
        self._yields = tables.column(heads.yields)
        self._place = {
            name: self._rows(getattr(heads, name))
            for name in ("expedite", "cap", "smoothing")
            if (getattr(heads, name) >= 0).any()
        }
        self._expedites = tables.column(heads.expedite >= 0)
        self._expedite_scale = tables.column(heads.expedite_scale)
        shares = heads.share_head >= 0
        self._shared = torch.as_tensor(shares[:, None].copy(), device=tables.device)
        self._share_head = tables.index(np.where(shares, heads.share_head, 0))
        self._has_shares = bool(shares.any())
        self._gated = torch.as_tensor((heads.gate >= 0) | heads.by_rule, device=tables.device)[
            :, None
        ]
        self._has_gates = bool((heads.gate >= 0).any()) or heads.by_rule

    def _rows(self, place: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """(pairs, their place of a head, 1 where they have it [P, 1])."""
        has = place >= 0
        rows = np.arange(len(place))
        tables = self._tables
        return tables.index(rows), tables.index(np.where(has, place, 0)), tables.column(has)

    def _head(self, name: str, action: Tensor) -> Tensor | None:
        """[P, B] of action [P, A, B], 0 where a pair has no such head."""
        if name not in self._place:
            return None
        rows, place, has = self._place[name]
        return action[rows, place] * has

    def of(
        self,
        action: Tensor,
        order: Tensor,
        expedite: Tensor | None,
        spread: Tensor,
        decision: Decision,
        flows: Flows,
    ) -> Tensor:
        """[Q, B] units requested on every lane.

        action [P, A, B] in [-1, 1]; order, expedite, spread [P, B] units: the base policy's;
        decision: its other targets; flows: the simulator's, of the period (which gates were open).
        """
        moved = order + LEVEL_RANGE * action[:, LEVEL] * spread
        if self._simple:
            return moved.clamp(min=0.0)[self._to]
        quick = self._quick(action, expedite, spread)
        regular = (moved if quick is None else moved - quick).clamp(min=0.0)
        regular = self._limit(regular, action, decision)
        if self._has_gates:
            requested = self._tables.tensor(flows.raw_order).masked_fill(self._fast, 0.0)
            total = torch.zeros_like(regular).index_add(0, self._to, requested)
            regular = regular.masked_fill(self._gated & (total <= 0.0), 0.0)
        wanted = regular[self._to]
        if quick is not None:
            wanted = torch.where(self._fast, quick[self._to], wanted)
        else:
            wanted = wanted.masked_fill(self._fast, 0.0)
        return wanted * self._shares(action, decision) / self._yields

    def _quick(self, action: Tensor, expedite: Tensor | None, spread: Tensor) -> Tensor | None:
        if expedite is None:
            return None
        head = self._head("expedite", action)
        if head is None:
            return None
        moved = expedite + LEVEL_RANGE * head * spread * self._expedite_scale
        return moved.clamp(min=0.0) * self._expedites

    def _limit(self, quantity: Tensor, action: Tensor, decision: Decision) -> Tensor:
        """Smoothing and cap."""
        smoothing = self._head("smoothing", action)
        rho: Tensor | float = 1.0
        if decision.smoothing.size:
            rho = self._tables.tensor(decision.smoothing)
        if smoothing is not None:
            up, down = smoothing.clamp(min=0.0), smoothing.clamp(max=0.0)
            rho = rho + up * (_FASTEST - rho) + down * (rho - _SLOWEST)
        if smoothing is not None or decision.smoothing.size:
            quantity = quantity * rho
        if decision.cap.size:
            cap = self._tables.tensor(decision.cap)
            head = self._head("cap", action)
            quantity = torch.minimum(
                quantity, cap if head is None else cap * (CAP_RANGE * head).exp()
            )
        return quantity

    def _shares(self, action: Tensor, decision: Decision) -> Tensor:
        """[Q, B or 1] of the lanes of one speed to a pair; they add up to 1."""
        base = self._tables.tensor(decision.lane_share) if decision.lane_share.size else self._base
        share = base / self._sums(base).clamp(min=1e-300 if base.dtype == torch.float64 else 1e-30)
        if self._has_shares:
            moved = (SHARE_RANGE * action[self._to, self._share_head]).exp()
            share = torch.where(self._shared, share.clamp(min=LEAST_SHARE) * moved, share)
        share = torch.where(
            share.detach() < NEGLIGIBLE_SHARE * self._sums(share.detach()), 0.0, share
        )
        return share / self._sums(share).clamp(min=1e-30)

    def _sums(self, values: Tensor) -> Tensor:
        """Over the lanes of one speed to the same pair, back at every lane."""
        total = values.new_zeros(2 * self._pairs, values.shape[1])
        return total.index_add(0, self._group, values)[self._group]
