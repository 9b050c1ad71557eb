"""The algorithms, one a file: settings, capabilities, RLlib's configuration."""

from __future__ import annotations

from envs.errors import ConfigError
from envs.reward import RewardConfig
from training.config import AlgorithmConfig, ResourcesConfig
from training.rllib.algorithms.appo import AppoConfig
from training.rllib.algorithms.impala import ImpalaConfig
from training.rllib.algorithms.mappo import MappoConfig
from training.rllib.algorithms.pathwise import PathwiseConfig
from training.rllib.algorithms.ppo import PpoConfig

__all__ = ["ALGORITHMS", "check_capabilities"]

ALGORITHMS: dict[str, type[AlgorithmConfig]] = {
    "pathwise": PathwiseConfig,
    "ppo": PpoConfig,
    "mappo": MappoConfig,
    "appo": AppoConfig,
    "impala": ImpalaConfig,
}


def check_capabilities(
    algorithm: AlgorithmConfig, resources: ResourcesConfig, reward: RewardConfig
) -> None:
    """Raise ConfigError where resources or reward ask what the algorithm can't do."""
    if algorithm.asynchronous and resources.env_runners == 0:
        raise ConfigError(
            f"resources.env_runners is 0; expected at least 1, as {_name(algorithm)} samples while "
            f"it learns; set resources.env_runners=1, or take {_others('asynchronous', False)}"
        )
    if resources.learners > 1 and algorithm.samples == "slopes":
        raise ConfigError(
            f"resources.learners is {resources.learners}; expected 1 at most, as "
            f"{_name(algorithm)} finds slopes on its runners and only follows them on the learner; "
            "set resources.env_runners instead"
        )
    if resources.gpus_per_runner and algorithm.samples != "slopes":
        raise ConfigError(
            f"resources.gpus_per_runner is {resources.gpus_per_runner}; expected 0, as runners of "
            f"{_name(algorithm)} play on processors alone; leave it out: resources.device=cuda "
            "gives the learner a GPU"
        )
    for name, plain in {"min_runners": 1, "memory_per_runner": 0.0, "placement": "pack"}.items():
        if algorithm.asynchronous and getattr(resources, name) != plain:
            raise ConfigError(
                f"resources.{name} is {getattr(resources, name)}; expected {plain}, as RLlib "
                f"starts the runners of {_name(algorithm)} in its own way; leave it out, or take "
                f"{_others('asynchronous', False)}"
            )
    if reward.target_fill_rate is not None and not algorithm.holds_fill_rate:
        raise ConfigError(
            f"reward.target_fill_rate is set; expected null, as {_name(algorithm)} moves no "
            "shortage price; set reward.target_fill_rate=null, or take "
            f"{_others('holds_fill_rate')}"
        )
    if reward.tail_share < 1.0 and not algorithm.learns_from_tail:
        raise ConfigError(
            f"reward.tail_share is {reward.tail_share}; expected 1, as {_name(algorithm)} learns "
            f"from all replications; set reward.tail_share=1, or take {_others('learns_from_tail')}"
        )


def _name(algorithm: AlgorithmConfig) -> str:
    kind = type(algorithm)
    return next((name for name, known in ALGORITHMS.items() if known is kind), kind.__name__)


def _others(capability: str, wanted: bool = True) -> str:
    names = [name for name, kind in ALGORITHMS.items() if getattr(kind, capability) is wanted]
    return f"algorithm={' or '.join(names)}"
