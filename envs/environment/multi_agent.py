"""One agent per node, as dictionaries: for people, conformance tests and other libraries.

Training does not go through here: packing dictionaries costs more than the simulation.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from envs.environment.batched_env import BatchedEnv, Group
from envs.scenario import Scenario

__all__ = ["NodeAgents", "SupplyChainParallelEnv"]

FloatArray = NDArray[np.float32]
ByAgent = dict[str, FloatArray]


class NodeAgents:
    """One episode at a time, by agent: node n owns its K (node, SKU) rows.

    Observation [K, F], action [K, A] in [-1, 1] (zero: the base policy), reward the sum over rows.
    """

    def __init__(self, env: BatchedEnv, seed: int = 0) -> None:
        if env.batch_size != 1:
            raise ValueError(f"NodeAgents: the environment has {env.batch_size} rows; expected 1.")
        self._env, self._seed, self._episode = env, seed, 0
        self._rows: dict[str, tuple[Group, NDArray[np.int64]]] = {}
        for group in env.groups:
            for node in np.unique(group.node_of_row):
                rows = group.start + np.flatnonzero(group.node_of_row == node)
                self._rows[env.agent_ids[int(node)]] = (group, rows)
        self.agents = list(self._rows)
        self._action = np.zeros((env.num_rows, env.action_size, 1), np.float32)

    def observation_space(self, agent: str) -> gymnasium.spaces.Box:
        """[K, F], unbounded."""
        shape = (self._rows[agent][1].size, self._env.observation_size)
        return gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)

    def action_space(self, agent: str) -> gymnasium.spaces.Box:
        """[K, A] in [-1, 1]."""
        group, rows = self._rows[agent]
        return gymnasium.spaces.Box(-1.0, 1.0, (rows.size, group.action_size), np.float32)

    def reset(self, seed: int | None = None) -> ByAgent:
        """Begin the next episode of the seed; a new seed begins with its episode 0."""
        if seed is not None:
            self._seed, self._episode = seed, 0
        observation = self._env.reset(self._seed, self._episode)
        self._episode += 1
        return self._by_agent(observation)

    def step(self, actions: ByAgent) -> tuple[ByAgent, dict[str, float], bool]:
        """Play one period. Returns observations, rewards, and whether the horizon is reached."""
        for agent, (group, rows) in self._rows.items():
            self._action[rows, : group.action_size, 0] = actions[agent]
        np.clip(self._action, -1.0, 1.0, out=self._action)
        observation, reward, truncated = self._env.step(self._action)
        rewards = {agent: float(reward[rows, 0].sum()) for agent, (_, rows) in self._rows.items()}
        return self._by_agent(observation), rewards, truncated

    def _by_agent(self, observation: FloatArray) -> ByAgent:
        return {agent: observation[rows, :, 0] for agent, (_, rows) in self._rows.items()}


class SupplyChainParallelEnv(ParallelEnv):
    """A scenario as PettingZoo's parallel API. Episodes are truncated at the horizon."""

    metadata: ClassVar[dict[str, Any]] = {"name": "echelon_supply_chain_v0", "render_modes": []}

    def __init__(self, scenario: Scenario, split: str = "train") -> None:
        self._view = NodeAgents(BatchedEnv(scenario, 1, split=split))
        self.possible_agents = list(self._view.agents)
        self.agents: list[str] = []
        self._observation_spaces = {a: self._view.observation_space(a) for a in self._view.agents}
        self._action_spaces = {a: self._view.action_space(a) for a in self._view.agents}

    def observation_space(self, agent: str) -> gymnasium.spaces.Box:
        """[K, F] of the agent; the same object every time."""
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> gymnasium.spaces.Box:
        """[K, A] of the agent; the same object every time."""
        return self._action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ByAgent, dict[str, dict[str, Any]]]:
        """Begin an episode."""
        self.agents = list(self.possible_agents)
        return self._view.reset(seed), {agent: {} for agent in self.agents}

    def step(
        self, actions: ByAgent
    ) -> tuple[
        ByAgent, dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]
    ]:
        """Play one period."""
        observations, rewards, truncated = self._view.step(actions)
        agents = self.agents
        if truncated:
            self.agents = []
        return (
            observations, rewards, dict.fromkeys(agents, False), dict.fromkeys(agents, truncated),
            {agent: {} for agent in agents},
        )  # fmt: skip
