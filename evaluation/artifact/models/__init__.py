"""The forms of the model that acts, by name."""

from evaluation.artifact.models.registry import MODELS, build_model

__all__ = ["MODELS", "build_model"]
