"""What runners sample, on its way to the learners: each fetches its share from where it lies.

The driver is told how many rows there are and the moments of their advantages, and holds none of
them, unless its own process learns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import ray
from ray.exceptions import RayError
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from envs.types import Floats32

_LEAST_SPREAD = 1e-4  # RLlib's own: advantages that are all the same aren't blown up


class Moments(NamedTuple):
    """Of the advantages of some rows."""

    rows: int
    mean: float
    squares: float  # sum of squared deviations from the mean


class Sampled(NamedTuple):
    """A runner's batch: cut into equal parts, one for each learner."""

    parts: list[Any]  # MultiAgentBatch, or where it lies
    moments: dict[str, Moments]  # by node kind
    env_steps: int


@dataclass
class TakenSamples(TrainingData):
    """What the learners have fetched: what they learn from, and what not.

    lost: numbers of samples that one of them could not fetch.
    scales: mean and spread of the advantages of all others, by node kind.
    """

    lost: frozenset[int] = frozenset()
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def validate(self) -> None:
        """Nothing: it is made in one place."""

    def shard(self, num_shards: int, *_: Any, **__: Any) -> list[tuple[TrainingData, Any]]:
        """The same for all."""
        return [(self, {})] * num_shards


def sampled(batch: MultiAgentBatch, learners: int, *, stays: bool) -> Sampled:
    """Cut a batch for so many learners. stays: whether it stays in this machine's object store."""
    bounds = [(k / learners, (k + 1) / learners) for k in range(learners)]
    parts: list[Any] = [_cut(batch, low, high) for low, high in bounds] if learners > 1 else [batch]
    moments = {
        kind: _moments(columns[Postprocessing.ADVANTAGES])
        for kind, columns in batch.policy_batches.items()
    }
    if stays:
        parts = [ray.put(part) for part in parts]
    return Sampled(parts, moments, batch.env_steps())


def fetched(samples: Sequence[Sampled], learner: int, timeout: float) -> list[Any]:
    """A learner's share of each: MultiAgentBatch, or None where it can't be had in time [s]."""
    parts = [sample.parts[learner] for sample in samples]
    places = [part for part in parts if isinstance(part, ray.ObjectRef)]
    if places:  # all of them on their way at once
        there, _ = ray.wait(places, num_returns=len(places), timeout=timeout)
        parts = [_gotten(part) if part in there else None for part in parts]
    return parts


def scales(samples: Sequence[Sampled]) -> dict[str, tuple[float, float]]:
    """Mean and spread of the advantages of all together, by node kind."""
    totals: dict[str, Moments] = {}
    for sample in samples:
        for kind, moments in sample.moments.items():
            totals[kind] = _together(totals[kind], moments) if kind in totals else moments
    return {
        kind: (total.mean, max(_LEAST_SPREAD, (total.squares / total.rows) ** 0.5))
        for kind, total in totals.items()
    }


def merged(
    batches: Sequence[MultiAgentBatch], scales: Mapping[str, tuple[float, float]]
) -> MultiAgentBatch:
    """One batch of several, with advantages of mean 0 and spread 1."""
    kinds: dict[str, SampleBatch] = {}
    for kind, first in batches[0].policy_batches.items():
        parts = [batch.policy_batches[kind] for batch in batches]
        columns = {
            name: np.concatenate([part[name] for part in parts]) if parts[1:] else first[name]
            for name in first
        }
        mean, spread = scales[kind]
        advantages: Floats32 = columns[Postprocessing.ADVANTAGES]
        columns[Postprocessing.ADVANTAGES] = ((advantages - mean) / spread).astype(np.float32)
        kinds[kind] = SampleBatch(columns)
    return MultiAgentBatch(kinds, env_steps=sum(batch.env_steps() for batch in batches))


def _cut(batch: MultiAgentBatch, low: float, high: float) -> MultiAgentBatch:
    """The rows between these shares of all."""
    kinds = {}
    for kind, columns in batch.policy_batches.items():
        rows = slice(*(round(share * len(columns)) for share in (low, high)))
        kinds[kind] = SampleBatch({name: columns[name][rows] for name in columns})
    return MultiAgentBatch(kinds, round(high * batch.env_steps()) - round(low * batch.env_steps()))


def _moments(values: Floats32) -> Moments:
    mean = float(values.mean(dtype=np.float64))
    return Moments(values.size, mean, float(np.square(values - mean, dtype=np.float64).sum()))


def _together(one: Moments, other: Moments) -> Moments:
    """Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance"."""
    rows, apart = one.rows + other.rows, other.mean - one.mean
    return Moments(
        rows,
        one.mean + apart * other.rows / rows,
        one.squares + other.squares + apart**2 * one.rows * other.rows / rows,
    )


def _gotten(part: Any) -> Any:
    """None: who had it has died."""
    try:
        return ray.get(part)
    except RayError:
        return None
