"""PPO's learner with minibatches that use every row exactly once per epoch.

RLlib's own iterator gives every module minibatches of the same size, and cycles through
small modules until the largest is done: with 20 warehouse rows beside 400 store rows the
warehouses would be trained 20 times as often. Its loss, gradients and optimizers are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import (
    ALL_MODULES,
    NUM_MODULE_STEPS_TRAINED,
    NUM_MODULE_STEPS_TRAINED_LIFETIME,
    WEIGHTS_SEQ_NO,
)

__all__ = ["BatchedPPOLearner", "minibatches"]


def minibatches(
    batch: MultiAgentBatch, *, epochs: int, parts: int, generator: torch.Generator
) -> Iterator[MultiAgentBatch]:
    """Shuffle, cut into `parts`, and do so `epochs` times.

    Each minibatch holds the same share of every module's rows, so modules of any size see
    each row once per epoch. Columns are tensors of equal length per module.
    """
    for _ in range(epochs):
        shares = {
            kind: torch.randperm(len(columns[Columns.OBS]), generator=generator).tensor_split(parts)
            for kind, columns in batch.policy_batches.items()
        }
        for part in range(parts):
            yield MultiAgentBatch(
                {
                    kind: SampleBatch(
                        {
                            name: column[shares[kind][part].to(column.device)]
                            for name, column in columns.items()
                        }
                    )
                    for kind, columns in batch.policy_batches.items()
                },
                env_steps=max(1, batch.env_steps() // parts),
            )


class BatchedPPOLearner(PPOTorchLearner):
    """RLlib's PPO on whole batches."""

    def build(self) -> None:
        """Build as RLlib does, and seed the shuffling."""
        super().build()
        self._shuffling = torch.Generator().manual_seed(self.config.seed or 0)

    def _create_iterator_if_necessary(
        self,
        *,
        training_data: TrainingData,
        num_total_minibatches: int = 0,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        shuffle_batch_per_epoch: bool = False,
        **kwargs: Any,
    ) -> Iterator[MultiAgentBatch]:
        batch = self._make_batch_if_necessary(training_data=training_data)
        self._log_rows_trained(batch, num_epochs)
        return minibatches(
            batch,
            epochs=num_epochs,
            parts=num_total_minibatches // num_epochs,
            generator=self._shuffling,
        )

    def _log_rows_trained(self, batch: MultiAgentBatch, epochs: int) -> None:
        rows = {kind: len(columns[Columns.OBS]) for kind, columns in batch.policy_batches.items()}
        for key, count in {**rows, ALL_MODULES: sum(rows.values())}.items():
            for name, reduce in (
                (NUM_MODULE_STEPS_TRAINED, "sum"),
                (NUM_MODULE_STEPS_TRAINED_LIFETIME, "lifetime_sum"),
            ):
                self.metrics.log_value((key, name), count * epochs, reduce=reduce)
        for kind in rows:
            self.metrics.log_value((kind, WEIGHTS_SEQ_NO), self._weights_seq_no, window=1)

    def _log_steps_trained_metrics(self, batch: MultiAgentBatch) -> None:
        """Nothing per minibatch: counted once per update, and once per row."""

    def _log_metrics(self, batch: MultiAgentBatch) -> None:
        """Nothing per minibatch: see `_log_rows_trained`."""
