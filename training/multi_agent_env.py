"""The simulator as RLlib's MultiAgentEnv: one agent per node, for RLlib's own runner.

For conformance and comparison: training goes through BatchedEnvRunner, which is some tens
of times faster.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from envs.batched_env import Group

__all__ = ["NodeAgentsEnv"]

FloatArray = NDArray[np.float32]
AgentArrays = dict[str, FloatArray]


class NodeAgentsEnv(MultiAgentEnv):
    """A dict view of a simulator with one replication.

    Agent n owns its K (node, SKU) rows: observation [K, F], action [K, A] in [-1, 1], reward
    the sum over its rows. All nodes of a kind must stock the same number of SKUs.

    Args:
        config: RLlib's env_config; "settings" holds the env factory (RunnerSettings).
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self._env = config["settings"].env_factory(1)
        # Runners count from 1, and each must see its own episodes.
        self._seed = int(getattr(config, "worker_index", 0) or 0)
        self._episode = 0
        self._rows: dict[str, tuple[Group, NDArray[np.int64]]] = {}
        for group in self._env.groups:
            for node in np.unique(group.node_of_row):
                rows = group.start + np.flatnonzero(group.node_of_row == node)
                self._rows[self._env.agent_ids[int(node)]] = (group, rows)
        self.possible_agents = list(self._rows)
        self.agents = list(self._rows)
        features = self._env.observation_size
        self.observation_spaces = {
            agent: gym.spaces.Box(-np.inf, np.inf, (len(rows), features), np.float32)
            for agent, (_, rows) in self._rows.items()
        }
        self.action_spaces = {
            agent: gym.spaces.Box(-1.0, 1.0, (len(rows), group.action_size), np.float32)
            for agent, (group, rows) in self._rows.items()
        }
        self._action = np.zeros((self._env.num_rows, self._env.action_size, 1), np.float32)

    def _by_agent(self, observation: FloatArray) -> AgentArrays:
        return {agent: observation[rows, :, 0] for agent, (_, rows) in self._rows.items()}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[AgentArrays, dict[str, Any]]:
        """Begin the next episode of the seed; a new seed begins with its episode 0."""
        if seed is not None:
            self._seed, self._episode = seed, 0
        observation = self._env.reset(self._seed, self._episode)
        self._episode += 1
        return self._by_agent(observation), {}

    def step(
        self, action_dict: AgentArrays
    ) -> tuple[AgentArrays, dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """One period. Episodes never terminate: they are truncated at the horizon."""
        for agent, (group, rows) in self._rows.items():
            self._action[rows, : group.action_size, 0] = action_dict[agent]
        np.clip(self._action, -1.0, 1.0, out=self._action)
        observation, reward, truncated = self._env.step(self._action)
        rewards = {agent: float(reward[rows, 0].sum()) for agent, (_, rows) in self._rows.items()}
        ends = dict.fromkeys([*self._rows, "__all__"], False)
        cuts = dict.fromkeys([*self._rows, "__all__"], bool(truncated))
        return self._by_agent(observation), rewards, ends, cuts, {}
