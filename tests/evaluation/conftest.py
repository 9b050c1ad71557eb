"""A local MLflow database that costs a test a millisecond."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.tracking.config import TrackingConfig

EXPERIMENT = "test"
REQUEST_TIMEOUT = 1  # seconds


@pytest.fixture
def local(tmp_path: Path, migrated: Path) -> TrackingConfig:
    """Tracking into a database of the test's own."""
    shutil.copy(migrated, tmp_path / "mlflow.db")
    return config_for(f"sqlite:///{tmp_path / 'mlflow.db'}")


@pytest.fixture(autouse=True)
def restore_environment() -> Iterator[None]:
    """The tracker sets MLflow's variables for its process; a test must not for the next one."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def config_for(uri: str, flush_timeout: float = 600.0) -> TrackingConfig:
    """Return a configuration for the experiment of the tests."""
    return TrackingConfig(
        enabled=True, uri=uri, experiment=EXPERIMENT, system_metrics=False,
        system_metrics_interval=10.0, flush_timeout=flush_timeout, request_timeout=REQUEST_TIMEOUT,
    )  # fmt: skip
