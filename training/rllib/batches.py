"""Fragment -> the columns PPO learns from: one row per (node, SKU), replication and period."""

from __future__ import annotations

import torch
from torch import Tensor

from envs.types import Floats32
from training.rllib.gae import advantages
from training.rllib.modules import NodeKindModule
from training.rllib.sampler import Fragment, KindRows

_CHUNK = 16_384  # rows per forward pass of the critic: the layers' outputs stay in cache


@torch.no_grad()
def critic_values(module: NodeKindModule, observation: Tensor) -> Tensor:
    """Expected discounted reward: [..., F] -> [...], in reward units."""
    rows = observation.flatten(0, -2)
    values = torch.cat([module.values(chunk) for chunk in torch.split(rows, _CHUNK)])
    return module.to_reward_units(values).view(observation.shape[:-1])


@torch.no_grad()
def action_log_probability(module: NodeKindModule, rows: KindRows) -> Tensor:
    """Log-density of each sampled action: [T, R, B]."""
    distribution = module.get_exploration_action_dist_cls().from_logits(rows.inputs)
    result: Tensor = distribution.logp(rows.action)
    return result


def advantages_of(
    fragment: Fragment, rows: KindRows, module: NodeKindModule, discount: float, gae_lambda: float
) -> tuple[Floats32, Floats32]:
    """Advantage [T, R, B] in reward units and value target [T, R, B] in value units."""
    values = critic_values(module, rows.observation)
    next_values = values[1:].clone()
    for t, observation in rows.reached.items():
        next_values[t] = critic_values(module, observation)
    advantage = advantages(
        rows.reward.numpy(),
        values[:-1].numpy(),
        next_values.numpy(),
        fragment.truncated,
        discount=discount,
        gae_lambda=gae_lambda,
    )
    target = module.to_value_units(torch.from_numpy(advantage) + values[:-1])
    return advantage, target.numpy()
