"""PPO on whole batches: RLlib's Algorithm, with its own way from samples to the learners."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from operator import methodcaller
from typing import Any

import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.core.learner.learner import Learner
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

from training.objective import moved_price
from training.rllib.batched_runner import BatchedEnvRunner
from training.rllib.learners import on_learners
from training.rllib.placement import PlacedLearners
from training.rllib.ppo_learner import BatchedPPOLearner, LearningSchedule
from training.rllib.remote_runners import OnRemoteRunners
from training.rllib.samples import Sampled, TakenSamples, sampled, scales

Answer = tuple[Sampled, dict[str, Any]]  # and metrics


class BatchedPPOConfig(PlacedLearners, PPOConfig):
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


class BatchedPPO(OnRemoteRunners, PPO):
    """PPO whose batches come ready from the runners: connectors are not used.

    progress: share of the training that is done, 0 to 1: by it the schedules fall.
    """

    def setup(self, config: AlgorithmConfig) -> None:
        """Build runners and learners, and set the critics' units from the base policy."""
        super().setup(config)
        self.progress = 0.0
        self._plain_config: dict[str, Any] | None = None
        self._shortage_price = 0.0  # currency per unit not served at once
        needed = config.env_config.get("learner_bytes")
        if needed:
            on_learners(self, methodcaller("lacks_room", needed))
        base = self.remote.ask_one(methodcaller("base_run"))
        self._unit_cost = float(base.cost.sum()) / base.demand if base.demand else 0.0
        units = base.value_units
        on_learners(self, functools.partial(_set_units, units=units))

    def training_step(self) -> None:
        """Sample on all runners, learn, and leave the new weights with the local runner.

        Raises:
            EchelonError: a runner refused to go on.
            TrainingStopped: no runner has given anything for several iterations.
        """
        on_learners(self, methodcaller("follow", self._schedule()))
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            samples = self._sample()
            lost = self._hand_over(samples)
        kept = [sample for number, sample in enumerate(samples) if number not in lost]
        self.remote.note_iteration(is_empty=not kept)
        if not kept:
            return
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            results = self.learner_group.update(
                training_data=TakenSamples(lost=lost, scales=scales(kept)),
                timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: self._env_steps()},
                num_epochs=self.config.num_epochs,
                num_total_minibatches=self.config.num_epochs * self._parts(kept),
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

    def _sample(self) -> list[Sampled]:
        """One fragment per configured runner; the healthy ones fill in for the lost."""
        local, runners = self.env_runner_group.local_env_runner, self.remote
        if not runners.count:
            return self._accepted([_sample_on(local, self._runner_state())])
        state = ray.put(self._runner_state())
        samples: list[Sampled] = []
        while len(samples) < runners.count and runners.has_hope:
            sampling = runners.alive()[: runners.count - len(samples)]
            if not sampling:
                break
            answers = runners.ask(functools.partial(_sample_on, state=[state]), sampling)
            samples += self._accepted(list(answers.values()))
        return samples

    def _accepted(self, answers: Sequence[Answer]) -> list[Sampled]:
        """Log the metrics that came."""
        self.metrics.aggregate([metrics for _, metrics in answers], key=ENV_RUNNER_RESULTS)
        return [sample for sample, _ in answers]

    def _hand_over(self, samples: Sequence[Sampled]) -> frozenset[int]:
        """Let every learner fetch its share; numbers of what is lost with its runner's node."""
        if not samples:
            return frozenset()
        take = methodcaller("take", samples, float(self.config.sample_timeout_s))
        return frozenset[int]().union(*self.remote.fetching(lambda: on_learners(self, take)))

    def _parts(self, samples: Sequence[Sampled]) -> int:
        """Minibatches per epoch: the same on every learner, none without rows."""
        learners = max(1, self.config.num_learners)
        moments = [[sample.moments[kind].rows for sample in samples] for kind in samples[0].moments]
        rows = [sum(count // learners for count in counts) for counts in moments]
        return max(1, min(math.ceil(max(rows) / self.config.minibatch_size), min(rows) // 2))


def _sample_on(runner: BatchedEnvRunner, state: Any) -> Answer:
    """Runs where the runner is."""
    runner.set_state(ray.get(state[0]) if isinstance(state, list) else state)
    learners = runner.config.num_learners
    [batch] = runner.sample()
    stays = bool(runner.worker_index or learners)
    return sampled(batch, max(1, learners), stays=stays), runner.get_metrics()


def _set_units(learner: Learner, units: Mapping[str, tuple[float, float]]) -> None:
    for kind, (offset, scale) in units.items():
        learner.module[kind].unwrapped().set_value_units(offset, scale)
