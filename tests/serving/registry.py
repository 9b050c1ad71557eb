"""A model registry for the tests of serving, filled as training fills it."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient

from evaluation.artifact.registry import resolve_artifact
from evaluation.tracking.tracker import Tracker
from tests.settings import as_shipped

__all__ = ["Registry", "spoil_weights"]


class Registry:
    """A real model registry in a folder, filled as `echelon train` fills it, but for aliases."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        self._count = 0

    def register(self, policy: Path, alias: str | None = "champion", model: str = "echelon") -> str:
        """Register an artifact folder as the next version of a model; returns the version."""
        self._count += 1
        config = as_shipped("tracking", uri=self.uri, system_metrics=False, flush_timeout=600.0)
        with Tracker(config, self.folder / f"run_{self._count}") as tracker:
            tracker.start(f"run {self._count}")
            version = tracker.register_model(model, policy)
        assert version is not None
        if alias != "challenger":
            MlflowClient(self.uri).delete_registered_model_alias(model, "challenger")
        if alias is not None:
            self.promote(version, alias, model)
        return version

    def files_of(self, version: str) -> Path:
        """Where the registry keeps the files of a version."""
        return resolve_artifact(version, tracking_uri=self.uri).folder

    def promote(self, version: str, alias: str = "champion", model: str = "echelon") -> None:
        """Move the alias."""
        MlflowClient(self.uri).set_registered_model_alias(model, alias, version)


def spoil_weights(folder: Path) -> None:
    """Flip one bit of the weights: what a bad disk does."""
    path = folder / "policy.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
