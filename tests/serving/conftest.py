"""An artifact that is served, and a registry."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.evaluation.recommendation.artifacts import artifact_folder, chain
from tests.serving.registry import Registry

__all__ = ["artifact_folder", "chain"]


@pytest.fixture
def registry(tmp_path: Path, migrated: Path) -> Registry:
    """A model registry of this test alone."""
    shutil.copy(migrated, tmp_path / "mlflow.db")
    return Registry(tmp_path)
