"""The simulator as RLlib's MultiAgentEnv: one agent per node, for RLlib's own runner.

Training with `echelon train` goes through BatchedEnvRunner, which is some tens of times faster.
"""

from __future__ import annotations

from typing import Any

from ray.rllib.env.multi_agent_env import MultiAgentEnv

from envs.environment.multi_agent import NodeAgents
from envs.types import Floats32

AgentArrays = dict[str, Floats32]

_SEEDS_OF_A_RUNNER = 10_000_000


class SupplyChainMultiAgentEnv(MultiAgentEnv):
    """`envs.environment.multi_agent.NodeAgents` under RLlib's names.

    Agents that share a policy must stock the same number of SKUs.

    Args:
        config: RLlib's env_config; "env_factory" builds the simulator, e.g.
            `ScenarioEnvFactory(scenario)`.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        # RLlib seeds runner w from w on, and each must see its own episodes.
        self._first_seed = _SEEDS_OF_A_RUNNER * int(getattr(config, "worker_index", 0) or 0)
        self._view = NodeAgents(config["env_factory"](1))
        self.possible_agents = list(self._view.agents)
        self.agents = list(self._view.agents)
        self.observation_spaces = self._view.observation_spaces
        self.action_spaces = self._view.action_spaces

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[AgentArrays, dict[str, Any]]:
        """Begin the next episode of the seed; a new seed begins with its episode 0."""
        return self._view.reset(None if seed is None else self._first_seed + seed), {}

    def step(
        self, action_dict: AgentArrays
    ) -> tuple[AgentArrays, dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """One period. Episodes never terminate: they are truncated at the horizon.

        Raises:
            ActionError: an agent's action is missing, has another shape or a NaN, or no episode
                goes on.
        """
        observations, rewards, infos, truncated = self._view.step(action_dict)
        ends = dict.fromkeys([*self.agents, "__all__"], False)
        cuts = dict.fromkeys([*self.agents, "__all__"], truncated)
        return observations, rewards, ends, cuts, infos
