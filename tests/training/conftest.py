"""Fixtures of the training tests: one small supply chain."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.utils import parameters_to_vector

from conf.compose import compose
from envs.network.demand import DemandConfig
from envs.scenarios import build_scenario
from evaluation.commands.evaluate import EvaluateCommand
from tests.envs.networks import one_warehouse
from tests.settings import as_shipped, cost_alone, training
from training.config import TrainingConfig
from training.rllib.env_factory import ScenarioEnvFactory


def run_module(name: str) -> subprocess.CompletedProcess[str]:
    """Run a module of the tests in a process of its own, which has a Ray of several nodes."""
    folder = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-m", name], cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip


def small_factory(stores: int = 3, skus: int = 1, horizon: int = 12) -> ScenarioEnvFactory:
    """One warehouse and a few stores that lose sales."""
    return ScenarioEnvFactory(
        build_scenario(
            one_warehouse(
                name="small",
                stores=stores,
                skus=skus,
                lost_sale_cost=9.0,
                demand=DemandConfig("poisson", mean=5.0),
                horizon=horizon,
                warm_up=4,
            )
        )
    )


def textbook_factory() -> ScenarioEnvFactory:
    """Lost sales under a base stock that is tuned: 5.2 where 4.73 is possible (Zipkin 2008)."""
    composed = compose(EvaluateCommand, ["scenario=lost_sales"])
    scenario = build_scenario(composed.command.scenario)
    scenario = replace(scenario, policy_params={"base_stock": {"level": 25.0}})
    return ScenarioEnvFactory(scenario, reward=cost_alone(salvage_share=0.0))


def weights(algorithm: Any) -> Tensor:
    """All parameters of the models that act."""
    from training.rllib.trainer import trained_actors  # Ray takes seconds to import

    actors = trained_actors(algorithm).values()
    return parameters_to_vector([one for actor in actors for one in actor.parameters()]).detach()


def small_config(seed: int = 0, runners: int = 0, **algorithm: float) -> TrainingConfig:
    """Eight replications, ten periods a fragment: milliseconds per iteration."""
    few = {"discount": 0.99, "iterations": 100, "minibatch_rows": 64, "epochs": 2}
    return training(
        algorithm=as_shipped("algorithm=ppo", **(few | algorithm)),
        resources=as_shipped(
            "resources", env_runners=runners, envs_per_runner=8, fragment_periods=10
        ),
        seed=seed,
    )
