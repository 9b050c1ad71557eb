"""How a sampler gets its simulator: a picklable recipe, built where it runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.reward import COST_ALONE, RewardConfig
from envs.scenario import Scenario
from envs.types import Floats


class EnvFactory(Protocol):
    """Anything picklable that builds a simulator of `batch_size` replications."""

    def __call__(self, batch_size: int) -> BatchedEnv: ...


@dataclass(frozen=True)
class ScenarioEnvFactory:
    """Builds the simulator of one scenario."""

    scenario: Scenario
    split: str = "train"  # which demand history: "train", "tune" or "test"
    # No salvage while training: where an episode is cut, the critic already values what is
    # left, and both together would count it twice.
    reward: RewardConfig = field(default_factory=lambda: replace(COST_ALONE, salvage_share=0.0))
    cost_scale: Floats | None = None  # [P] currency per period, see BatchedEnv
    central: bool = False  # append what only a centralised critic may see

    def __call__(self, batch_size: int) -> BatchedEnv:
        return BatchedEnv(
            self.scenario,
            batch_size,
            split=self.split,
            reward=self.reward,
            cost_scale=self.cost_scale,
            central=self.central,
        )

    def __deepcopy__(self, memo: object) -> ScenarioEnvFactory:
        """Itself, since nothing in it changes: RLlib copies its configuration over and over, and a
        large network takes some 150 MB."""
        return self


def without_packs(factory: EnvFactory) -> EnvFactory:
    """The same simulator with orders of any size; other factories than a scenario's stay."""
    if not isinstance(factory, ScenarioEnvFactory):
        return factory
    network = factory.scenario.network
    lanes = tuple(replace(lane, order_multiple=0.0) for lane in network.lanes)
    skus = tuple(replace(sku, whole_units=False) for sku in network.skus)
    scenario = replace(factory.scenario, network=replace(network, lanes=lanes, skus=skus))
    return replace(factory, scenario=scenario)


def with_central_view(factory: EnvFactory) -> EnvFactory:
    """The same simulator with columns for a centralised critic; see
    envs/observation/central_view.py.

    Raises:
        ConfigError: the factory is not a scenario's.
    """
    if not isinstance(factory, ScenarioEnvFactory):
        raise ConfigError(
            f"a centralised critic needs a ScenarioEnvFactory; got {type(factory).__name__}; take "
            "algorithm=ppo"
        )
    return replace(factory, central=True)
