"""The forms of the network that acts, by name."""

from evaluation.artifact.models.registry import NETWORKS, build_network

__all__ = ["NETWORKS", "build_network"]
