"""PPO's learner: minibatches that use every row exactly once per epoch, at little cost.

RLlib's own iterator gives every module minibatches of the same size, and cycles through
small modules until the largest is done: with 20 warehouse rows beside 400 store rows the
warehouses would be trained 20 times as often. Its loss is kept; what it does once per minibatch
and could do once per update (statistics, checks of each gradient) is done once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
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
from torch import Tensor

from envs.errors import ConfigError
from training.config import ResourcesConfig
from training.rllib.freed_memory import keep_freed_memory
from training.rllib.memory import free_for_learner, require_room
from training.rllib.samples import Sampled, TakenSamples, fetched, merged
from training.rllib.tanh_gradient import has_written_gradient, set_ppo_gradient

log = logging.getLogger(__name__)


def minibatches(
    batch: MultiAgentBatch, *, epochs: int, parts: int, generator: torch.Generator
) -> Iterator[MultiAgentBatch]:
    """Shuffle, cut into `parts`, and do so `epochs` times.

    Each minibatch holds the same share of every module's rows, so modules of any size see
    each row once per epoch. Columns are float32 tensors of equal length per module.
    """
    # One array per module: a shuffled row is then one read from memory, not one per column.
    rows = {kind: _side_by_side(columns) for kind, columns in batch.policy_batches.items()}
    for _ in range(epochs):
        shares = {
            kind: torch.randperm(len(table), generator=generator).tensor_split(parts)
            for kind, table in rows.items()
        }
        for part in range(parts):
            yield MultiAgentBatch(
                {
                    kind: _apart(
                        table.index_select(0, shares[kind][part].to(table.device)), columns
                    )
                    for (kind, columns), table in zip(
                        batch.policy_batches.items(), rows.values(), strict=True
                    )
                },
                env_steps=max(1, batch.env_steps() // parts),
            )


def _side_by_side(columns: Mapping[str, Tensor]) -> Tensor:
    """Columns [N, ...] -> one array [N, their widths together]."""
    return torch.cat([column.reshape(len(column), -1) for column in columns.values()], dim=1)


def _apart(rows: Tensor, columns: Mapping[str, Tensor]) -> SampleBatch:
    """Rows of `_side_by_side` -> columns named and shaped as `columns`."""
    widths = [math.prod(column.shape[1:]) for column in columns.values()]
    parts = rows.split(widths, dim=1)
    return SampleBatch(
        {
            # Wide columns stay where they are: matrix products take them as they lie.
            name: (part if part.shape[1] > 1 else part.contiguous()).view(
                len(rows), *column.shape[1:]
            )
            for (name, column), part in zip(columns.items(), parts, strict=True)
        }
    )


class LearningSchedule(NamedTuple):
    """What changes in the course of a training; RLlib's schedules know no time limit."""

    learning_rate: float  # Adam step size
    entropy_weight: float  # loss per nat
    highest_std: float | None  # of exploration; None: as it is
    critic_only: bool  # leave the actor and its exploration as they are


class BatchedPPOLearner(PPOTorchLearner):
    """RLlib's PPO on whole batches."""

    def build(self) -> None:
        """Build as RLlib does, and seed the shuffling."""
        keep_freed_memory()
        super().build()
        self._shuffling = torch.Generator().manual_seed(self.config.seed or 0)
        self._last_minibatch = True
        self._critic_only = False
        self._taken: list[Any] = []  # see `take`

    def lacks_room(self, needed: float) -> ConfigError | None:
        """Return what is wrong where this machine has no room for so many bytes of samples."""
        resources: ResourcesConfig = self.config.env_config["resources"]
        try:
            require_room(
                "a learner's share of a batch", needed, free_for_learner(resources), resources
            )
        except ConfigError as error:
            return error
        return None

    def take(self, samples: Sequence[Sampled], timeout: float) -> set[int]:
        """Fetch this learner's share of each within so many seconds; numbers of those it can't."""
        self._taken = fetched(samples, self._learner_index, timeout)
        return {number for number, part in enumerate(self._taken) if part is None}

    def follow(self, settings: LearningSchedule) -> None:
        """Let this hold from now on."""
        self._critic_only = settings.critic_only
        for schedule in self._optimizer_lr_schedules.values():
            schedule._curr_value = settings.learning_rate
        for optimizer in self._named_optimizers.values():
            self._set_optimizer_lr(optimizer, settings.learning_rate)
        for kind in self.module.keys():  # noqa: SIM118  (no dict)
            self.entropy_coeff_schedulers_per_module[kind]._curr_value = settings.entropy_weight
            if settings.highest_std is not None:
                self.module[kind].unwrapped().set_highest_std(settings.highest_std)

    def configure_optimizers_for_module(
        self, module_id: str, config: AlgorithmConfig | None = None
    ) -> None:
        """Adam as RLlib's, all parameters in one call."""
        parameters = list(self.get_parameters(self.module[module_id]))
        self.register_optimizer(
            module_id=module_id,
            optimizer=torch.optim.Adam(parameters, fused=True),
            params=parameters,
            lr_or_lr_schedule=(config or self.config).lr,
        )

    def _uncompiled_update(
        self, batch: dict[str, Any], **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
        """One gradient step of every module on its share of the minibatch."""
        for optimizer in self._optimizer_parameters:
            optimizer.zero_grad(set_to_none=True)
        # Statistics are of the last minibatch: of the others they would be overwritten unread.
        written = set() if self._last_minibatch else self._written_gradients(batch)
        for kind in written:
            config = self.config.get_config_for_module(kind)
            set_ppo_gradient(
                self.module[kind],
                dict(batch[kind]),
                clip=config.clip_param,
                value_weight=config.vf_loss_coeff,
                value_clip=config.vf_clip_param,
                entropy_weight=self.entropy_coeff_schedulers_per_module[kind].get_current_value(),
            )
        others = {kind: columns for kind, columns in batch.items() if kind not in written}
        # Not forward_train: it would visit every layer each time to switch it to training.
        outputs = {kind: self.module[kind]._forward_train(others[kind]) for kind in others}
        losses = self.compute_losses(fwd_out=outputs, batch=others)
        if losses:
            torch.stack(list(losses.values())).sum().backward()
        for kind in batch:
            self._step(kind)
        return outputs, losses, {}

    def _written_gradients(self, kinds: Iterable[str]) -> set[str]:
        """Modules whose gradient need not be found by automatic differentiation."""
        if self.config.use_kl_loss or not self.config.use_critic:
            return set()
        return {kind for kind in kinds if has_written_gradient(self.module[kind])}

    def _step(self, kind: str) -> None:
        """Clip the module's gradient, and let its optimizers use it if it is finite."""
        limit = self.config.get_config_for_module(kind).grad_clip or math.inf
        for name, optimizer in self.get_optimizers_for_module(kind):
            if self._critic_only:
                for parameter_name, parameter in self.module[kind].unwrapped().named_parameters():
                    if not parameter_name.startswith("critic."):
                        parameter.grad = None
            parameters = [p for p in self._optimizer_parameters[optimizer] if p.grad is not None]
            norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters])
            if math.isfinite(norm):
                if norm > limit:
                    torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
                optimizer.step()
            else:
                log.warning("module '%s': gradient of norm %s, step left out", kind, float(norm))
            if self._last_minibatch:
                key = (kind, f"gradients_{name}_global_norm")
                self.metrics.log_value(key, norm, window=1)

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
        batch = self._make_batch_if_necessary(training_data=self._merged(training_data))
        self._log_rows_trained(batch, num_epochs)
        parts = num_total_minibatches // num_epochs
        shuffled = minibatches(batch, epochs=num_epochs, parts=parts, generator=self._shuffling)
        for number, minibatch in enumerate(shuffled, start=1):
            self._last_minibatch = number == num_epochs * parts
            yield minibatch

    def _merged(self, training_data: TrainingData) -> TrainingData:
        """One batch of all that was taken; what was lost by any learner is left out by all."""
        assert isinstance(training_data, TakenSamples)
        taken, self._taken = self._taken, []
        kept = [part for number, part in enumerate(taken) if number not in training_data.lost]
        return TrainingData(batch=merged(kept, training_data.scales))

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
