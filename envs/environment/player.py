"""What all views share: the episodes of a seed, one after the other, and checked actions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from envs.environment.batched_env import BatchedEnv
from envs.errors import ActionError, shown
from envs.types import Floats, Floats32


class Player:
    """Plays a batched environment through the episodes of a seed. action [P, A, B]: the next
    step's, to be filled."""

    def __init__(self, env: BatchedEnv) -> None:
        self.env = env
        self.action = np.zeros((env.num_rows, env.action_size, env.batch_size), np.float32)
        self._seed: int | None = None
        self._episode = self._periods_left = 0

    def reset(self, seed: int | None) -> Floats32:
        """Begin the next B episodes of the seed; a new seed begins with its first ones, and
        without any seed so far one is drawn. Returns observations [P, F, B], overwritten by `step`.
        """
        if seed is not None or self._seed is None:
            drawn = np.random.SeedSequence().generate_state(1)[0] >> 1 if seed is None else seed
            self._seed, self._episode = int(drawn), 0
        observation = self.env.reset(self._seed, self._episode)
        self._episode += self.env.batch_size
        self._periods_left = self.env.horizon
        return observation

    def must_go_on(self) -> None:
        """Raise ActionError where no episode is begun, or it is over."""
        if not self._periods_left:
            raise ActionError(
                f"step() was called before reset(), or after the {self.env.horizon} periods of an "
                "episode; expected an episode that goes on; call reset() first."
            )

    def step(self) -> tuple[Floats32, Floats32, bool]:
        """Play `action` for a period. Returns observation [P, F, B], reward [P, B], truncated.

        Raises:
            ActionError: no episode is begun, or it is over.
        """
        self.must_go_on()
        self._periods_left -= 1
        return self.env.step(self.action)

    @property
    def cost(self) -> Floats:
        """[P, B] currency that the period just played cost."""
        return self.env.flows.total_cost


def checked_action(
    action: ArrayLike, shape: tuple[int, ...], owner: str, places: Sequence[str]
) -> Floats32:
    """The action as an array of its space's shape, clipped to [-1, 1].

    places: what each of its last dimension's numbers moves.

    Raises:
        ActionError: it isn't of numbers, the shape is another, or one is NaN or infinite.
    """
    try:
        values = np.asarray(action, np.float32)
    except (TypeError, ValueError):
        raise ActionError(
            f"{owner}: the action is {shown(action)}; expected numbers of shape {list(shape)}."
        ) from None
    if values.shape != shape:
        raise ActionError(
            f"{owner}: the action has shape {list(values.shape)}; expected {list(shape)}; see its "
            "action space."
        )
    if not np.isfinite(values).all():
        *row, place = np.argwhere(~np.isfinite(values))[0]
        where = f"{places[place]} in row {row[0]}" if row else places[place]
        raise ActionError(
            f"{owner}: the action has {np.count_nonzero(~np.isfinite(values))} values that are NaN "
            f"or infinite, the first for {where}; expected numbers from -1 to 1; check what the "
            "policy puts out."
        )
    return np.clip(values, -1.0, 1.0)
