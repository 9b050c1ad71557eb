"""A row that remembers: a gated recurrent unit over the last periods' demand.

GRU of Cho et al. 2014, run anew over the window in every period: the model needs no state between
periods, so that serving, shuffled training rows and interrupted episodes stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from envs.errors import ConfigError
from evaluation.artifact.actor import Actor

_UNITS = 16  # of the hidden state


class Recurrent(Actor):
    """The state after the window's last period, beside all other features, into tanh layers."""

    form: ClassVar[str] = "recurrent"

    def __init__(
        self, features: Sequence[str], action_size: int, hidden: Sequence[int], rows: int = 0
    ) -> None:
        """features: names, with demand_2_ago and on. Raises ConfigError where there are none."""
        names = list(features)
        if "demand_2_ago" not in names or "demand_last" not in names:
            raise ConfigError(
                "model.form is recurrent, but rows see no window of demand; expected at least 2 "
                "periods; set model.memory (or scenario.memory) to 2 or more."
            )
        first = last = names.index("demand_2_ago")
        while last < len(names) and names[last] == f"demand_{last - first + 2}_ago":
            last += 1
        others = len(names) - (last - first)
        super().__init__(len(names), action_size, hidden, others + _UNITS)
        self._parts = [first, last - first, len(names) - last]
        self._newest = names.index("demand_last")
        self.memory = nn.GRU(1, _UNITS, batch_first=True)

    def forward(self, observation: Tensor) -> Tensor:
        """Mean action, not clipped: [..., F] -> [..., A]."""
        first, before, last = observation.split(self._parts, dim=-1)
        newest = observation[..., self._newest : self._newest + 1]
        window = torch.cat((before.flip(-1), newest), dim=-1)
        _, state = self.memory(window.reshape(-1, window.shape[-1], 1))
        state = state.reshape(*observation.shape[:-1], _UNITS)
        mean: Tensor = self.layers(torch.cat((first, last, state), dim=-1))
        return mean
