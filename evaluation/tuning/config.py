"""Settings of tuning: names and units; the values live in conf/."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TuneConfig:
    """Search of classical policies' parameters.

    traces: episodes per parameter set.
    budget: parameter sets at most.
    seed: of the training traces it searches on.
    """

    traces: int
    budget: int
    seed: int


@dataclass(frozen=True)
class TimedTuneConfig(TuneConfig):
    """seconds: for one policy; the budget is cut to what fits."""

    seconds: float


@dataclass(frozen=True)
class ChooseConfig:
    """Choice of the best classical policy. traces: episodes of the tune split."""

    traces: int
    seed: int
