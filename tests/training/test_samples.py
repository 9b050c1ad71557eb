"""training/rllib/samples.py: shares for learners, and what they add up to."""

from __future__ import annotations

import numpy as np
import pytest
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from training.rllib.samples import fetched, merged, sampled, scales


def batch(rng: np.random.Generator, stores: int, warehouses: int) -> MultiAgentBatch:
    """Rows that are numbered, with advantages that are far from 0."""
    return MultiAgentBatch(
        {
            kind: SampleBatch(
                {
                    Columns.OBS: np.arange(rows, dtype=np.float32),
                    Postprocessing.ADVANTAGES: rng.normal(5.0, 3.0, rows).astype(np.float32),
                }
            )
            for kind, rows in {"store": stores, "warehouse": warehouses}.items()
        },
        env_steps=10,
    )


@pytest.mark.parametrize("learners", [1, 2, 3])
def test_each_row_goes_to_one_learner_in_equal_shares(learners: int) -> None:
    """Of every kind, from every runner."""
    rng = np.random.default_rng(learners)
    samples = [sampled(batch(rng, 40, 7), learners, stays=False) for _ in range(2)]
    shares = [merged(fetched(samples, k, 1.0), scales(samples)) for k in range(learners)]
    for kind, rows in {"store": 40, "warehouse": 7}.items():
        taken = np.concatenate([share[kind][Columns.OBS] for share in shares])
        assert sorted(taken) == sorted([*range(rows)] * 2)
        sizes = [len(share[kind]) for share in shares]
        assert max(sizes) - min(sizes) <= 2, "a row of each sample"
    assert sum(share.env_steps() for share in shares) == 20


def test_advantages_are_normalised_over_all_runners_per_kind() -> None:
    """All together have mean 0 and spread 1, however many runners; each of its own need not."""
    rng = np.random.default_rng(0)
    parts = [batch(rng, rows, 2 * rows) for rows in (3, 50, 17)]
    for part in parts[1:]:
        part["store"][Postprocessing.ADVANTAGES] += 7.0
    samples = [sampled(part, 2, stays=False) for part in parts]
    shares = [merged(fetched(samples, k, 1.0), scales(samples)) for k in range(2)]
    for kind in ("store", "warehouse"):
        values = np.concatenate([share[kind][Postprocessing.ADVANTAGES] for share in shares])
        assert values.dtype == np.float32
        assert values.mean() == pytest.approx(0, abs=1e-6)
        assert values.std() == pytest.approx(1, abs=1e-6)
    assert abs(shares[0]["store"][Postprocessing.ADVANTAGES].mean()) > 1e-3


def test_advantages_that_are_all_the_same_are_not_blown_up() -> None:
    """They are 0."""
    same = MultiAgentBatch({"store": SampleBatch({Postprocessing.ADVANTAGES: np.ones(4)})}, 4)
    samples = [sampled(same, 1, stays=False)]
    [whole] = fetched(samples, 0, 1.0)
    assert not merged([whole], scales(samples))["store"][Postprocessing.ADVANTAGES].any()
