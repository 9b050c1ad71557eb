"""Pathwise gradients as an RLlib algorithm: the cost of trajectories, differentiated (Madeka et al.
2022, "Deep inventory management"; Alvo et al. 2023, "Neural inventory control in networks").

Chance is drawn before actions, so what a trajectory costs is a deterministic function of the
networks. A learner plays trajectories on its own simulator and follows the slope of their cost: no
critic, no exploration, no advantage. Modules, checkpoints and artifact are those of PPO.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
import torch.distributed
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    TIMERS,
)
from torch import Tensor

from envs.errors import NonFiniteError
from evaluation.actor import Actor
from training.trajectory import Trajectories, Trajectory, horizon_of

__all__ = ["Pathwise", "PathwiseLearner", "PathwiseRLlibConfig"]

_ALL = "all_kinds"


class PathwiseRLlibConfig(AlgorithmConfig):
    """RLlib's settings, and three of ours."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or Pathwise)
        self.trajectory_periods: int | None = None
        self.tail_periods: int | None = None
        self.final_learning_rate_share = 1.0
        self.updates = 1
        self._dont_auto_sync_env_runner_states = True

    def get_default_learner_class(self) -> type[Learner]:
        """The learner with a simulator of its own."""
        return PathwiseLearner


class PathwiseLearner(TorchLearner):
    """Plays trajectories, and follows the slope of their cost."""

    def build(self) -> None:
        """Build as RLlib does, and the simulator."""
        super().build()
        self._trajectories: Trajectories | None = None
        self._first_episode = 0
        self._scale = 1.0

    def prepare(self) -> float:
        """Cost of the base policy [currency per period]: the unit of the loss."""
        settings = self.config.env_config["settings"]
        torch.set_num_threads(settings.threads)
        env = settings.env_factory(self.config.num_envs_per_env_runner)
        self._env = env
        env.reset(self._seed ^ 0x5EED, 0)
        cost = 0.0
        for _ in range(env.horizon):
            env.step(env.no_action)
            cost += float(env.flows.total_cost.sum()) / env.batch_size
        self._scale = max(abs(cost) / env.horizon, 1e-9)
        self._periods, self._tail = horizon_of(
            env, self.config.trajectory_periods, self.config.tail_periods
        )
        return cost / env.horizon

    @property
    def _seed(self) -> int:
        """Of this learner's demand; differs between learners."""
        sequence = np.random.SeedSequence([self.config.seed or 0, self._learner_index])
        return int(sequence.generate_state(1)[0]) >> 1

    def actors(self) -> dict[str, Actor]:
        """The networks that are trained, by node kind."""
        return {kind: self.module[kind].unwrapped().actor for kind in self.module.keys()}

    def learn(self, first_episode: int, price: float | None, rate: float) -> dict[str, Any]:
        """One trajectory, one step of Adam. Returns what happened.

        first_episode: number of the next episode to begin (never backwards); price: currency per
        unit that isn't served at once, None: the scenario's; rate: Adam's step size.

        Raises:
            NonFiniteError: the cost or its slope is NaN or infinite.
        """
        if self._trajectories is None or self._trajectories.next_episode < first_episode:
            self._trajectories = Trajectories(
                self._env, self._seed, first_episode, str(self._device)
            )
        if price is not None:
            self._env.shortage_price[:] = price
        actors = self.actors()
        trajectory = self._trajectories.play(actors, self._periods, self._tail)
        loss = self._dearest(trajectory.cost).mean() / self._scale
        gradients = self.compute_gradients({_ALL: loss})
        gradients = {name: slope for name, slope in gradients.items() if slope is not None}
        if not all(torch.isfinite(slope).all() for slope in gradients.values()):
            raise NonFiniteError(
                "the slope of the trajectory's cost is not finite; lower algorithm.learning_rate, "
                "then resume from the last checkpoint."
            )
        self._average(gradients)
        for optimizer in self._named_optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
        self.apply_gradients(self.postprocess_gradients(gradients))
        return self._told(trajectory, loss, gradients)

    def _dearest(self, cost: Tensor) -> Tensor:
        """The share of the replications [B] that `reward.tail_share` learns from."""
        share = self._env.reward_config.tail_share
        return cost if share == 1.0 else cost.topk(max(1, round(share * len(cost)))).values

    def _average(self, gradients: dict[Any, Tensor]) -> None:
        """Over all learners: every one played other episodes."""
        if self.config.num_learners > 1:
            for slope in gradients.values():
                torch.distributed.all_reduce(slope)
                slope /= self.config.num_learners

    def _told(
        self, trajectory: Trajectory, loss: Tensor, gradients: dict[Any, Tensor]
    ) -> dict[str, Any]:
        assert self._trajectories is not None
        norm = torch.stack([slope.square().sum() for slope in gradients.values()]).sum().sqrt()
        return {
            "loss": float(loss),
            "gradient_norm": float(norm),
            "cost": trajectory.node_cost,
            "demand": trajectory.demand,
            "sold": trajectory.sold,
            "env_steps": trajectory.periods * self._env.batch_size,
            "next_episode": self._trajectories.next_episode,
            "shortage_price": float(self._env.shortage_price.mean()),
        }

    def compute_loss_for_module(self, **batch: Any) -> Tensor:
        """RLlib's way in for batches of samples.

        Raises:
            NotImplementedError: always; there are none here, see `learn`.
        """
        raise NotImplementedError("a pathwise learner plays trajectories; call learn() instead")


class Pathwise(Algorithm):
    """Trajectories on every learner, their slopes averaged, one step."""

    @classmethod
    def get_default_config(cls) -> AlgorithmConfig:
        """Our configuration."""
        return PathwiseRLlibConfig()

    def setup(self, config: AlgorithmConfig) -> None:
        """Build learners and their simulators."""
        super().setup(config)
        self._next_episode = 0
        self._updates = 0
        costs = self.learner_group.foreach_learner(_prepare)
        self._base_cost = float(np.mean([result.get() for result in costs]))

    def training_step(self) -> None:
        """`updates` trajectories per learner.

        Raises:
            NonFiniteError: a cost or its slope is NaN or infinite.
        """
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            for _ in range(self.config.updates):
                self._update()

    def _update(self) -> None:
        answers = [
            result.get()
            for result in self.learner_group.foreach_learner(
                functools.partial(
                    _learn, first_episode=self._next_episode, price=None, rate=self.config.lr
                )
            )
        ]
        self._updates += 1
        self._next_episode = max(answer["next_episode"] for answer in answers)
        cost = float(np.mean([answer["cost"].sum() for answer in answers]))
        demand = sum(answer["demand"] for answer in answers)
        sold = sum(answer["sold"] for answer in answers)
        steps = sum(answer["env_steps"] for answer in answers)
        log = self.metrics.log_value
        log((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), steps, reduce="lifetime_sum")
        for name, value in {
            "cost_per_period": cost,
            "base_policy_cost_per_period": self._base_cost,
            "cost_ratio_to_base_policy": cost / self._base_cost,
            "fill_rate": sold / demand if demand else 1.0,
            "shortage_price": answers[0]["shortage_price"],
        }.items():
            log((ENV_RUNNER_RESULTS, name), value, window=1)


def _prepare(learner: PathwiseLearner) -> float:
    return learner.prepare()


def _learn(learner: PathwiseLearner, **settings: Any) -> dict[str, Any]:
    return learner.learn(**settings)
