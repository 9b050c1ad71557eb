"""RLlib's IMPALA and APPO, with learners that are placed as those of our own algorithms."""

from __future__ import annotations

from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig

from training.rllib.placement import PlacedLearners


class PlacedIMPALAConfig(PlacedLearners, IMPALAConfig):
    """RLlib's IMPALA."""


class PlacedAPPOConfig(PlacedLearners, APPOConfig):
    """RLlib's APPO."""
