"""Scenarios, their artifacts and recommenders."""

from tests.evaluation.recommendation.artifacts import (
    artifact_folder,
    chain,
    recommender,
    season,
    seasonal,
)

__all__ = ["artifact_folder", "chain", "recommender", "season", "seasonal"]
