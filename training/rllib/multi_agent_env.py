"""The simulator as RLlib's MultiAgentEnv: one agent per node, for RLlib's own runner.

For conformance and comparison: training goes through BatchedEnvRunner, which is some tens
of times faster.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from envs.environment.multi_agent import NodeAgents

__all__ = ["NodeAgentsEnv"]

AgentArrays = dict[str, NDArray[np.float32]]


class NodeAgentsEnv(MultiAgentEnv):
    """`envs.environment.multi_agent.NodeAgents` under RLlib's names.

    All nodes of a kind must stock the same number of SKUs.

    Args:
        config: RLlib's env_config; "settings" holds the env factory (RunnerSettings).
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        # Runners count from 1, and each must see its own episodes.
        seed = int(getattr(config, "worker_index", 0) or 0)
        self._view = NodeAgents(config["settings"].env_factory(1), seed)
        self.possible_agents = list(self._view.agents)
        self.agents = list(self._view.agents)
        self.observation_spaces = {a: self._view.observation_space(a) for a in self.agents}
        self.action_spaces = {a: self._view.action_space(a) for a in self.agents}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[AgentArrays, dict[str, Any]]:
        """Begin the next episode of the seed; a new seed begins with its episode 0."""
        return self._view.reset(seed), {}

    def step(
        self, action_dict: AgentArrays
    ) -> tuple[AgentArrays, dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """One period. Episodes never terminate: they are truncated at the horizon."""
        observations, rewards, truncated = self._view.step(action_dict)
        ends = dict.fromkeys([*self.agents, "__all__"], False)
        cuts = dict.fromkeys([*self.agents, "__all__"], bool(truncated))
        return observations, rewards, ends, cuts, {}
