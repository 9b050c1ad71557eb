"""A scenario, its artifact and its recommender."""

from tests.evaluation.recommendation.artifacts import artifact_folder, chain, recommender

__all__ = ["artifact_folder", "chain", "recommender"]
