"""Pathwise gradients as an RLlib algorithm: the cost of trajectories, differentiated (Madeka et al.
2022, "Deep inventory management"; Alvo et al. 2023, "Neural inventory control in networks").

Demand and lead times are drawn before actions, so what a trajectory costs is a deterministic
function of the models. A learner plays trajectories on its own simulator and follows the slope of
their cost: no critic, no exploration, no advantage. Modules, checkpoints and artifact are PPO's.
"""

from __future__ import annotations

import logging
import math
from operator import methodcaller
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
import torch.distributed
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    TIMERS,
)
from ray.util.debug import log_once

from envs.environment.batched_env import BatchedEnv
from envs.errors import NonFiniteError
from envs.types import Floats
from training.objective import moved_price
from training.pathwise.networks import NetworkSlopes, network_slopes
from training.pathwise.trajectory import (
    Trajectories,
    Trajectory,
    horizon_of,
    plan_for,
)
from training.rllib.learners import on_learners
from training.rllib.modules import NodeKindModule
from training.rllib.sampler import BaseRun, Roller, stream_seed

_ALL_KINDS = "all_kinds"
_SHARE_OF_MEMORY = 0.5  # of what is free: for what is kept of a trajectory

_log = logging.getLogger(__name__)


class Played(NamedTuple):
    """What a learner reports of a trajectory."""

    node_cost: Floats  # [N] currency per period
    demand: float  # units
    sold: float  # units of it that were served at once
    env_steps: int
    next_episode: int
    gradient_norm: float  # before clipping
    shortage_price: float  # currency per unit


class PathwiseRLlibConfig(AlgorithmConfig):
    """RLlib's settings, and three more."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or Pathwise)
        self.trajectory_periods: int | None = None
        self.tail_periods: int | None = None
        self.final_share = 1.0
        self._dont_auto_sync_env_runner_states = True
        log_once("Pathwise_on_new_api_stack")  # mutes RLlib's advice to use the old one

    def get_default_learner_class(self) -> type[Learner]:
        """The learner with a simulator of its own."""
        return PathwiseLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """The same modules as PPO's."""
        return RLModuleSpec(module_class=NodeKindModule)


class PathwiseLearner(TorchLearner):
    """Plays trajectories, and follows the slope of their cost."""

    def prepare(self) -> BaseRun:
        """Build the simulator; returns what the base policy does in it."""
        settings = self.config.env_config["settings"]
        torch.set_num_threads(settings.threads)
        factory = self.config.env_config["env_factory"]
        self._env: BatchedEnv = factory(self.config.num_envs_per_env_runner)
        self._seed = stream_seed(self.config.seed, self._learner_index)
        base = Roller(self._env, self._seed).roll_base_policy(self.config.gamma)
        self._unit = max(abs(float(base.cost.sum())), 1e-9)
        self._size = horizon_of(self._env, self.config.trajectory_periods, self.config.tail_periods)
        self._trajectories: Trajectories | None = None
        return base

    def learn(self, first_episode: int, price: float | None, rate: float) -> Played:
        """One trajectory, one step of Adam.

        first_episode: number of the next episode to begin, never backwards.
        price: currency per unit that isn't served at once; None: the scenario's.
        rate: Adam's step size.

        Raises:
            NonFiniteError: the cost or its slope is NaN or infinite.
        """
        if self._trajectories is None:
            self._trajectories = self._begin_trajectories()
            self._networks = self._begin_networks(self._trajectories)
        self._trajectories.go_on(first_episode)
        if price is not None:
            self._env.shortage_price[:] = price
        _, tail = self._size
        trajectory = self._trajectories.play(self._networks, tail)
        self._trajectories.reverse(self._networks, self._loss_weights(trajectory))
        slopes = self._slopes()
        norm = float(torch.stack([slope.square().sum() for slope in slopes.values()]).sum().sqrt())
        for optimizer in self._named_optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
        self.apply_gradients(self.postprocess_gradients(slopes))
        return Played(
            trajectory.node_cost, trajectory.demand, trajectory.sold,
            trajectory.periods * self._env.batch_size, self._trajectories.next_episode, norm,
            float(self._env.shortage_price.mean()),
        )  # fmt: skip

    def _begin_trajectories(self) -> Trajectories:
        """With all periods on the tape, if there is memory for it."""
        periods, _ = self._size
        actors = {kind: self.module[kind].unwrapped().actor for kind in self.module._rl_modules}
        learners = max(1, self.config.num_learners)
        room = int(_SHARE_OF_MEMORY * psutil.virtual_memory().available / learners)
        self._plan = plan = plan_for(self._env, actors, periods, room)
        _log.info(
            "Trajectories: %d periods of %d episodes at %.2f MB a period; %d of them kept at once "
            "take %.0f MB, of %.0f MB that may be used.",
            periods, self._env.batch_size, plan.period_bytes / 1e6, plan.kept, plan.nbytes / 1e6,
            room / 1e6,
        )  # fmt: skip
        return Trajectories(self._env, self._seed, periods, plan.kept)

    def _begin_networks(self, trajectories: Trajectories) -> dict[str, NetworkSlopes]:
        moving, batch = trajectories.moving.columns, self._env.batch_size
        return {
            group.name: network_slopes(
                self.module[group.name].unwrapped().actor,
                group.stop - group.start,
                batch,
                moving,
                thrifty=self._plan.thrifty,
            )
            for group in self._env.groups
        }

    def _loss_weights(self, trajectory: Trajectory) -> Floats:
        """[B] of the cost of a period, for the mean of the episodes that `reward.tail_share` learns
        from: those of the highest cost."""
        cost, share = trajectory.cost, self._env.reward_config.tail_share
        count = max(1, round(share * cost.size))
        weights = np.zeros_like(cost)
        weights[np.argsort(cost)[-count:]] = 1.0 / (count * trajectory.periods * self._unit)
        return weights

    def _slopes(self) -> dict[Any, torch.Tensor]:
        """Of the loss, by parameter, averaged over all learners: each played other episodes."""
        found = {
            parameter: slope
            for network in self._networks.values()
            for parameter, slope in network.gradients().items()
        }
        slopes = {ref: found[p] for ref, p in self._params.items() if p in found}
        for slope in slopes.values():
            if self.config.num_learners > 1:
                torch.distributed.all_reduce(slope)
                slope /= self.config.num_learners
            if not torch.isfinite(slope).all():
                raise NonFiniteError(
                    "the slope of a trajectory's cost is NaN or infinite; expected finite numbers; "
                    "lower algorithm.learning_rate, then resume from the last checkpoint."
                )
        return slopes

    def compute_loss_for_module(self, **batch: Any) -> torch.Tensor:
        """RLlib's way in for batches of samples.

        Raises:
            NotImplementedError: always; there are none here, see `learn`.
        """
        raise NotImplementedError("a pathwise learner plays trajectories; call learn() instead")


class Pathwise(Algorithm):
    """Trajectories on every learner, their slopes averaged, one step.

    progress: share of the training that is done, 0 to 1: by it the learning rate falls.
    """

    @classmethod
    def get_default_config(cls) -> AlgorithmConfig:
        """Our configuration."""
        return PathwiseRLlibConfig()

    def setup(self, config: AlgorithmConfig) -> None:
        """Build learners and their simulators."""
        super().setup(config)
        self.progress = 0.0
        self._next_episode = 0
        self._price: float | None = None  # currency per unit not served at once
        if config.env_config["reward"].target_fill_rate is not None:
            self._price = 0.0
        base: BaseRun = on_learners(self, methodcaller("prepare"))[0]
        self._base_cost = float(base.cost.sum())
        self._unit_cost = self._base_cost / base.demand if base.demand else 0.0

    def training_step(self) -> None:
        """One trajectory of every replication, one step.

        Raises:
            NonFiniteError: a cost or its slope is NaN or infinite.
        """
        config = self.config
        rate = config.lr * max(config.final_share, 1.0 - min(self.progress, 1.0))
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            learn = methodcaller("learn", self._next_episode, self._price, rate)
            played: list[Played] = on_learners(self, learn)
        self._next_episode = max(one.next_episode for one in played)
        demand = sum(one.demand for one in played)
        fill_rate = sum(one.sold for one in played) / demand if demand else 1.0
        if self._price is not None:
            reward = config.env_config["reward"]
            self._price = moved_price(self._price, fill_rate, reward, self._unit_cost)
        self._log(played, fill_rate)

    def _log(self, played: list[Played], fill_rate: float) -> None:
        cost = float(np.mean([one.node_cost.sum() for one in played]))
        steps = sum(one.env_steps for one in played)
        log = self.metrics.log_value
        log((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), steps, reduce="lifetime_sum")
        for name, value in {
            "cost_per_period": cost,
            "base_policy_cost_per_period": self._base_cost,
            "cost_ratio_to_base_policy": cost / self._base_cost if self._base_cost else math.nan,
            "fill_rate": fill_rate,
            "shortage_price": played[0].shortage_price,
        }.items():
            log((ENV_RUNNER_RESULTS, name), value, window=1)
        log((LEARNER_RESULTS, _ALL_KINDS, "gradient_norm"), played[0].gradient_norm, window=1)

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """RLlib's, and where in the stream of episodes the learners are."""
        own = {"next_episode": self._next_episode, "price": self._price}
        return {**super().get_state(*args, **kwargs), "pathwise": own}

    def set_state(self, state: Any, *args: Any, **kwargs: Any) -> None:
        """Take over what `get_state` gave."""
        super().set_state(state, *args, **kwargs)
        own = state.get("pathwise", {})
        self._next_episode = int(own.get("next_episode", self._next_episode))
        self._price = own.get("price", self._price)
