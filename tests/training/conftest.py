"""Fixtures of the training tests: one small supply chain."""

from __future__ import annotations

from envs.network.demand import DemandConfig
from envs.scenarios import build_scenario
from envs.scenarios.one_warehouse import OneWarehouseConfig
from training.config import ResourcesConfig, TrainingConfig
from training.rllib.algorithms.ppo import PpoConfig
from training.rllib.env_factory import ScenarioEnvFactory


def small_factory(stores: int = 3, skus: int = 1, horizon: int = 12) -> ScenarioEnvFactory:
    """One warehouse and a few stores that lose sales."""
    return ScenarioEnvFactory(
        build_scenario(
            OneWarehouseConfig(
                kind="one_warehouse",
                name="small",
                stores=stores,
                skus=skus,
                lost_sale_cost=9.0,
                demand=DemandConfig(mean=5.0),
                horizon=horizon,
                warm_up=4,
            )
        )
    )


def small_config(seed: int = 0, runners: int = 0, **algorithm: float) -> TrainingConfig:
    """Eight replications, ten periods a fragment: milliseconds per iteration."""
    return TrainingConfig(
        algorithm=PpoConfig(**{"minibatch_rows": 64, "epochs": 2, **algorithm}),  # type: ignore[arg-type]
        resources=ResourcesConfig(env_runners=runners, envs_per_runner=8, fragment_periods=10),
        seed=seed,
    )
