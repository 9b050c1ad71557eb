"""APPO, RLlib's own: IMPALA with PPO's clipped steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.config import TrainingConfig
from training.rllib.algorithms.impala import ImpalaConfig

if TYPE_CHECKING:
    from ray.rllib.algorithms.appo import APPOConfig


@dataclass(frozen=True)
class AppoConfig(ImpalaConfig):
    """APPO: IMPALA whose steps are clipped as PPO's (Luo et al. 2020).

    Raises:
        ConfigError: a value is out of range.
    """

    clip: float  # largest change of the action's probability ratio

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("clip", 0.0, 1.0, open_low=True)

    def build(self, config: TrainingConfig) -> APPOConfig:
        """RLlib's own."""
        from training.rllib.asynchronous import PlacedAPPOConfig  # Ray takes seconds to import

        rllib = PlacedAPPOConfig()
        self.fill(rllib, config)
        rllib.training(clip_param=self.clip, use_kl_loss=False)
        return rllib
