"""Reward: the cost of the period, negated, in units of what the base policy pays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.errors import ConfigError

__all__ = ["RewardConfig", "compute_reward"]


@dataclass(frozen=True)
class RewardConfig:
    """How costs become rewards.

    network_share: share in [0, 1] of the reward that is the network's mean; the rest is the
      pair's own cost. salvage_share: share in [0, 1] of a SKU's value that a unit in stock or in
      transit is worth at the horizon, so that episodes don't end by draining stock.
    """

    network_share: float = 0.0
    salvage_share: float = 1.0

    def __post_init__(self) -> None:
        for name in ("network_share", "salvage_share"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"reward.{name} is {value}; expected a share from 0 to 1.")


def compute_reward(
    total_cost: NDArray[np.float64],
    cost_scale: float,
    config: RewardConfig,
    out: NDArray[np.float32],
) -> None:
    """Fill out [P, B] = -((1 - a) own cost + a mean cost) x P / cost_scale.

    total_cost [P, B] currency; cost_scale: the base policy's cost of the network per period
    [currency], so that the rewards of all pairs of a period sum to about -P. Revenue is a negative
    cost: with prices set, this reward is profit.
    """
    scale = -len(total_cost) / cost_scale
    if config.network_share == 0.0:
        np.multiply(total_cost, scale, out=out, casting="same_kind")
        return
    mean = total_cost.mean(axis=0) * (config.network_share * scale)
    np.multiply(total_cost, (1.0 - config.network_share) * scale, out=out, casting="same_kind")
    out += mean.astype(np.float32)
