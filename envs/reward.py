"""Reward: the cost of the period, negated, in units of what the base policy pays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.compiled import Csr
from envs.errors import ConfigError
from envs.kernel import entry

__all__ = ["RewardConfig", "compute_reward"]


@dataclass(frozen=True)
class RewardConfig:
    """How costs become rewards.

    downstream_share: share in [0, 1] of the cost of every pair below that a pair answers for: a
      warehouse that only sees its own holding cost learns to hold nothing.
    network_share: share in [0, 1] of the reward that is the network's mean; the rest is the
      pair's own and what it answers for.
    salvage_share: share in [0, 1] of a SKU's value that a unit in stock or in transit is worth at
      the horizon, so that episodes don't end by draining stock.
    """

    downstream_share: float = 0.0
    network_share: float = 0.0
    salvage_share: float = 1.0

    def __post_init__(self) -> None:
        for name in ("downstream_share", "network_share", "salvage_share"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"reward.{name} is {value}; expected a share from 0 to 1.")


def compute_reward(
    total_cost: NDArray[np.float64],
    downstream: Csr,
    cost_scale: float,
    config: RewardConfig,
    out: NDArray[np.float32],
) -> None:
    """Fill out [P, B] = -((1 - a) (own cost + d cost of pairs below) + a mean cost) P / cost_scale.

    total_cost [P, B] currency; a: network_share, d: downstream_share; downstream [P] -> pairs
    below; cost_scale: the base policy's cost of the network per period [currency], so that own
    costs of a period sum to about -P. Revenue is a negative cost: with prices set, this is profit.
    """
    scale = -len(total_cost) / cost_scale
    own = (1.0 - config.network_share) * scale
    np.multiply(total_cost, own, out=out, casting="same_kind")
    if config.downstream_share > 0.0:
        below = np.float32(own * config.downstream_share)
        _add_downstream(downstream.pointer, downstream.index, total_cost, below, out)
    if config.network_share > 0.0:
        out += (total_cost.mean(axis=0) * (config.network_share * scale)).astype(np.float32)


@entry
def _add_downstream(pointer, index, total_cost, factor, out):  # type: ignore[no-untyped-def]
    for p in range(out.shape[0]):
        reward = out[p]
        for i in range(pointer[p], pointer[p + 1]):
            cost = total_cost[index[i]]
            for b in range(reward.size):
                reward[b] += factor * np.float32(cost[b])
