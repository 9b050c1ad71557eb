"""The model of one node kind as an RLlib module: actor, critic and exploration noise.

One module serves every node and SKU of its kind. A batch row is one (node, SKU) pair of
one replication: observation [F], action [A]. Whole nodes, [K * F] and [K * A], are accepted
too, so that RLlib's own runner and environments train the same module.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, fields, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchDiagGaussian
from ray.rllib.core.rl_module.apis.target_network_api import (
    TARGET_NETWORK_ACTION_DIST_INPUTS,
    TargetNetworkAPI,
)
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor, nn

from envs.environment.batched_env import BatchedEnv, feature_names
from envs.errors import ConfigError
from envs.observation.central_view import CENTRAL
from envs.scenario import Scenario
from evaluation.artifact.actor import Actor
from evaluation.artifact.models import build_model
from training.config import ModelConfig

Spaces = dict[str, tuple[gym.spaces.Box, gym.spaces.Box]]  # kind -> (observation, action)


class NodeKindModule(TorchRLModule, ValueFunctionAPI, TargetNetworkAPI):
    """Actor and critic shared by all nodes of one kind.

    The critic works in value units, set once from the base policy's returns: the loss then
    has the same size for a low-cost and a high-cost network. `to_reward_units` undoes it. The units
    are 0 and 1 (no change) unless `set_value_units` is called.
    """

    actor: Actor
    critic: Actor

    def setup(self) -> None:
        """Build the models from the spaces and `model_config`.

        It holds ModelConfig's fields, `features`: the names of what is observed, and `rows` of the
        kind; the plain model needs neither.
        """
        names = {item.name for item in fields(ModelConfig)}
        model = ModelConfig(**{k: v for k, v in self.model_config.items() if k in names})
        [seen], [acted] = self.observation_space.shape, self.action_space.shape
        self.action_dist_cls = TorchDiagGaussian
        features = self.model_config.get("features", [""] * seen)
        self.node_rows = seen // len(features)  # K; 1 where rows come one by one
        heads = acted // self.node_rows
        rows = self.model_config.get("rows", 0)
        # The actor sees the first features; what only a critic may see stands behind them.
        acting = [name for name in features if not name.startswith(CENTRAL)]
        self._acting = len(acting)
        self.actor = build_model(model.form, acting, heads, model.hidden, rows)
        self.critic = (
            build_model(model.form, features, 1, model.hidden, rows)
            if len(acting) == len(features)
            else Actor(len(features), 1, model.hidden)
        )
        low, high = math.log(model.lowest_std), math.log(model.highest_std)
        share = (math.log(model.initial_std) - low) / (high - low)
        self.lowest_log_std = low
        self.register_buffer("highest_log_std", torch.tensor(high))
        # The logit keeps the standard deviation between its bounds with a gradient everywhere;
        # a clamp would hold it for ever once it is outside.
        self.std_logit = nn.Parameter(torch.full((heads,), math.log(share / (1.0 - share))))
        self.register_buffer("value_offset", torch.zeros(()))
        self.register_buffer("value_scale", torch.ones(()))

    def log_std(self) -> Tensor:
        """Log standard deviation of each action head: [A]."""
        room = self.highest_log_std - self.lowest_log_std
        return self.lowest_log_std + room * torch.sigmoid(self.std_logit)

    def set_highest_std(self, std: float) -> None:
        """Lower (or raise) the ceiling of exploration; what is under it shrinks with it."""
        self.highest_log_std.fill_(math.log(std))

    def set_value_units(self, offset: float, scale: float) -> None:
        """Let the critic's 0 mean a return of `offset`, and its 1 a return `scale` above."""
        if not (math.isfinite(offset) and math.isfinite(scale) and scale > 0.0):
            raise ConfigError(
                f"value units are offset {offset}, scale {scale}; expected finite numbers and a "
                "scale > 0; check the scenario's costs"
            )
        self.value_offset.fill_(offset)
        self.value_scale.fill_(scale)

    def to_reward_units(self, value: Tensor) -> Tensor:
        """Critic output -> expected discounted reward."""
        return value * self.value_scale + self.value_offset

    def to_value_units(self, target: Tensor) -> Tensor:
        """Expected discounted reward -> what the critic should put out."""
        return (target - self.value_offset) / self.value_scale

    def action_inputs(self, observation: Tensor) -> Tensor:
        """Mean and log standard deviation of the action: [..., K * F] -> [..., 2 K * A]."""
        return self._inputs_of(self.actor, observation, self.log_std())

    def _inputs_of(self, actor: Actor, observation: Tensor, log_std: Tensor) -> Tensor:
        mean = actor(self._by_row(observation)[..., : self._acting])
        if self.node_rows > 1:
            mean, log_std = mean.flatten(-2), log_std.repeat(self.node_rows)
        return torch.cat((mean, log_std.expand_as(mean)), dim=-1)

    def values(self, observation: Tensor) -> Tensor:
        """Critic output in value units: [..., K * F] -> [...]; a node's: the sum of its rows'."""
        values: Tensor = self.critic(self._by_row(observation)).squeeze(-1)
        return values.sum(-1) if self.node_rows > 1 else values

    def _by_row(self, observation: Tensor) -> Tensor:
        """[..., K * F] -> [..., K, F]; rows one by one stay [..., F]."""
        return (
            observation.unflatten(-1, (self.node_rows, -1)) if self.node_rows > 1 else observation
        )

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.action_inputs(batch[Columns.OBS])}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """`values`, as RLlib's losses call it."""
        return self.values(batch[Columns.OBS])

    def make_target_networks(self) -> None:
        """A second actor that follows the first slowly: APPO's learner asks for it."""
        self.target_actor = copy.deepcopy(self.actor).requires_grad_(False)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Which model follows which."""
        return [(self.actor, self.target_actor)]

    def forward_target(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """What the slow actor would do."""
        inputs = self._inputs_of(self.target_actor, batch[Columns.OBS], self.log_std().detach())
        return {TARGET_NETWORK_ACTION_DIST_INPUTS: inputs}


def row_spaces(env: BatchedEnv) -> Spaces:
    """Of one (node, SKU) row, by kind: observation [F], action [A] in [-1, 1]."""
    return {group.name: _spaces(1, env.observation_size, group.action_size) for group in env.groups}


def node_spaces(env: BatchedEnv) -> Spaces:
    """Of one node with its K rows, by kind: observation [K * F], action [K * A].

    Raises:
        ConfigError: nodes of a kind differ in their number of SKUs.
    """
    result: Spaces = {}
    for group in env.groups:
        counts = sorted(set(np.unique(group.node_of_row, return_counts=True)[1].tolist()))
        if len(counts) > 1:
            raise ConfigError(
                f"nodes of kind '{group.name}' stock {counts} SKUs; expected the same number, as "
                "RLlib stacks whole nodes; use output 'episodes' or 'batch', which go by rows"
            )
        result[group.name] = _spaces(counts[0], env.observation_size, group.action_size)
    return result


def _spaces(rows: int, features: int, heads: int) -> tuple[gym.spaces.Box, gym.spaces.Box]:
    return (
        gym.spaces.Box(-np.inf, np.inf, (rows * features,), np.float32),
        gym.spaces.Box(-1.0, 1.0, (rows * heads,), np.float32),
    )


def seen_by(scenario: Scenario, model: ModelConfig) -> Scenario:
    """The scenario with at least what the models need to see.

    Raises:
        ConfigError: the model's form is unknown, or lacks something it reads.
    """
    of = model.companions_of if model.companions else scenario.companions_of
    scenario = replace(
        scenario,
        memory=max(scenario.memory, model.memory),
        companions=max(scenario.companions, model.companions),
        companions_of=of,
        identity=scenario.identity or model.identity,
    )
    with torch.device("meta"):  # nothing is allocated: only whether it can be built
        build_model(model.form, feature_names(scenario), 1, model.hidden, 1)
    return scenario


def module_specs(env: BatchedEnv, spaces: Spaces, model: ModelConfig) -> MultiRLModuleSpec:
    """One module per node kind: {kind: (observation space, action space)} -> spec."""
    rows = {group.name: group.stop - group.start for group in env.groups}
    return MultiRLModuleSpec(
        rl_module_specs={
            kind: RLModuleSpec(
                module_class=NodeKindModule,
                observation_space=observation,
                action_space=action,
                model_config=asdict(model)
                | {"features": list(env.feature_names), "rows": rows[kind]},
            )
            for kind, (observation, action) in spaces.items()
        }
    )
