"""Whole units with slopes: the simulator's own rounding (`envs.simulation.whole_units`), passed
straight through."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from envs.kernel import Handle
from envs.simulation.whole_units import LAST_DIGITS, Shipping, let_in_whole, ship_whole
from envs.types import Floats
from training.twin.state import Draws
from training.twin.tables import Tables


class WholeUnits:
    """Of one network."""

    def __init__(self, tables: Tables) -> None:
        self._tables, a = tables, tables.net.arrays
        self.any = bool(a.switches.has_whole_units)
        self._net = Handle(a)
        self._step = tables.column(np.where(a.lanes.step > 0.0, a.lanes.step, 1.0))
        self._has_step = tables.column(a.lanes.step > 0.0) > 0.0
        self._is_whole = tables.column(a.stocks.whole) > 0.0
        self._brings_whole = self._is_whole[tables.to]

    def available(self, want: Tensor) -> Tensor:
        """[Q, B] what lanes may ship, in steps."""
        steps = torch.floor(want / self._step + LAST_DIGITS) * self._step
        return torch.where(self._has_step, _through(want, steps), want)

    def of_lanes(self, units: Tensor, rounding: Tensor | float) -> Tensor:
        """[Q, B] of what lanes bring, whole; rounding: see `rounding_of`, or 0: down."""
        rounding = torch.as_tensor(rounding, dtype=units.dtype).clamp(min=LAST_DIGITS)
        return torch.where(
            self._brings_whole, _through(units, torch.floor(units + rounding)), units
        )

    def of_pairs(self, units: Tensor, rounding: float) -> Tensor:
        """[P, B] the same at pairs."""
        return torch.where(self._is_whole, _through(units, torch.floor(units + rounding)), units)

    def shipped(
        self, owed: Tensor, shipped: Tensor, on_hand: Tensor, left: Tensor | None
    ) -> Tensor:
        """[Q, B] units, whole, by largest remainder. on_hand, left: after `shipped` has gone."""
        rows, batch = shipped.shape
        resources = len(self._tables.net.arrays.resources.capacity)
        there = np.full((resources, batch), np.inf) if left is None else _numbers(left)
        whole = _numbers(shipped)
        goods = Shipping(
            _numbers(owed), whole, _numbers(on_hand), there, np.zeros(rows, bool),
            np.zeros((rows, batch)), np.zeros((3, batch)),
        )  # fmt: skip
        ship_whole(self._net, goods, 0, batch)
        return _through(shipped, torch.as_tensor(whole, dtype=shipped.dtype, device=shipped.device))

    def let_in(
        self, due: Tensor, on_hand: Tensor, draws: Draws, share: Tensor, at_once: bool
    ) -> Tensor:
        """[Q, B] units of what is due that come in at full nodes; share [N, B]."""
        comes = _numbers(due)
        let_in_whole(
            self._net, _numbers(due), _numbers(on_hand), _numbers(draws.factor), _numbers(share),
            comes, at_once,
        )  # fmt: skip
        fits = (
            due * share[self._tables.index(self._tables.net.arrays.stocks.node_of)][self._tables.to]
        )
        whole = torch.as_tensor(comes, dtype=due.dtype, device=due.device)
        return _through(fits, whole)


def _through(value: Tensor, rounded: Tensor) -> Tensor:
    return value + (rounded - value).detach()


def _numbers(values: Tensor) -> Floats:
    return values.detach().cpu().double().numpy().copy()
