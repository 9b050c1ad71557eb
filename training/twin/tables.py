"""The network as the twin sees it: tensors of its arrays, and sums over them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.compiled.arrays import Csr
from envs.compiled.network import CompiledNetwork
from training.twin.state import Draws

CRUMB_UNITS = 1e-6  # what is less is rounding


class Entries(NamedTuple):
    """A sparse matrix: rows and columns [n], values [n, 1]."""

    row: Tensor
    column: Tensor
    value: Tensor


class Tables:
    """Makes tensors of a network's arrays, of one type on one device."""

    def __init__(self, net: CompiledNetwork, dtype: torch.dtype, device: str) -> None:
        self.net, self.dtype, self.device = net, dtype, device
        self.pairs, self.lanes = len(net.arrays.stocks.holding_cost), len(net.arrays.lanes.to)
        self.to = self.index(net.arrays.lanes.to)

    def index(self, values: Any) -> Tensor:
        """Whole numbers [n]."""
        return torch.as_tensor(np.array(values, np.int64), device=self.device)

    def tensor(self, values: Any) -> Tensor:
        """A copy of numbers of any shape."""
        return torch.tensor(values, dtype=self.dtype, device=self.device)

    def column(self, values: Any) -> Tensor:
        """Numbers [n] as [n, 1], to multiply [n, B] by."""
        return self.tensor(np.array(values, float))[:, None]

    def entries(self, matrix: Csr) -> Entries:
        """All entries of a sparse matrix, row by row."""
        rows = np.repeat(np.arange(len(matrix.pointer) - 1), np.diff(matrix.pointer))
        return Entries(self.index(rows), self.index(matrix.index), self.column(matrix.value))

    def total(self, rows: int, index: Tensor, values: Tensor) -> Tensor:
        """[rows, B]: values [n, B] summed by the row they belong to."""
        return values.new_zeros(rows, values.shape[1]).index_add(0, index, values)

    def at_pairs(self, values: Tensor) -> Tensor:
        """[P, B]: values of lanes [Q, B] summed where the lanes lead to."""
        return self.total(self.pairs, self.to, values)

    def factor(self, rows: np.ndarray, draws: Draws) -> Tensor | None:
        """[len(rows), B] of the period's factors, 1 where a row is -1; None: all are 1."""
        if not (rows >= 0).any():
            return None
        one = torch.ones_like(draws.factor[:1])
        return torch.cat([one, draws.factor])[self.index(rows + 1)]


def proportion(available: Tensor, need: Tensor) -> Tensor:
    """available / need where scarce, else 1. Residual quantities get no slope: it has no bound."""
    scarce, is_residual = need > available, need <= CRUMB_UNITS
    slopes = scarce & ~is_residual
    share = torch.where(slopes, available / torch.where(slopes, need, 1.0), 1.0)
    with torch.no_grad():
        residual = available / torch.where(scarce & is_residual, need, 1.0)
    return torch.where(scarce & is_residual, residual, share)
