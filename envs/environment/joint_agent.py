"""The network as one agent, in Gymnasium's two APIs: `SupplyChainEnv` and `SupplyChainVectorEnv`.

Observation: the features of all P (node, SKU) pairs, one pair after the other, [P * F]; no unit, as
in `BatchedEnv.feature_names`. Action: the heads of all pairs, one pair after the other, in [-1, 1];
zero is the base policy. Reward: the network's cost of the period, negated, in a unit near what the
base policy pays, so that -1 is usual. Episodes are truncated at the scenario's horizon, and what is
left in stock then counts nothing: a trainer values it by its critic. Info: "cost" [currency] of the
period.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from envs.environment.batched_env import BatchedEnv, newsvendor_scale
from envs.environment.player import Player, checked_action
from envs.errors import ConfigError
from envs.reward import COST_ALONE
from envs.scenario import Scenario
from envs.types import Floats, Floats32


class _JointAgent:
    """B replications of the network, batch first and flat."""

    def __init__(self, scenario: Scenario, batch_size: int, split: str, paired: bool) -> None:
        scale = newsvendor_scale(scenario.compiled)
        env = BatchedEnv(
            scenario,
            batch_size,
            split=split,
            reward=replace(COST_ALONE, paired=paired, salvage_share=0.0),
            # One unit for all pairs: their sum is the network's cost.
            cost_scale=np.full(scale.shape, scale.sum()),
        )
        self._player = Player(env)
        heads = [(row, h) for g in env.groups for row in range(g.start, g.stop)
                 for h in range(g.action_size)]  # fmt: skip
        self._row, self._head = np.array(heads).T
        self._places = [env.action_name(row, head) for row, head in heads]
        size = env.num_rows * env.observation_size
        self.observation_space = Box(-np.inf, np.inf, (size,), np.float32)
        self.action_space = Box(-1.0, 1.0, (len(heads),), np.float32)

    def reset(self, seed: int | None) -> Floats32:
        """Return observations [B, P * F] of the next episodes."""
        return _flat(self._player.reset(seed))

    def step(self, actions: ArrayLike) -> tuple[Floats32, Floats, Floats, bool]:
        """[B, heads] -> observations [B, P * F], rewards [B], costs [B] currency, truncated."""
        shape = (self._player.env.batch_size, self._row.size)
        self._player.must_go_on()
        checked = checked_action(actions, shape, "network", self._places)
        self._player.action[self._row, self._head] = checked.T
        observation, reward, truncated = self._player.step()
        total = reward.sum(axis=0, dtype=np.float64)
        return _flat(observation), total, self._player.cost.sum(axis=0), truncated


def _flat(observation: Floats32) -> Floats32:
    """A copy of [P, F, B] as [B, P * F]: the next step overwrites what it is made from."""
    batch_first = np.array(observation.transpose(2, 0, 1), order="C")
    return batch_first.reshape(len(batch_first), -1)


class SupplyChainEnv(gymnasium.Env[Floats32, Floats32]):
    """One episode at a time.

    Args:
        scenario: the network, its horizon and its base policy.
        split: of a scenario with real demand: "train", "tune" or "test".
        paired: subtract what the base policy pays on the same demand: the best policy stays the
            best, with less noise.
    """

    def __init__(self, scenario: Scenario, split: str = "train", paired: bool = False) -> None:
        self._agent = _JointAgent(scenario, 1, split, paired)
        self.observation_space = self._agent.observation_space
        self.action_space = self._agent.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats32, dict[str, Any]]:
        """Begin the next episode of the seed; a new seed begins with its episode 0."""
        super().reset(seed=seed)
        return self._agent.reset(seed)[0], {}

    def step(self, action: Floats32) -> tuple[Floats32, float, bool, bool, dict[str, Any]]:
        """Play one period.

        Raises:
            ActionError: the action has another shape or a NaN, or no episode goes on.
        """
        observation, reward, cost, truncated = self._agent.step([action])
        return observation[0], float(reward[0]), False, truncated, {"cost": float(cost[0])}


class SupplyChainVectorEnv(VectorEnv[Floats32, Floats32, NDArray[Any]]):
    """B replications at once, rows [B, ...]: row b is episode b of the seed in `SupplyChainEnv`.

    All are truncated together at the horizon; the step after that begins new episodes, whatever
    the action.

    Args:
        scenario: the network, its horizon and its base policy.
        num_envs: replications [B].
        split: of a scenario with real demand: "train", "tune" or "test".
        paired: as in `SupplyChainEnv`.
    """

    def __init__(
        self, scenario: Scenario, num_envs: int = 1, split: str = "train", paired: bool = False
    ) -> None:
        self._agent = _JointAgent(scenario, num_envs, split, paired)
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}
        self.single_observation_space = self._agent.observation_space
        self.single_action_space = self._agent.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._over = False

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Floats32, dict[str, Any]]:
        """Begin the next B episodes of the seed; a new seed begins with its first ones.

        Raises:
            ConfigError: seed is a list.
        """
        if isinstance(seed, list):
            raise ConfigError("seed is a list; expected one number: its episodes 0.. are the rows.")
        super().reset(seed=seed)
        self._over = False
        return self._agent.reset(seed), {}

    def step(
        self, actions: Floats32
    ) -> tuple[Floats32, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Play one period in all replications.

        Raises:
            ActionError: the actions have another shape or a NaN, or no episode was begun.
        """
        never = np.zeros(self.num_envs, bool)
        if self._over:
            observation, info = self.reset()
            return observation, np.zeros(self.num_envs), never, never.copy(), info
        observation, reward, cost, self._over = self._agent.step(actions)
        info = {"cost": cost, "_cost": ~never}
        return observation, reward, never, np.full(self.num_envs, self._over), info
