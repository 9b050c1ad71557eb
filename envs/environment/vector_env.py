"""The batched environment as Gymnasium's vector API: one joint agent per replication."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.environment.batched_env import BatchedEnv
from envs.scenario import Scenario

__all__ = ["SupplyChainVectorEnv"]

FloatArray = NDArray[np.float32]


class SupplyChainVectorEnv(VectorEnv[FloatArray, FloatArray, NDArray[Any]]):
    """B replications; observation [B, P, F], action [B, P, A] in [-1, 1], reward [B].

    The reward of a replication is the sum over its pairs. All replications are truncated together
    at the horizon; the step after that begins new episodes, whatever the action.
    """

    def __init__(self, scenario: Scenario, num_envs: int = 1, split: str = "train") -> None:
        self._env = BatchedEnv(scenario, num_envs, split=split)
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}
        rows, features = self._env.num_rows, self._env.observation_size
        self.single_observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (rows, features), np.float32
        )
        self.single_action_space = gymnasium.spaces.Box(
            -1.0, 1.0, (rows, self._env.action_size), np.float32
        )
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._seed, self._episode, self._over = 0, 0, False

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Begin the next B episodes of the seed; a new seed begins with its first ones."""
        if isinstance(seed, list):
            raise ValueError("seed is a list; expected one number: its episodes 0.. are the rows.")
        if seed is not None:
            self._seed, self._episode = seed, 0
        observation = self._env.reset(self._seed, self._episode)
        self._episode += self.num_envs
        self._over = False
        return _batch_first(observation), {}

    def step(
        self, actions: FloatArray
    ) -> tuple[FloatArray, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Play one period in all replications."""
        never = np.zeros(self.num_envs, bool)
        if self._over:
            observation, info = self.reset()
            return observation, np.zeros(self.num_envs), never, never.copy(), info
        batch_last = np.clip(np.moveaxis(np.asarray(actions, np.float32), 0, -1), -1.0, 1.0)
        observation, reward, self._over = self._env.step(np.ascontiguousarray(batch_last))
        truncated = np.full(self.num_envs, self._over)
        return (
            _batch_first(observation), reward.sum(axis=0, dtype=np.float64), never, truncated, {},
        )  # fmt: skip


def _batch_first(observation: FloatArray) -> FloatArray:
    return np.ascontiguousarray(np.moveaxis(observation, -1, 0))
