"""PPO on whole batches: RLlib's Algorithm, with its own way from samples to the learners."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Mapping
from operator import methodcaller
from typing import Any

import numpy as np
import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.core.learner.learner import Learner
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    TIMERS,
    WEIGHTS_SEQ_NO,
)
from ray.tune.trainable import Trainable

from envs.errors import EchelonError, TrainingStopped
from training.objective import moved_price
from training.rllib.batched_runner import BatchedEnvRunner
from training.rllib.batches import normalise
from training.rllib.learners import on_learners
from training.rllib.ppo_learner import BatchedPPOLearner, LearningSchedule
from training.rllib.sampler import BaseRun

log = logging.getLogger(__name__)

Answer = tuple[int, Any, dict[str, Any]]  # runner, batches or an EchelonError, metrics


class BatchedPPOConfig(PPOConfig):
    """PPO's settings and schedules (`PpoConfig`), without a check that does not hold here."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or BatchedPPO)
        self.vf_clip_param = math.inf  # value units make the clipping needless
        self.use_kl_loss = False
        self.final_share = 1.0
        self.highest_std: float | None = None  # None: the modules' own, throughout
        self.final_std: float | None = None
        self.critic_first = 0
        # training_step gives every runner its weights and counters itself.
        self._dont_auto_sync_env_runner_states = True

    def get_default_learner_class(self) -> type[Learner]:
        """The learner with equal shares."""
        return BatchedPPOLearner

    def validate(self) -> None:
        """As PPO's, without comparing minibatch (rows) and batch (env steps)."""
        whole = self if not self._is_frozen else self.copy(copy_frozen=False)
        minibatch_size = whole.minibatch_size
        whole.minibatch_size = None
        try:
            PPOConfig.validate(whole)
        finally:
            whole.minibatch_size = minibatch_size


class BatchedPPO(PPO):
    """PPO whose batches come ready from the runners: connectors are not used.

    progress: share of the training that is done, 0 to 1: by it the schedules fall.
    """

    def setup(self, config: AlgorithmConfig) -> None:
        """Build runners and learners, and set the critics' units from the base policy."""
        super().setup(config)
        self.progress = 0.0
        self._empty_iterations = 0
        self._plain_config: dict[str, Any] | None = None
        self._shortage_price = 0.0  # currency per unit not served at once
        base = self._base_run()
        self._unit_cost = float(base.cost.sum()) / base.demand if base.demand else 0.0
        units = base.value_units
        on_learners(self, functools.partial(_set_units, units=units))

    def _base_run(self) -> BaseRun:
        """What the base policy does, played by one runner."""
        local, runners = self.env_runner_group.local_env_runner, self.env_runner_group
        if local is not None and local.env is not None:
            run: BaseRun = local.base_run()
            return run
        answers = (healthy := runners.healthy_worker_ids()[:1]) and runners.foreach_env_runner(
            _base_run_of, local_env_runner=False, remote_worker_ids=healthy
        )
        if answers and isinstance(answers[0], EchelonError):
            raise answers[0]
        if not answers:
            raise TrainingStopped(
                f"none of {self.config.num_env_runners} runners could be started; see the first "
                "error in their logs, or sample in this process with resources.env_runners=0"
            )
        run = answers[0]
        return run

    def training_step(self) -> None:
        """Sample on all runners, learn, and leave the new weights with the local runner.

        Raises:
            EchelonError: a runner refused to go on.
            TrainingStopped: no runner has given anything for several iterations.
        """
        on_learners(self, methodcaller("follow", self._schedule()))
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            batches = self._sample()
        if not batches:
            self._count_empty_iteration()
            return
        self._empty_iterations = 0
        batch = merged(batches)
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            results = self.learner_group.update(
                batch=batch,
                timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: self._env_steps()},
                num_epochs=self.config.num_epochs,
                num_total_minibatches=self.config.num_epochs * self._parts(batch),
            )
            self.metrics.aggregate(results, key=LEARNER_RESULTS)
        self._move_price()
        if self.env_runner is not None:
            self.env_runner.set_state(self._runner_state())

    def _schedule(self) -> LearningSchedule:
        """What holds in this iteration: all falls linearly, the ceiling of exploration in logs."""
        config, done = self.config, min(self.progress, 1.0)
        highest = config.highest_std
        if highest is not None and config.final_std is not None:
            highest *= (config.final_std / highest) ** done
        return LearningSchedule(
            learning_rate=config.lr * max(config.final_share, 1.0 - done),
            entropy_weight=config.entropy_coeff * (1.0 - done),
            highest_std=highest,
            critic_only=self.iteration < config.critic_first,
        )

    def _move_price(self) -> None:
        reward = self.config.env_config["reward"]
        if reward.target_fill_rate is not None:
            fill_rate = float(self.metrics.peek((ENV_RUNNER_RESULTS, "fill_rate")))
            self._shortage_price = moved_price(
                self._shortage_price, fill_rate, reward, self._unit_cost
            )

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """RLlib's, and the price."""
        return {**super().get_state(*args, **kwargs), "shortage_price": self._shortage_price}

    def set_state(self, state: Any, *args: Any, **kwargs: Any) -> None:
        """Take over what `get_state` gave."""
        super().set_state(state, *args, **kwargs)
        self._shortage_price = float(state.get("shortage_price", self._shortage_price))

    def get_auto_filled_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """RLlib's; it would copy the whole configuration anew for each iteration's result."""
        if self._plain_config is None:
            self._plain_config = self.config.to_dict()
        filled = Trainable.get_auto_filled_metrics(self, *args, **kwargs)
        if "config" in filled:
            filled["config"] = self._plain_config
        return filled

    def _env_steps(self) -> int:
        return int(
            self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        )

    def _runner_state(self) -> dict[str, Any]:
        """Weights, the critic's too, and the count of steps that all runners share."""
        learner = self.learner_group.get_state(
            components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=False
        )[COMPONENT_LEARNER]
        return {
            COMPONENT_RL_MODULE: learner[COMPONENT_RL_MODULE],
            WEIGHTS_SEQ_NO: learner[WEIGHTS_SEQ_NO],
            "shortage_price": self._shortage_price,
            NUM_ENV_STEPS_SAMPLED_LIFETIME: self._env_steps(),
        }

    def _sample(self) -> list[MultiAgentBatch]:
        """One fragment per configured runner; the healthy ones fill in for the lost."""
        runners = self.env_runner_group
        if runners.num_remote_workers() == 0:
            return self._accepted([_sample_on(runners.local_env_runner, self._runner_state())])
        state = ray.put(self._runner_state())
        batches: list[MultiAgentBatch] = []
        while len(batches) < self.config.num_env_runners:
            sampling = self._runners_alive()[: self.config.num_env_runners - len(batches)]
            if not sampling:
                break
            answers = runners.foreach_env_runner(
                functools.partial(_sample_on, state=[state]),
                local_env_runner=False,
                remote_worker_ids=sampling,
                timeout_seconds=self.config.sample_timeout_s,
            )
            self._restart_silent(set(sampling) - {runner for runner, _, _ in answers})
            batches += self._accepted(answers)
        return batches

    def _runners_alive(self) -> list[int]:
        """Healthy runners; where there is none, wait a while for one to be restarted."""
        runners = self.env_runner_group
        deadline = time.monotonic() + self.config.env_config["restart_wait"]
        while not runners.healthy_worker_ids() and time.monotonic() < deadline:
            time.sleep(0.5)
            self.restore_env_runners(runners)
        healthy: list[int] = runners.healthy_worker_ids()
        return healthy

    def _restart_silent(self, silent: set[int]) -> None:
        """Kill runners that are alive but gave no answer in time; Ray starts them anew.

        RLlib would call them again and again, and wait for the deadline each time.
        """
        manager = self.env_runner_group._worker_manager
        for runner in silent & set(self.env_runner_group.healthy_worker_ids()):
            log.error(
                "runner %d gave no sample within %g s: killed, to be restarted; if it is only "
                "slow, raise resources.sample_timeout",
                runner,
                self.config.sample_timeout_s,
            )
            ray.kill(manager.actors()[runner], no_restart=False)
            manager.set_actor_state(runner, healthy=False)

    def _accepted(self, answers: list[Answer]) -> list[MultiAgentBatch]:
        """Log the metrics that came; raise the first refusal among the answers."""
        for _, batches, _ in answers:
            if isinstance(batches, EchelonError):
                raise batches
        self.metrics.aggregate([metrics for _, _, metrics in answers], key=ENV_RUNNER_RESULTS)
        return [batch for _, batches, _ in answers for batch in batches]

    def _count_empty_iteration(self) -> None:
        self._empty_iterations += 1
        allowed = self.config.env_config["empty_iterations"]
        if self._empty_iterations >= allowed:
            raise TrainingStopped(
                f"no runner has given a sample for {self._empty_iterations} iterations "
                f"({self.env_runner_group.num_healthy_remote_workers()} of "
                f"{self.config.num_env_runners} runners are alive); see the first error in the "
                "runners' logs, or sample in this process with resources.env_runners=0"
            )

    def _parts(self, batch: MultiAgentBatch) -> int:
        """Minibatches per epoch: the same on every learner, none without rows."""
        learners = max(1, self.config.num_learners)
        rows = [len(columns) // learners for columns in batch.policy_batches.values()]
        return max(1, min(math.ceil(max(rows) / self.config.minibatch_size), min(rows) // 2))


def _sample_on(runner: BatchedEnvRunner, state: Any) -> Answer:
    """Runs where the runner is: (runner, batches or the error it refused with, metrics).

    Errors are values here, because RLlib drops what a remote runner raises.
    """
    index = runner.worker_index or 0
    runner.set_state(ray.get(state[0]) if isinstance(state, list) else state)
    try:
        return index, runner.sample(), runner.get_metrics()
    except EchelonError as error:
        return index, error, {}


def _base_run_of(runner: BatchedEnvRunner) -> Any:
    try:
        return runner.base_run()
    except EchelonError as error:
        return error


def _set_units(learner: Learner, units: Mapping[str, tuple[float, float]]) -> None:
    for kind, (offset, scale) in units.items():
        learner.module[kind].unwrapped().set_value_units(offset, scale)


def merged(batches: list[MultiAgentBatch]) -> MultiAgentBatch:
    """One batch of several, with advantages normalised per node kind over all of them."""
    kinds: dict[str, SampleBatch] = {}
    for kind, first in batches[0].policy_batches.items():
        parts = [batch.policy_batches[kind] for batch in batches]
        columns = {
            name: np.concatenate([part[name] for part in parts]) if parts[1:] else first[name]
            for name in first
        }
        columns[Postprocessing.ADVANTAGES] = normalise(columns[Postprocessing.ADVANTAGES])
        kinds[kind] = SampleBatch(columns)
    return MultiAgentBatch(kinds, env_steps=sum(batch.env_steps() for batch in batches))
