"""An artifact that is served, and a registry."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.evaluation.recommendation.artifacts import artifact_folder, chain
from tests.serving.registry import Registry

__all__ = ["artifact_folder", "chain"]


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
