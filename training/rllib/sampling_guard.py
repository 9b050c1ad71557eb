"""Refuses a NaN or an infinity where it enters training, and says where it came from.

RLlib itself trains on infinite observations and NaN rewards in silence, and dies of a NaN
observation without a cause.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np

from envs.errors import NonFiniteError
from envs.types import Floats32

if TYPE_CHECKING:
    from envs.environment.batched_env import BatchedEnv


def check_step(
    env: BatchedEnv,
    observation: Floats32,
    reward: Floats32 | None,
    *,
    seed: int,
    first_episode: int,
    period: int,
) -> None:
    """Raise unless observation [P, F, B] and reward [P, B] are finite.

    Costs one sum over each array: a NaN or an infinity anywhere shows in it.

    Raises:
        NonFiniteError: naming node, row, feature, period, seed and episode.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduce(observation, axis=None)
        if reward is not None:
            total = total + np.add.reduce(reward, axis=None)
    # A sum of finite numbers can overflow, so look before accusing.
    if np.isfinite(total):
        return
    where = f"in period {period} (seed {seed}"
    if not np.isfinite(observation).all():
        row, feature, replication = np.argwhere(~np.isfinite(observation))[0].tolist()
        what, value = f"observation '{env.feature_names[feature]}'", observation[row, feature]
        _refuse(env, what, value[replication], row, where, first_episode + replication)
    if reward is not None and not np.isfinite(reward).all():
        row, replication = np.argwhere(~np.isfinite(reward))[0].tolist()
        _refuse(env, "reward", reward[row, replication], row, where, first_episode + replication)


def _refuse(
    env: BatchedEnv, what: str, value: np.float32, row: int, where: str, episode: int
) -> NoReturn:
    kind = next(group for group in env.groups if group.start <= row < group.stop)
    node = env.agent_ids[int(kind.node_of_row[row - kind.start])]
    raise NonFiniteError(
        f"{what} of node '{node}' ({kind.name}, row {row}) is {value} {where}, episode {episode}); "
        "expected a finite number; check this node's costs, demand and lead times"
    )
