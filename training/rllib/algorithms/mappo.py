"""MAPPO: PPO whose critics see the whole network."""

from __future__ import annotations

from dataclasses import dataclass

from training.rllib.algorithms.ppo import PpoConfig
from training.rllib.env_factory import EnvFactory, with_central_view


@dataclass(frozen=True)
class MappoConfig(PpoConfig):
    """PPO whose critics see the whole network and true regimes (Yu et al. 2022)."""

    def env_factory(self, factory: EnvFactory) -> EnvFactory:
        """With the columns that only critics see."""
        return with_central_view(factory)
