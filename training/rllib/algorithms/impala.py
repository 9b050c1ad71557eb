"""IMPALA, RLlib's own: it learns while runners sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from training.config import AlgorithmConfig, TrainingConfig

if TYPE_CHECKING:
    from ray.rllib.algorithms.impala import IMPALAConfig


@dataclass(frozen=True)
class ImpalaConfig(AlgorithmConfig):
    """IMPALA (Espeholt et al. 2018): samples arrive while it learns, corrected by V-trace.

    Raises:
        ConfigError: a value is out of range.
    """

    discount: float  # per period [gamma]
    entropy_weight: float  # loss per nat of entropy
    value_weight: float  # loss per unit of squared error of the critic

    asynchronous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("discount", 0.0, 0.9999, open_low=True)
        self.check("entropy_weight", 0.0)
        self.check("value_weight", 0.0)

    def build(self, config: TrainingConfig) -> IMPALAConfig:
        """RLlib's own."""
        from training.rllib.asynchronous import PlacedIMPALAConfig  # Ray takes seconds to import

        rllib = PlacedIMPALAConfig()
        self.fill(rllib, config)
        return rllib

    def fill(self, rllib: IMPALAConfig, config: TrainingConfig) -> None:
        """Set what APPO knows too. Critics learn returns in reward units, as V-trace takes them:
        rewards are in units of what the base policy pays, so that is no burden."""
        rllib.training(
            gamma=self.discount,
            entropy_coeff=self.entropy_weight,
            vf_loss_coeff=self.value_weight,
        )
        # Weights are sent to the runners: batched runners need no server for them.
        rllib.env_runners(use_env_runner_state_server=False)
        # An iteration is a batch, however short: RLlib would go on for 10 s.
        resources = config.resources
        batch = resources.fragment_periods * resources.envs_per_runner * resources.runners
        rllib.reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=batch)
