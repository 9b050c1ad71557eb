"""PPO: one agent per node, one model per node kind."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from envs.errors import ConfigError
from training.config import AlgorithmConfig, TrainingConfig

if TYPE_CHECKING:
    from ray.rllib.algorithms.ppo import PPOConfig

    from training.rllib.ppo import BatchedPPOConfig


@dataclass(frozen=True)
class PpoConfig(AlgorithmConfig):
    """PPO (Schulman et al. 2017) over (node, SKU) rows.

    Raises:
        ConfigError: a value is out of range.
    """

    discount: float  # per period [gamma]; 1 / (1 - gamma) should exceed 3 lead times
    gae_lambda: float  # share [lambda]: 0 trusts the critic, 1 the measured costs
    clip: float  # largest change of the action's probability ratio per iteration
    epochs: int  # passes over each batch
    minibatch_rows: int  # (node, SKU) rows of the largest node kind per gradient step
    entropy_weight: float  # loss per nat of entropy, at the start; it falls linearly to 0
    value_weight: float  # loss per unit of squared error of the critic
    final_share: float  # of the learning rate, at the end; it falls linearly
    final_std: float | None  # ceiling of exploration at the end; None: model.highest_std
    critic_first: int  # iterations at the beginning in which only the critic learns

    samples: ClassVar[str] = "batch"
    holds_fill_rate: ClassVar[bool] = True
    learns_from_tail: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("discount", 0.0, 1.0, open_low=True)
        if self.discount == 1.0:
            raise ConfigError(
                "algorithm.discount is 1.0; expected less than 1, as episodes are cut by a "
                "time limit and their value would be infinite; try 0.99"
            )
        self.check("gae_lambda", 0.0, 1.0)
        self.check("clip", 0.0, 1.0, open_low=True)
        self.check("epochs", 1, whole=True)
        self.check("minibatch_rows", 16, whole=True)
        self.check("entropy_weight", 0.0)
        self.check("value_weight", 0.0)
        self.check("final_share", 0.0, 1.0)
        if self.final_std is not None:
            self.check("final_std", 0.0, open_low=True)
        self.check("critic_first", 0, whole=True)

    def build(self, config: TrainingConfig) -> BatchedPPOConfig:
        """PPO on whole batches."""
        from training.rllib.ppo import BatchedPPOConfig  # Ray takes seconds to import

        if self.final_std is not None:
            self.check("final_std", config.model.lowest_std, config.model.highest_std)
        rllib = BatchedPPOConfig()
        self.fill(rllib)
        rllib.highest_std, rllib.final_std = config.model.highest_std, self.final_std
        rllib.final_share, rllib.critic_first = self.final_share, self.critic_first
        return rllib

    def fill(self, rllib: PPOConfig) -> None:
        """Set what RLlib's own PPO knows too."""
        rllib.training(
            gamma=self.discount,
            lambda_=self.gae_lambda,
            clip_param=self.clip,
            num_epochs=self.epochs,
            minibatch_size=self.minibatch_rows,
            entropy_coeff=self.entropy_weight,
            vf_loss_coeff=self.value_weight,
            vf_clip_param=math.inf,
            use_kl_loss=False,
            shuffle_batch_per_epoch=True,
        )
