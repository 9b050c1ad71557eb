"""Reward: the cost of the period, negated, in units of what the base policy pays.

Four aims, one mechanism: a unit that a customer does not get at once may carry a price on top of
its cost. `cost` (and, with sales prices set, profit): no price. `service first`: the price is the
multiplier of a fill-rate constraint, found by dual ascent (`target_fill_rate`). `weighted`: every
episode has its own price, which agents see (`Preference`), so that one policy knows the whole front
of cost against service. `cvar`: learn from the worst episodes (`tail_share`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.compiled.arrays import Csr
from envs.errors import ConfigError
from envs.kernel import entry
from envs.simulation.state import Flows
from envs.types import Floats, Floats32


@dataclass(frozen=True)
class Preference:
    """How much service is worth against cost, from 0 to 1, drawn per episode and seen by agents.

    At preference w a unit that isn't served at once costs low^(1-w) high^w more [currency].
    at: the preference in every episode, instead of one drawn at random; for evaluation, serving.
    """

    low: float
    high: float
    at: float | None = None

    def __post_init__(self) -> None:
        if not (0.0 < self.low < self.high < float("inf")):
            raise ConfigError(
                f"preference: low is {self.low} and high {self.high}; expected 0 < low < high."
            )
        if self.at is not None and not 0.0 <= self.at <= 1.0:
            raise ConfigError(f"preference.at is {self.at}; expected a share from 0 to 1, or null.")

    def price(self, preference: Floats) -> Floats:
        """[B] currency per unit not served at once."""
        return self.low ** (1.0 - preference) * self.high**preference


@dataclass(frozen=True)
class RewardConfig:
    """How costs become rewards."""

    # share in [0, 1] of the cost of every pair below that a pair answers for: a warehouse
    # that only sees its own holding cost learns to hold nothing
    downstream_share: float
    # share in [0, 1] of the reward that is the network's mean; the rest is the pair's own and
    # what it answers for
    network_share: float
    # subtract what the base policy, simulated beside, pays on the same trace. Actions can't
    # change that, so the best policy stays the best, with a fraction of the noise
    paired: bool
    # share in [0, 1] of a SKU's value that a unit in stock or in transit is worth at the
    # horizon, so that episodes don't end by draining stock
    salvage_share: float
    # share in ]0, 1[ of units to be served at once: the price of those that aren't rises
    # while there are too many, and falls again. None: no such aim
    target_fill_rate: float | None
    # by how much of the base policy's cost per unit demanded the price moves per iteration
    # and unit of fill rate missing
    price_step: float
    # share in ]0, 1] of a sample's replications to learn from, the highest-cost ones (Tamar,
    # Glassner and Mannor 2015); 1: all, the mean
    tail_share: float

    def __post_init__(self) -> None:
        target = self.target_fill_rate
        if target is not None and not 0.0 < target < 1.0:
            raise ConfigError(
                f"reward.target_fill_rate is {target}; expected a share between 0 and 1, or null."
            )
        if not 0.0 < self.tail_share <= 1.0:
            raise ConfigError(
                f"reward.tail_share is {self.tail_share}; expected a share > 0 and <= 1."
            )
        if not 0.0 < self.price_step < float("inf"):
            raise ConfigError(f"reward.price_step is {self.price_step}; expected a number > 0.")
        for name in ("downstream_share", "network_share", "salvage_share"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"reward.{name} is {value}; expected a share from 0 to 1.")


COST_ALONE = RewardConfig(
    downstream_share=0.0, network_share=0.0, paired=False, salvage_share=1.0,
    target_fill_rate=None, price_step=20.0, tail_share=1.0,
)  # fmt: skip
"""Every pair pays its own cost, as where nothing is learned."""


def add_shortage(
    cost: Floats,
    flows: Flows,
    price: Floats,
    out: Floats,
) -> Floats:
    """Fill and return out [P, B] = cost + price [B] x units not served at once."""
    np.subtract(flows.demand, flows.sold, out=out)
    out *= price
    out += cost
    return out


def compute_reward(
    total_cost: Floats,
    downstream: Csr,
    cost_scale: Floats,
    config: RewardConfig,
    out: Floats32,
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
    _scale(out, cost_scale)


@entry
def _scale(out: Floats32, cost_scale: Floats) -> None:
    for p in range(out.shape[0]):
        reward, scale = out[p], -cost_scale[p, 0]
        for b in range(reward.size):
            reward[b] = reward[b] / scale


@entry
def _add_downstream(pointer, index, total_cost, share, out):  # type: ignore[no-untyped-def]
    for p in range(out.shape[0]):
        reward = out[p]
        for i in range(pointer[p], pointer[p + 1]):
            cost = total_cost[index[i]]
            for b in range(reward.size):
                reward[b] += share * np.float32(cost[b])
