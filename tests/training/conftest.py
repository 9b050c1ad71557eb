"""Fixtures of the training tests: one small supply chain, and one Ray cluster per session."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import ray

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


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Ray with room for the driver and two runners; its start-up is retried once.

    The workers' path holds the repository, so that they import the tests' simulators too.
    """
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    options = {
        "num_cpus": 3,
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": "ERROR",
        "runtime_env": {"env_vars": {"PYTHONPATH": root}},
    }
    try:
        ray.init(**options)
    except Exception:  # the raylet's own start-up deadline is short on a loaded machine
        ray.shutdown()
        ray.init(**options)
    yield
    ray.shutdown()
