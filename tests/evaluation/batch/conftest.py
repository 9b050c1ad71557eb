"""Scenarios and artifacts, as for requests, and a registry."""

from tests.evaluation.recommendation.artifacts import artifact_folder, chain
from tests.serving.conftest import registry

__all__ = ["artifact_folder", "chain", "registry"]
