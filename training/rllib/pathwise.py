"""Pathwise gradients as an RLlib algorithm: the cost of trajectories, differentiated (Madeka et al.
2022, "Deep inventory management"; Alvo et al. 2023, "Neural inventory control in networks").

Demand and lead times are drawn before actions, so what a trajectory costs is a deterministic
function of the models. Runners play trajectories, shard by shard, and give the slope of their cost;
the learner follows it: no critic, no exploration, no advantage. Modules, checkpoints and artifact
are PPO's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from operator import methodcaller
from typing import Any

import numpy as np
import ray
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    TIMERS,
)
from ray.util.debug import log_once

from envs.errors import NonFiniteError
from training.objective import moved_price
from training.pathwise.trajectory import Shard
from training.rllib.learners import on_learners
from training.rllib.modules import NodeKindModule
from training.rllib.placement import PlacedLearners
from training.rllib.remote_runners import OnRemoteRunners
from training.rllib.trajectory_runner import Parameters, Played, Prepared, Request, TrajectoryRunner

_ALL_KINDS = "all_kinds"
_MOST_LOSSES = 3  # of what runners had found already, in an iteration


class PathwiseRLlibConfig(PlacedLearners):
    """RLlib's settings, and three more."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or Pathwise)
        self.trajectory_periods: int | None = None
        self.tail_periods: int | None = None
        self.final_share = 1.0
        # training_step gives every runner its weights itself.
        self._dont_auto_sync_env_runner_states = True
        log_once("Pathwise_on_new_api_stack")  # mutes RLlib's advice to use the old one

    def get_default_learner_class(self) -> type[Learner]:
        """The learner that is given slopes."""
        return PathwiseLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """The same modules as PPO's."""
        return RLModuleSpec(module_class=NodeKindModule)


class PathwiseLearner(TorchLearner):
    """Follows slopes that runners found."""

    def actors(self) -> Parameters:
        """Return what the models that act are now."""
        return {
            kind: {
                name: parameter.detach().cpu().numpy().copy()
                for name, parameter in self._actor(kind).named_parameters()
            }
            for kind in self.module._rl_modules
        }

    def _actor(self, kind: str) -> torch.nn.Module:
        actor: torch.nn.Module = self.module[kind].unwrapped().actor
        return actor

    def follow(self, slopes: Parameters, rate: float) -> float:
        """One step of Adam; returns the norm of the slopes, before clipping.

        rate: Adam's step size.

        Raises:
            NonFiniteError: a slope is NaN or infinite.
        """
        refs = {parameter: ref for ref, parameter in self._params.items()}
        found: dict[Any, torch.Tensor] = {}
        for kind, by_name in slopes.items():
            parameters = dict(self._actor(kind).named_parameters())
            for name, slope in by_name.items():
                if not np.isfinite(slope).all():
                    raise NonFiniteError(
                        "the slope of a trajectory's cost is NaN or infinite; expected finite "
                        "numbers; lower algorithm.learning_rate, then resume from the last "
                        "checkpoint."
                    )
                own = parameters[name]
                found[refs[own]] = torch.from_numpy(slope).to(own.device)
        norm = float(torch.stack([slope.square().sum() for slope in found.values()]).sum().sqrt())
        for optimizer in self._named_optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
        self.apply_gradients(self.postprocess_gradients(found))
        return norm

    def compute_loss_for_module(self, **batch: Any) -> torch.Tensor:
        """RLlib's way in for batches of samples.

        Raises:
            NotImplementedError: always; there are none here, see `follow`.
        """
        raise NotImplementedError("a pathwise learner is given slopes; call follow() instead")


class Pathwise(OnRemoteRunners):
    """Trajectories on every runner, their slopes added in the order of the shards, one step.

    progress: share of the training that is done, 0 to 1: by it the learning rate falls.
    """

    @classmethod
    def get_default_config(cls) -> AlgorithmConfig:
        """Our configuration."""
        return PathwiseRLlibConfig()

    def setup(self, config: AlgorithmConfig) -> None:
        """Build runners and their simulators."""
        super().setup(config)
        self.progress = 0.0
        self._price: float | None = None  # currency per unit not served at once
        if config.env_config["reward"].target_fill_rate is not None:
            self._price = 0.0
        prepared: Prepared = self.remote.ask_one(methodcaller("prepare"))
        base, self._fragments = prepared
        self._base_cost = float(base.cost.sum())
        self._unit_cost = self._base_cost / base.demand if base.demand else 0.0
        self._episode = self._next_episode = 0
        self._fragment = self._fragments  # begin new episodes

    def training_step(self) -> None:
        """One trajectory of every shard, one step.

        Raises:
            NonFiniteError: a cost or its slope is NaN or infinite.
            EchelonError: a runner refused to go on.
            TrainingStopped: no runner has given anything for several iterations.
        """
        config = self.config
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            total = _Total()
            for played in self._play(self._next_shards()):
                total.add(played)
        self.remote.note_iteration(is_empty=not total.costs)
        if not total.costs:
            self._fragment -= 1  # the same ones once more
            return
        rate = config.lr * max(config.final_share, 1.0 - min(self.progress, 1.0))
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            norm = on_learners(self, methodcaller("follow", total.mean_slopes(), rate))[0]
        fill_rate = total.sold / total.demand if total.demand else 1.0
        if self._price is not None:
            reward = config.env_config["reward"]
            self._price = moved_price(self._price, fill_rate, reward, self._unit_cost)
        self._log(total, fill_rate, norm)

    def _next_shards(self) -> list[Shard]:
        """All shards of an iteration: the next fragment of their episodes, or new ones."""
        episodes = self.config.num_envs_per_env_runner  # of a shard
        shards = self.config.env_config["resources"].envs_per_runner // episodes
        if self._fragment >= self._fragments:
            self._episode, self._fragment = self._next_episode, 0
            self._next_episode += shards * episodes
        fragment, self._fragment = self._fragment, self._fragment + 1
        return [Shard(k, self._episode + k * episodes, fragment) for k in range(shards)]

    def _play(self, shards: Sequence[Shard]) -> Iterator[Played]:
        """What the shards gave, in their order; the healthy runners fill in for the lost, and a
        shard whose episodes failed is left out.

        Slopes of many shards are many times the model: they stay with the runners that found them
        until it is their turn, so that only those of one runner are here at once.
        """
        actors: Parameters = on_learners(self, methodcaller("actors"))[0]
        request = Request(actors, self._price, max(abs(self._base_cost), 1e-9))
        if not self.remote.count:
            for _, played in self.env_runner_group.local_env_runner.play(request, shards):
                if played is not None:
                    yield played
            return
        shared, places, part = ray.put(request), dict[int, Any](), dict[int, Played | None]()
        losses = 0
        for turn, shard in enumerate(shards):
            while shard.number not in part:
                if shard.number not in places:
                    left = [one for one in shards[turn:] if one.number not in places]
                    places |= self._ask(shared, left)
                if shard.number not in places:  # nobody is there to play it
                    break
                part = self.remote.fetch(places[shard.number])
                if part is None:  # with its runner
                    losses, lost, part = losses + 1, places[shard.number], {}
                    places = {number: place for number, place in places.items() if place != lost}
                    if losses > _MOST_LOSSES:
                        return
            places.pop(shard.number, None)
            played = part.pop(shard.number, None)
            if played is not None:
                yield played

    def _ask(self, request: Any, shards: Sequence[Shard]) -> dict[int, Any]:
        """Let runners play, each some shards in a row: where what they gave lies, by shard."""
        places: dict[int, Any] = {}
        while left := [shard for shard in shards if shard.number not in places]:
            if not (self.remote.has_hope and (alive := self.remote.alive())):
                break
            # Always the same way, so that episodes go on where they were begun.
            count = min(len(alive), len(left))
            ends = [place * len(left) // count for place in range(count + 1)]
            parts = {alive[k]: left[ends[k] : ends[k + 1]] for k in range(count)}
            call = partial(_play_part, request=[request], parts=parts)
            for runner, place in self.remote.ask(call, list(parts)).items():
                places |= dict.fromkeys((shard.number for shard in parts[runner]), place)
        return places

    def _log(self, total: _Total, fill_rate: float, norm: float) -> None:
        cost = float(np.mean(total.costs))
        log = self.metrics.log_value
        log(
            (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME),
            total.env_steps, reduce="lifetime_sum",
        )  # fmt: skip
        for name, value in {
            "cost_per_period": cost,
            "base_policy_cost_per_period": self._base_cost,
            "fill_rate": fill_rate,
            "shortage_price": total.shortage_price,
        }.items():
            log((ENV_RUNNER_RESULTS, name), value, window=1)
        log((LEARNER_RESULTS, _ALL_KINDS, "gradient_norm"), norm, window=1)

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """RLlib's, and where in the stream of episodes training is."""
        own = {"next_episode": self._next_episode, "price": self._price}
        return {**super().get_state(*args, **kwargs), "pathwise": own}

    def set_state(self, state: Any, *args: Any, **kwargs: Any) -> None:
        """Take over what `get_state` gave."""
        super().set_state(state, *args, **kwargs)
        own = state.get("pathwise", {})
        self._next_episode = int(own.get("next_episode", self._next_episode))
        self._fragment = self._fragments
        self._price = own.get("price", self._price)


def _play_part(
    runner: TrajectoryRunner, request: Sequence[Any], parts: dict[int, list[Shard]]
) -> Any:
    """Runs where the runner is, and leaves there what it gave. request: in a list, so that Ray
    doesn't fetch it for the call."""
    return ray.put(dict(runner.play(ray.get(request[0]), parts[runner.worker_index])))


class _Total:
    """The sum over shards, in the order in which they are added.

    costs: of each [currency per period]. demand, sold: units.
    """

    def __init__(self) -> None:
        self.costs: list[float] = []
        self.demand = self.sold = self.shortage_price = 0.0
        self.env_steps = 0
        self._slopes: Parameters = {}

    def add(self, played: Played) -> None:
        if not self.costs:
            self.shortage_price = played.shortage_price
        self.costs.append(played.cost)
        self.demand += played.demand
        self.sold += played.sold
        self.env_steps += played.env_steps
        for kind, slopes in played.slopes.items():
            sums = self._slopes.setdefault(kind, {})
            for name, slope in slopes.items():
                if name in sums:
                    sums[name] += slope
                else:
                    sums[name] = slope.copy()

    def mean_slopes(self) -> Parameters:
        return {
            kind: {name: slope / len(self.costs) for name, slope in sums.items()}
            for kind, sums in self._slopes.items()
        }
