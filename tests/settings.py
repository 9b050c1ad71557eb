"""Settings as conf/ has them, with values of a test's own."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from conf.compose import compose
from envs.reward import COST_ALONE, RewardConfig
from training.commands.train import TrainCommand
from training.config import AlgorithmConfig, ModelConfig, ResourcesConfig, TrainingConfig


@functools.cache
def _command(*arguments: str) -> TrainCommand:
    return compose(TrainCommand, ["scenario=lost_sales", *arguments]).command


def as_shipped(section: str, **values: Any) -> Any:
    """A section of `echelon train`, such as "resources", or a choice, such as "algorithm=ppo"."""
    name, _, choice = section.partition("=")
    return dataclasses.replace(getattr(_command(*[section] * bool(choice)), name), **values)


def cost_alone(**values: Any) -> RewardConfig:
    """The cost alone, but for `values`."""
    return dataclasses.replace(COST_ALONE, **values)


def training(
    algorithm: AlgorithmConfig,
    model: ModelConfig | None = None,
    resources: ResourcesConfig | None = None,
    seed: int = 0,
) -> TrainingConfig:
    """A whole training, with what ships where nothing is given."""
    return TrainingConfig(
        algorithm, model or as_shipped("model"), resources or as_shipped("resources"), seed
    )
