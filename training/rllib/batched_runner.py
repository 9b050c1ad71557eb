"""RLlib's sampler on the batched simulator: no dicts, no connectors, no object per agent.

Two outputs. "batch": columns with advantages, for BatchedPPO. "episodes": RLlib episodes,
for any other algorithm of RLlib.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import Any

import gymnasium as gym
import numpy as np
import ray
import torch
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.core.columns import Columns
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import (
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
    SAMPLE_TIMER,
    WEIGHTS_SEQ_NO,
)
from torch import Tensor

from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError, EchelonError, TrainingStopped
from envs.types import Floats
from training.config import ResourcesConfig
from training.rllib.batches import action_log_probability, advantages_of
from training.rllib.episodes import episodes_of
from training.rllib.memory import fragment_bytes, free_for_each, require_room
from training.rllib.modules import Spaces
from training.rllib.sampler import BaseRun, Fragment, Roller, stream_seed

log = logging.getLogger(__name__)

ALL_AGENTS = "all"  # counters are kept for all nodes together


class BatchedEnvRunner(EnvRunner, Checkpointable):
    """Samples fragments of all replications of one simulator at once."""

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self.output: str = self.config.env_config["output"]  # see `configure`
        self.resources: ResourcesConfig = self.config.env_config["resources"]
        self.num_envs = 0
        self.env: BatchedEnv | None = None
        self.module: Any = None  # MultiRLModule of NodeKindModules
        self.base: BaseRun | None = None
        self._roller: Roller | None = None
        self._next_episode = 0
        self._failures = 0
        self._weights_seq_no = 0
        self._shortage_price = 0.0  # currency per unit not served at once
        # With remote runners the one in the driver only carries weights.
        if self.worker_index or not self.resources.runners:
            torch.set_num_threads(self.resources.threads)
            self.make_env()
        self.make_module()

    # Construction

    def make_env(self) -> None:
        """Build the simulator anew, and begin new episodes with the next sample."""
        self.num_envs = self.config.num_envs_per_env_runner
        self.env = self.config.env_config["env_factory"](self.num_envs)
        self._price_shortage()
        self._roller = None

    def _price_shortage(self) -> None:
        env = self.env
        if env is not None and env.reward_config.target_fill_rate is not None:
            env.shortage_price[:] = self._shortage_price

    def make_module(self) -> None:
        """Build the modules; the critic too, as advantages are computed here."""
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=False)
        self.module = spec.build()

    def get_spaces(self) -> dict[str, tuple[gym.Space[Any], gym.Space[Any]]]:
        """Spaces of a row for each node kind, and RLlib's entries for the environment."""
        kinds: Spaces = self.config.env_config["spaces"]
        whole = (
            gym.spaces.Dict({name: spaces[0] for name, spaces in kinds.items()}),
            gym.spaces.Dict({name: spaces[1] for name, spaces in kinds.items()}),
        )
        return {INPUT_ENV_SPACES: whole, INPUT_ENV_SINGLE_SPACES: whole, **kinds}

    def assert_healthy(self) -> None:
        """Raise unless there is a simulator to sample from and a module to act with."""
        if self.env is None or self.module is None:
            raise ConfigError(
                f"runner {self.worker_index} has no simulator or no module; expected both; "
                "look for the first error in its log"
            )

    @property
    def simulator(self) -> BatchedEnv:
        """`env`, where there is one: the driver's runner has none beside remote runners."""
        if self.env is None:
            self.assert_healthy()
        assert self.env is not None
        return self.env

    def free_memory(self) -> float:
        """Bytes on this machine, of which every runner here has its share."""
        return free_for_each(self.resources, is_remote=bool(self.worker_index))

    def stop(self) -> None:
        """Nothing to release: the simulator is memory only."""

    # Sampling

    @property
    def stream_seed(self) -> int:
        """Seed of this runner's demand and exploration; differs between runners."""
        return stream_seed(self.config.seed, self.worker_index)

    def base_run(self) -> BaseRun:
        """Play the base policy once, and remember what it earned.

        Raises:
            ConfigError: there is too little memory for what comes then.
        """
        if self.base is None:
            if self.output != "slopes":
                periods = self.config.get_rollout_fragment_length(self.worker_index)
                fragment = fragment_bytes(self.simulator, periods)
                require_room("a fragment", fragment, self.free_memory(), self.resources)
            self.base = Roller(self.simulator, self.stream_seed).roll_base_policy(self.config.gamma)
            self._roller = None
        return self.base

    def sample(
        self, *, explore: bool | None = None, force_reset: bool = False, **unsupported: Any
    ) -> list[MultiAgentBatch] | list[SingleAgentEpisode]:
        """One fragment: `rollout_fragment_length` periods of every replication.

        Raises:
            ConfigError: a number of episodes or periods is requested.
            NonFiniteError: the simulator gave a NaN or an infinity.
            TrainingStopped: too many episodes failed.
        """
        given = sorted(name for name, value in unsupported.items() if value)
        if given:
            raise ConfigError(
                f"sample() got {', '.join(given)}; expected none, as it samples fragments of a "
                "fixed length; evaluate policies with the evaluation package instead"
            )
        self.assert_healthy()
        if force_reset:
            self._forget_roller()
        explore = self.config.explore if explore is None else explore
        periods = self.config.get_rollout_fragment_length(self.worker_index)
        with self.metrics.log_time(SAMPLE_TIMER):
            started = time.process_time()
            base, fragment = self._roll(periods, explore)
            if self.output == "batch":
                samples: list[Any] = [self._batch(fragment)]
            else:
                name = f"{self.config.seed or 0}-{self.worker_index or 0}"
                samples = episodes_of(fragment, self.module, self.simulator.agent_ids, name)
        self._count(fragment, periods, base, time.process_time() - started)
        return samples

    def _episodes_begun(self) -> int:
        return self._next_episode if self._roller is None else self._roller.next_episode

    def _forget_roller(self) -> None:
        self._next_episode = self._episodes_begun()
        self._roller = None

    def _roll(self, periods: int, explore: bool) -> tuple[BaseRun, Fragment]:
        """A fragment, in spite of failing episodes: they cost themselves, not the runner."""
        while True:
            try:
                base = self.base_run()
                roller = self._current_roller()
                return base, roller.roll(self.module, periods, explore=explore)
            except EchelonError:
                raise
            except Exception as error:
                where = "" if self._roller is None else self._roller.where
                self._forget_roller()
                self._count_failure(error, where)

    def _count_failure(self, error: Exception, episodes: str) -> None:
        """Give up what failed, and build the simulator anew.

        Raises:
            TrainingStopped: too many have failed.
        """
        where = f"{type(self.env).__name__} of runner {self.worker_index or 0}"
        where += f", {episodes}" if episodes else ""
        self._failures += 1
        if self._failures > self.resources.env_failures:
            raise TrainingStopped(
                f"{where}: {type(error).__name__}: {error}; {self._failures} blocks of episodes "
                f"have failed, {self.resources.env_failures} are allowed; fix the cause or raise "
                "resources.env_failures"
            ) from error
        log.error("%s: episodes given up, new ones begun", where, exc_info=error)
        self.make_env()

    def _current_roller(self) -> Roller:
        if self._roller is None:
            # Every episode begun has at least one step in the lifetime count, or is one of
            # the last block: a restarted or resumed runner never repeats an episode.
            known = self.num_env_steps_sampled_lifetime
            first = max(self._next_episode, known + self.num_envs if known else 0)
            self._roller = Roller(self.simulator, self.stream_seed, first)
        return self._roller

    def _batch(self, fragment: Fragment) -> MultiAgentBatch:
        """Columns for each kind; advantages are still in reward units."""
        columns: dict[str, SampleBatch] = {}
        kept = _highest_cost(fragment.replication_cost, self.simulator.reward_config.tail_share)
        for kind, rows in fragment.kinds.items():
            module = self.module[kind]
            advantage, target = advantages_of(
                fragment, rows, module, self.config.gamma, self.config.lambda_
            )
            columns[kind] = SampleBatch(
                {
                    Columns.OBS: rows.observation[:-1, :, kept].flatten(0, 2).numpy(),
                    Columns.ACTIONS: rows.action[:, :, kept].flatten(0, 2).numpy(),
                    Columns.ACTION_DIST_INPUTS: rows.inputs[:, :, kept].flatten(0, 2).numpy(),
                    Columns.ACTION_LOGP: action_log_probability(module, rows)[:, :, kept]
                    .flatten()
                    .numpy(),
                    Postprocessing.ADVANTAGES: advantage[:, :, kept].ravel(),
                    Postprocessing.VALUE_TARGETS: target[:, :, kept].ravel(),
                }
            )
        return MultiAgentBatch(columns, env_steps=len(fragment.truncated) * self.num_envs)

    # Metrics

    def _count(self, fragment: Fragment, periods: int, base: BaseRun, cpu_seconds: float) -> None:
        env_steps = periods * self.num_envs
        agent_steps = env_steps * len(self.simulator.agent_ids)
        self.num_env_steps_sampled_lifetime += env_steps
        counts: dict[tuple[str, ...] | str, int] = {
            NUM_ENV_STEPS_SAMPLED: env_steps,
            (NUM_AGENT_STEPS_SAMPLED, ALL_AGENTS): agent_steps,
        }
        lifetime: dict[tuple[str, ...] | str, int] = {
            NUM_ENV_STEPS_SAMPLED_LIFETIME: env_steps,
            (NUM_AGENT_STEPS_SAMPLED_LIFETIME, ALL_AGENTS): agent_steps,
            "episodes_begun_lifetime": int(fragment.truncated.sum()) * self.num_envs,
        }
        for kind, rows in fragment.kinds.items():
            counts[NUM_MODULE_STEPS_SAMPLED, kind] = rows.reward.numel()
            lifetime[NUM_MODULE_STEPS_SAMPLED_LIFETIME, kind] = rows.reward.numel()
            # Per period: the sum over the rows of a kind, averaged over periods and replications.
            reward = rows.reward.sum() / env_steps
            self.metrics.log_value(("reward_per_period", kind), float(reward), window=1)
        for key, value in counts.items():
            self.metrics.log_value(key, value, reduce="sum")
        for key, value in lifetime.items():
            self.metrics.log_value(key, value, reduce="lifetime_sum")
        total, base_total = float(fragment.cost.sum()), float(base.cost.sum())
        for name, number in {
            "cost_per_period": total,
            "base_policy_cost_per_period": base_total,
            "cost_ratio_to_base_policy": total / base_total if base_total else float("nan"),
            "fill_rate": fragment.sold / fragment.demand if fragment.demand else 1.0,
            "shortage_price": float(self.simulator.shortage_price.mean()),
            "sampling_cpu_seconds": cpu_seconds,
            WEIGHTS_SEQ_NO: self._weights_seq_no,
        }.items():
            self.metrics.log_value(name, number, window=1)
        self.metrics.log_value("env_failures_lifetime", self._failures, reduce="max")
        for agent, cost in zip(self.simulator.agent_ids, fragment.cost, strict=True):
            self.metrics.log_value(("node_cost_per_period", agent), float(cost), window=1)

    def get_metrics(self) -> dict[str, Any]:
        """What was counted since the last call, for the driver to merge."""
        return self.metrics.reduce()

    # State

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Weights and counters: enough to go on with episodes never seen before."""
        state: dict[str, Any] = {
            NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime,
            "next_episode": self._episodes_begun(),
        }
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(
                components=self._get_subcomponents(COMPONENT_RL_MODULE, components),
                not_components=self._get_subcomponents(COMPONENT_RL_MODULE, not_components),
                **kwargs,
            )
            state[WEIGHTS_SEQ_NO] = self._weights_seq_no
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over weights and counters.

        Weights are taken whatever their number: RLlib's own runners keep the old ones when the
        number is equal (the critic would be missing) or lower (after going back to an
        earlier checkpoint).
        """
        if COMPONENT_RL_MODULE in state:
            weights = state[COMPONENT_RL_MODULE]
            if isinstance(weights, ray.ObjectRef):
                weights = ray.get(weights)
            self.module.set_state(weights)
            self._weights_seq_no = state.get(WEIGHTS_SEQ_NO, 0)
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = int(state[NUM_ENV_STEPS_SAMPLED_LIFETIME])
        if "shortage_price" in state:
            self._shortage_price = float(state["shortage_price"])
            self._price_shortage()
        # Never backwards: the state may come from a runner that has played less.
        if state.get("next_episode", 0) > self._episodes_begun():
            self._roller = None
            self._next_episode = int(state["next_episode"])

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """How RLlib builds this runner again."""
        return (), {"config": self.config}

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """The part with a checkpoint of its own: the weights."""
        return [(COMPONENT_RL_MODULE, self.module)]


def _highest_cost(cost: Floats, share: float) -> slice | Tensor:
    """The replications that cost most, of cost [B]: a share of them, at least one."""
    if share == 1.0:
        return slice(None)
    count = max(1, round(share * cost.size))
    return torch.from_numpy(np.sort(np.argsort(-cost, kind="stable")[:count]))
