"""Weights of its own for each row of a node kind, all multiplied in one batched product.

For few rows that differ in what no feature tells. Such a model acts only on the rows it was
trained for.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from envs.errors import ArtifactError, ConfigError
from envs.observation.companions import IDENTITY
from evaluation.artifact.actor import Actor


class _RowLinear(nn.Module):
    """`nn.Linear` for each of R rows: [R, n, in] -> [R, n, out]."""

    def __init__(self, rows: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(max(inputs, 1))  # as nn.Linear draws them
        self.weight = nn.Parameter(torch.empty(rows, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(rows, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class PerNode(Actor):
    """Tanh layers, one set per row; a row says its number in its last feature."""

    form: ClassVar[str] = "per_node"

    def __init__(
        self, features: Sequence[str], action_size: int, hidden: Sequence[int], rows: int
    ) -> None:
        """features: names, the identity last. Raises ConfigError where it isn't."""
        if not features or features[-1] != IDENTITY:
            raise ConfigError(
                "model.form is per_node, but rows don't see their number; expected "
                f"'{IDENTITY}' as the last feature; set model.identity (or scenario.identity)=true."
            )
        layer = functools.partial(_RowLinear, rows)
        super().__init__(len(features), action_size, hidden, len(features) - 1, layer)
        self.rows = rows

    def forward(self, observation: Tensor) -> Tensor:
        """Mean action, not clipped: [..., F] -> [..., A], rows in any order and number.

        Raises:
            ArtifactError: a row that it was not trained for.
        """
        numbers, features = observation[..., -1], observation[..., :-1]
        rows = torch.arange(self.rows, device=numbers.device, dtype=numbers.dtype)
        is_whole_kind = observation.dim() == 3 and len(observation) == self.rows
        if is_whole_kind and bool((numbers == rows[:, None]).all()):
            mean: Tensor = self.layers(features)
            return mean
        flat = features.reshape(-1, features.shape[-1])
        answers = self._shuffled(numbers.reshape(-1).round().long(), flat)
        return answers.reshape(*numbers.shape, self.action_size)

    def _shuffled(self, number: Tensor, features: Tensor) -> Tensor:
        """[n] rows' numbers, [n, F] -> [n, A]: sorted by row, filled up to the most frequent."""
        if len(number) and (int(number.min()) < 0 or int(number.max()) >= self.rows):
            raise ArtifactError(
                f"Model per_node: got rows {int(number.min())} to {int(number.max())} of a node "
                f"kind; it was trained for rows 0 to {self.rows - 1}. Train on this network, or "
                "with model=shared_mlp, whose weights fit any number of nodes."
            )
        order = number.argsort(stable=True)
        counts = number.bincount(minlength=self.rows)
        sorted_number = number[order]
        place = torch.arange(len(number), device=number.device)
        place = place - (counts.cumsum(0) - counts)[sorted_number]
        padded = features.new_zeros(self.rows, int(counts.max()), features.shape[-1])
        padded = padded.index_put((sorted_number, place), features[order])
        answers = self.layers(padded)[sorted_number, place]
        return torch.empty_like(answers).index_copy(0, order, answers)
