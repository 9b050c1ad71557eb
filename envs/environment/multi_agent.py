"""One agent per node, as dictionaries: for PettingZoo and RLlib's own runner.

Echelon's own training does not go through here: packing dictionaries costs more than the
simulation.

A node's agent has the node's K (node, SKU) pairs. Observation: their features, one pair after the
other, [K * F]; no unit, as in `BatchedEnv.feature_names`. Action: their heads, one pair after the
other, [K * A] in [-1, 1]; zero is the base policy. Reward: the sum over the pairs, in units of what
the base policy pays for each. Info: "cost" [currency] of the node in the period.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box
from pettingzoo import ParallelEnv

from envs.environment.batched_env import BatchedEnv
from envs.environment.player import Player, checked_action
from envs.errors import ActionError, ConfigError
from envs.reward import COST_ALONE, RewardConfig
from envs.scenario import Scenario
from envs.types import Floats32, Ints

ByAgent = dict[str, Floats32]


class NodeAgents:
    """One episode at a time, by agent; the core of the views.

    agents: names of the nodes. observation_spaces, action_spaces: Box of each agent, [K * F] and
    [K * A] in [-1, 1].

    Raises:
        ConfigError: the environment has more than one replication.
    """

    def __init__(self, env: BatchedEnv) -> None:
        if env.batch_size != 1:
            raise ConfigError(
                f"NodeAgents: the environment has {env.batch_size} replications; expected 1."
            )
        self._player = Player(env)
        self._rows: dict[str, Ints] = {}
        self._places: dict[str, list[str]] = {}
        self.observation_spaces: dict[str, Box] = {}
        self.action_spaces: dict[str, Box] = {}
        for group in env.groups:
            for node in np.unique(group.node_of_row):
                agent = env.agent_ids[int(node)]
                rows = group.start + np.flatnonzero(group.node_of_row == node)
                self._rows[agent] = rows
                self._places[agent] = [
                    env.action_name(int(row), head)
                    for row in rows
                    for head in range(group.action_size)
                ]
                seen, heads = rows.size * env.observation_size, rows.size * group.action_size
                self.observation_spaces[agent] = Box(-np.inf, np.inf, (seen,), np.float32)
                self.action_spaces[agent] = Box(-1.0, 1.0, (heads,), np.float32)
        self.agents = list(self._rows)

    def reset(self, seed: int | None = None) -> ByAgent:
        """Begin the next episode of the seed; a new seed begins with its episode 0."""
        return self._by_agent(self._player.reset(seed))

    def step(
        self, actions: Mapping[str, Floats32]
    ) -> tuple[ByAgent, dict[str, float], dict[str, dict[str, Any]], bool]:
        """Play one period. Returns observations, rewards, infos, and whether the horizon is
        reached.

        Raises:
            ActionError: an agent's action is missing, has another shape or a NaN, or no episode
                goes on.
        """
        self._player.must_go_on()
        if actions.keys() != self._rows.keys():
            missing, unknown = self._rows.keys() - actions.keys(), actions.keys() - self._rows
            raise ActionError(
                f"actions are missing for {sorted(missing)} and given for unknown "
                f"{sorted(unknown)}; expected one for each agent: {self.agents}."
            )
        for agent, rows in self._rows.items():
            shape = self.action_spaces[agent].shape
            action = checked_action(actions[agent], shape, agent, self._places[agent])
            by_row = action.reshape(rows.size, -1)
            self._player.action[rows, : by_row.shape[1], 0] = by_row
        observation, reward, truncated = self._player.step()
        rewards = {agent: float(reward[rows, 0].sum()) for agent, rows in self._rows.items()}
        cost = self._player.cost
        infos: dict[str, dict[str, Any]] = {
            agent: {"cost": float(cost[rows, 0].sum())} for agent, rows in self._rows.items()
        }
        return self._by_agent(observation), rewards, infos, truncated

    def _by_agent(self, observation: Floats32) -> ByAgent:
        """Copies: the next step overwrites the observation."""
        return {agent: observation[rows, :, 0].ravel() for agent, rows in self._rows.items()}


class SupplyChainParallelEnv(ParallelEnv[str, Floats32, Floats32]):
    """A scenario as PettingZoo's parallel API. Episodes are truncated at the horizon.

    Args:
        scenario: the network, its horizon and its base policy.
        split: of a scenario with real demand: "train", "tune" or "test".
        reward: what nodes share; None: each its own cost, and what is left in stock at the horizon
            counts nothing, as a trainer values it by its critic.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "echelon_supply_chain_v0", "render_modes": []}

    def __init__(
        self, scenario: Scenario, split: str = "train", reward: RewardConfig | None = None
    ) -> None:
        reward = reward or replace(COST_ALONE, salvage_share=0.0)
        self._view = NodeAgents(BatchedEnv(scenario, 1, split=split, reward=reward))
        self.possible_agents = list(self._view.agents)
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> Box:
        """[K * F] of the agent; the same object every time."""
        return self._view.observation_spaces[agent]

    def action_space(self, agent: str) -> Box:
        """[K * A] of the agent, in [-1, 1]; the same object every time."""
        return self._view.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ByAgent, dict[str, dict[str, Any]]]:
        """Begin the next episode of the seed; a new seed begins with its episode 0."""
        self.agents = list(self.possible_agents)
        return self._view.reset(seed), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, Floats32]
    ) -> tuple[
        ByAgent, dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]
    ]:
        """Play one period.

        Raises:
            ActionError: an agent's action is missing, has another shape or a NaN, or no episode
                goes on.
        """
        observations, rewards, infos, truncated = self._view.step(actions)
        agents, self.agents = self.agents, [] if truncated else self.agents
        ends, cuts = dict.fromkeys(agents, False), dict.fromkeys(agents, truncated)
        return observations, rewards, ends, cuts, infos
