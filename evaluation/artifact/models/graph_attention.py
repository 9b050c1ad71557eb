"""A row that looks at its companions: neighbours along lanes, or the other SKUs of its node.

Scaled dot-product attention with several heads (Vaswani et al. 2017, eq. 1) over neighbours in a
graph (Velickovic et al. 2018): a weighted mean, so that neither the order nor the number of the
companions has to be that of training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from envs.errors import ConfigError
from envs.observation.companions import COMPANION_FLAGS
from evaluation.artifact.actor import Actor

_HEADS = 4
_UNITS = 16  # that a companion is embedded in


class GraphAttention(Actor):
    """Own features ask, companions answer; tanh layers take both.

    A head's score of a companion is q.(W k) / sqrt(d); W is the same for all rows, so it is made
    part of the map to the query, and keys and values are one embedding.
    """

    form: ClassVar[str] = "graph_attention"

    def __init__(
        self, features: Sequence[str], action_size: int, hidden: Sequence[int], rows: int = 0
    ) -> None:
        """features: names, with companions. Raises ConfigError where there are none."""
        places = [i for i, name in enumerate(features) if name.startswith("companion_")]
        flagged = [i for i in places if features[i].endswith(COMPANION_FLAGS[-1])]
        if not flagged:
            raise ConfigError(
                "model.form is graph_attention, but rows see no companions; expected some; set "
                "model.companions (or scenario.companions) to 1 or more."
            )
        own = len(features) - len(places)
        super().__init__(len(features), action_size, hidden, own + _HEADS * _UNITS)
        self._parts = [places[0], len(places), own - places[0]]
        self._size = len(places) // len(flagged)
        self.embed = nn.Linear(self._size, _UNITS)
        self.query = nn.Linear(own, _HEADS * _UNITS)

    def forward(self, observation: Tensor) -> Tensor:
        """Mean action, not clipped: [..., F] -> [..., A]."""
        own, companions, more = observation.split(self._parts, dim=-1)
        if more.shape[-1]:
            own = torch.cat((own, more), dim=-1)
        heard = self._attend(own, companions.unflatten(-1, (-1, self._size)))
        mean: Tensor = self.layers(torch.cat((own, heard), dim=-1))
        return mean

    def _attend(self, own: Tensor, companions: Tensor) -> Tensor:
        """Heads: [..., F], [..., K, size] -> [..., heads x units]; 0 without companions."""
        is_there = (companions[..., -len(COMPANION_FLAGS) :] != 0.0).any(-1)
        filled = is_there.reshape(-1, is_there.shape[-1]).any(0).nonzero()
        used = int(filled.max()) + 1 if len(filled) else 0  # no row here sees more
        is_there = is_there[..., None, :used]
        known = torch.tanh(self.embed(companions[..., :used, :]))  # [..., K, units]
        query = self.query(own).unflatten(-1, (_HEADS, _UNITS))
        scores = query @ known.transpose(-1, -2) / math.sqrt(_UNITS)  # [..., heads, K]
        weights = scores.masked_fill(~is_there, -1e9).softmax(-1)
        return ((weights * is_there) @ known).flatten(-2)  # 0 without companions
