"""What training aims at, of whole episodes: by it the best checkpoint is chosen."""

from __future__ import annotations

import numpy as np

from envs.kpis.pairs import EpisodeKpis
from envs.reward import RewardConfig

_MISSING = 10.0  # a fill rate one hundredth under its target counts as a tenth more cost


def objective(kpis: EpisodeKpis, reward: RewardConfig) -> float:
    """Return the number to minimise [currency per period].

    Mean cost of the highest-cost `tail_share` of the episodes, priced shortages included, times
    1 + 10 x what the fill rate misses of its target.
    """
    per_episode = kpis.cost.mean(axis=0) + kpis.sums.shortage_charge / kpis.periods
    count = max(1, round(reward.tail_share * per_episode.size))
    cost = float(np.sort(per_episode)[-count:].mean())
    if reward.target_fill_rate is None:
        return cost
    missing = max(0.0, reward.target_fill_rate - kpis.summary()["fill_rate"])
    return cost + abs(cost) * _MISSING * missing


def moved_price(price: float, fill_rate: float, reward: RewardConfig, unit_cost: float) -> float:
    """Return the price of a unit that isn't served at once [currency], one step of dual ascent on.

    Up while the fill rate is below its target, down again above it, never below 0. unit_cost: what
    the base policy pays per unit demanded.
    """
    assert reward.target_fill_rate is not None
    missing = reward.target_fill_rate - fill_rate
    return max(0.0, price + reward.price_step * unit_cost * missing)
