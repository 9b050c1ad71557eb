"""A served scenario, its artifact and its recommender."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from envs.network.demand import DemandConfig
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.one_warehouse import OneWarehouseConfig
from evaluation.artifact.artifact import load_artifact
from serving.recommender import Recommender
from tests.serving.policies import Registry, write_artifact


@pytest.fixture(scope="session")
def chain() -> Scenario:
    """A warehouse, three stores, two items; forecasts learn from sales."""
    return build_scenario(
        OneWarehouseConfig(
            kind="one_warehouse",
            name="chain",
            horizon=40,
            demand=DemandConfig(mean=5.0),
            stores=3,
            skus=2,
            lost_sale_cost=9.0,
            smoothing=0.1,
        )
    )


@pytest.fixture(scope="session")
def artifact_folder(chain: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact") / "policy"
    write_artifact(folder, chain)
    return folder


@pytest.fixture(scope="session")
def recommender(artifact_folder: Path) -> Recommender:
    return Recommender(load_artifact(artifact_folder), version="3", run_id="run")


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database without models: copying it takes 1 ms, making one 6 s."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def registry(tmp_path: Path, empty_registry: Path) -> Registry:
    """A model registry of this test alone."""
    shutil.copy(empty_registry, tmp_path / "mlflow.db")
    return Registry(tmp_path)
