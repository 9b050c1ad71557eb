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
    paired: subtract what the base policy, simulated beside, pays on the same trace. Actions can't
      change that, so the best policy stays the best, with a fraction of the noise.
    salvage_share: share in [0, 1] of a SKU's value that a unit in stock or in transit is worth at
      the horizon, so that episodes don't end by draining stock.
    """

    downstream_share: float = 0.0
    network_share: float = 0.0
    paired: bool = False
    salvage_share: float = 1.0

    def __post_init__(self) -> None:
        for name in ("downstream_share", "network_share", "salvage_share"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"reward.{name} is {value}; expected a share from 0 to 1.")


def compute_reward(
    total_cost: NDArray[np.float64],
    downstream: Csr,
    cost_scale: NDArray[np.float64],
    config: RewardConfig,
    out: NDArray[np.float32],
) -> None:
    """Fill out [P, B] = -((1 - a) (own cost + d cost of pairs below) + a sum of all / P) / scale.

    total_cost [P, B] currency; a: network_share, d: downstream_share; downstream [P] -> pairs
    below; cost_scale [P, 1]: what the base policy makes the pair answer for per period [currency],
    so that every pair earns about -1. Revenue is a negative cost: with prices set, this is profit.
    """
    np.copyto(out, total_cost, casting="same_kind")
    if config.downstream_share > 0.0:
        share = np.float32(config.downstream_share)
        _add_downstream(downstream.pointer, downstream.index, total_cost, share, out)
    if config.network_share > 0.0:
        out *= np.float32(1.0 - config.network_share)
        out += (config.network_share * total_cost.mean(axis=0)).astype(np.float32)
    np.divide(out, -cost_scale, out=out, casting="same_kind")


@entry
def _add_downstream(pointer, index, total_cost, share, out):  # type: ignore[no-untyped-def]
    for p in range(out.shape[0]):
        reward = out[p]
        for i in range(pointer[p], pointer[p + 1]):
            cost = total_cost[index[i]]
            for b in range(reward.size):
                reward[b] += share * np.float32(cost[b])
