"""Pathwise gradients: the cost of trajectories, differentiated (training/rllib/pathwise.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from envs.errors import ConfigError
from training.config import AlgorithmConfig, ResourcesConfig, TrainingConfig
from training.rllib.env_factory import EnvFactory, without_packs

if TYPE_CHECKING:
    from training.rllib.pathwise import PathwiseRLlibConfig

_REPLICATIONS = 32  # to check slopes in
# Rows x episodes that a shard has at least. Kernels go through episodes side by side: few are slow,
# 2.7 against 1.8 CPU s a step of two_echelon_dc in shards of 8 and 32, and as fast in a network
# that fills the processor's cache with 4 (scale_1000).
_ROWS, _LARGE = 2048, 1 << 16
_EPISODES, _EPISODES_OF_LARGE = 16, 4

# To play a row for a period and go back takes some 0.5 us; two runners start in 10 to 20 s.
_ROW_SECONDS, _PERIODS, _WORTH_SECONDS = 5e-7, 64, 60.0


def shards_of(rows: int, episodes: int) -> int:
    """Return into how many shards so many episodes of so many rows are cut: a power of 2, each of
    enough rows and episodes that its calls cost little."""
    shards = 1
    while episodes % (2 * shards) == 0:
        each = episodes // (2 * shards)
        fewest = _EPISODES_OF_LARGE if rows * each >= _LARGE else _EPISODES
        if each < fewest or rows * each < _ROWS:
            break
        shards *= 2
    return shards


@dataclass(frozen=True)
class PathwiseConfig(AlgorithmConfig):
    """Gradients of the cost of whole trajectories (Madeka et al. 2022).

    Raises:
        ConfigError: a value is out of range.
    """

    final_share: float  # of the learning rate, at the end; it falls linearly
    periods: int | None  # of a trajectory; None: from the longest way to the customer
    tail: int | None  # periods at the end that only show what earlier orders led to
    shards: int | None  # of a step's episodes; None: as many as keep simulators busy
    whole_packs: bool  # round orders to packs while training, too

    samples: ClassVar[str] = "slopes"
    holds_fill_rate: ClassVar[bool] = True
    learns_from_tail: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("final_share", 0.0, 1.0)
        if self.periods is not None:
            self.check("periods", 2, whole=True)
        if self.tail is not None:
            self.check("tail", 0, whole=True)
        if self.shards is not None:
            self.check("shards", 1, whole=True)

    def build(self, config: TrainingConfig) -> PathwiseRLlibConfig:
        """Pathwise gradients, without sampling."""
        from training.rllib.pathwise import PathwiseRLlibConfig  # Ray takes seconds to import

        rllib = PathwiseRLlibConfig()
        rllib.trajectory_periods, rllib.tail_periods = self.periods, self.tail
        rllib.final_share = self.final_share
        return rllib

    def envs_at_once(self, rows: int, resources: ResourcesConfig) -> int:
        """Those of a shard."""
        episodes, runners = resources.envs_per_runner, resources.runners
        shards = self.shards or shards_of(rows, episodes)
        if episodes % shards:
            raise ConfigError(
                f"algorithm.shards is {shards}, of {episodes} episodes; expected equal shards; "
                f"set resources.envs_per_runner={math.ceil(episodes / shards) * shards}"
            )
        if runners > shards:
            raise ConfigError(
                f"resources.env_runners is {runners}; expected {shards} at most, one for each "
                f"shard of {episodes} episodes; raise resources.envs_per_runner, or set "
                "algorithm.shards"
            )
        return episodes // shards

    def runners_worth(self, rows: int, resources: ResourcesConfig, cpus: int) -> int:
        """One for each CPU that gets as many shards as any other, where that is worth starting
        them; the weights are the same with any number."""
        episodes = resources.envs_per_runner
        shards = episodes // self.envs_at_once(rows, resources)
        runners = max(n for n in range(1, min(cpus, shards) + 1) if shards % n == 0)
        seconds = _ROW_SECONDS * rows * episodes * (self.periods or _PERIODS) * self.iterations
        return runners if runners > 1 and seconds > _WORTH_SECONDS else 0

    def env_factory(self, factory: EnvFactory) -> EnvFactory:
        """With orders of any size, unless they are to be rounded to packs."""
        return factory if self.whole_packs else without_packs(factory)

    def check_problem(self, factory: EnvFactory) -> None:
        """The base policy has to say how its orders move with stock."""
        from training.pathwise.slope_check import check_slopes

        check_slopes(factory(_REPLICATIONS))
