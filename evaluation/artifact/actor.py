"""The model that acts: one per node kind, shared over its rows; tanh layers in its plainest form.

Other forms (evaluation/artifact/models/) read the row in another way first; the tanh layers follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import nn

from envs.errors import ArtifactError, NonFiniteError
from envs.types import Floats32


class RowGroup(Protocol):
    """What the policy needs to know of one node kind (``envs.environment.batched_env.Group`` has
    it)."""

    @property
    def name(self) -> str: ...  # node kind
    @property
    def start(self) -> int: ...  # first row of P
    @property
    def stop(self) -> int: ...  # one past the last row of P
    @property
    def action_size(self) -> int: ...  # heads this kind uses


class Actor(nn.Module):
    """Observation [..., F] -> mean action [..., A], each row on its own.

    The last layer starts at zero: the untrained actor answers 0, which is the base policy. The
    critic has the same form with one output.
    """

    form: ClassVar[str] = "mlp"  # its name in `evaluation.artifact.models.MODELS`
    rows: int = 0  # of the node kind, where each has weights of its own

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        hidden: Sequence[int] = (64, 64),
        inputs: int | None = None,
        linear: Callable[[int, int], nn.Module] = nn.Linear,
    ) -> None:
        """inputs: of the first layer, where a form makes something else of the observation.
        linear: makes a layer of so many inputs and outputs."""
        super().__init__()
        self.observation_size = observation_size
        self.action_size = action_size
        self.hidden = tuple(hidden)
        sizes = (observation_size if inputs is None else inputs, *self.hidden)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [linear(before, after), nn.Tanh()]
        self.layers = nn.Sequential(*layers, linear(sizes[-1], action_size))
        self.answer_zero()

    def answer_zero(self) -> None:
        """Answer 0 from now on: be the base policy."""
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Mean action, not clipped: [..., F] -> [..., A]."""
        mean: torch.Tensor = self.layers(observation)
        return mean


class TorchPolicy:
    """The deterministic policy {node kind: Actor}, called with NumPy arrays.

    It holds no row numbers: the same policy acts in any network with these node kinds.
    """

    def __init__(self, actors: Mapping[str, Actor]) -> None:
        self.actors = {name: actor.eval() for name, actor in actors.items()}

    def act(self, observation: Floats32, groups: Sequence[RowGroup]) -> Floats32:
        """Mean action in [-1, 1]: [P, F, B] -> [P, A, B], A the largest of the groups.

        Heads that a group does not use stay 0. Raises ArtifactError when a group has no actor
        or another size, NonFiniteError when a model answers NaN or infinity.
        """
        rows, _, batch = observation.shape
        heads = max((group.action_size for group in groups), default=0)
        action = np.zeros((rows, heads, batch), dtype=np.float32)
        for group in groups:
            rows_of_group = slice(group.start, group.stop)
            actor = self._actor(group, observation.shape[1])
            mean = _mean(actor, observation[rows_of_group])
            if not np.isfinite(mean).all():
                raise NonFiniteError(
                    f"Policy of node kind '{group.name}': an action is NaN or infinite; expected "
                    "finite numbers. Check the observation for non-finite values, then the "
                    "weights."
                )
            np.clip(mean, -1.0, 1.0, out=action[rows_of_group, : group.action_size])
        return action

    def _actor(self, group: RowGroup, features: int) -> Actor:
        actor = self.actors.get(group.name)
        if actor is None:
            raise ArtifactError(
                f"Policy: no actor for node kind '{group.name}'; it has: "
                f"{', '.join(sorted(self.actors))}. Train on a network with this node kind."
            )
        got = (features, group.action_size)
        wanted = (actor.observation_size, actor.action_size)
        if got != wanted:
            raise ArtifactError(
                f"Policy of node kind '{group.name}': got {got[0]} features and {got[1]} action "
                f"heads; expected {wanted[0]} and {wanted[1]}. Use the observation and action "
                "settings it was trained with."
            )
        return actor


@torch.inference_mode()
def _mean(actor: Actor, observation: Floats32) -> Floats32:
    """[K, F, B] -> [K, A, B]."""
    rows = torch.from_numpy(np.ascontiguousarray(observation.swapaxes(1, 2)))
    answer: Floats32 = actor(rows).numpy().swapaxes(1, 2)
    return answer
