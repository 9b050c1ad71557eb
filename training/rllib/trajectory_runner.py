"""The part of pathwise training that is spread over Ray: trajectories, and the slopes of their
cost, on every worker's own simulator."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from envs.errors import EchelonError
from envs.types import Floats
from training.pathwise.networks import NetworkSlopes, network_slopes
from training.pathwise.trajectory import (
    Plan,
    Shard,
    Trajectories,
    Trajectory,
    fragments_of,
    horizon_of,
    plan_for,
)
from training.rllib.batched_runner import BatchedEnvRunner
from training.rllib.freed_memory import return_freed_memory
from training.rllib.memory import require_room
from training.rllib.sampler import BaseRun, stream_seed

# For what is kept of a trajectory: of what is free, and bytes; more saves little time.
_SHARE_OF_MEMORY, _MOST_MEMORY = 0.5, 3e9

Parameters = dict[str, dict[str, NDArray[Any]]]  # of actors: by node kind and name

_log = logging.getLogger(__name__)


class Prepared(NamedTuple):
    """What a training asks a runner before it begins."""

    base: BaseRun
    fragments: int  # trajectories of an episode, one after the other


class Request(NamedTuple):
    """What every runner needs for an iteration."""

    actors: Parameters
    price: float | None  # currency per unit that isn't served at once; None: the scenario's
    unit: float  # currency per period: what costs are divided by


class Played(NamedTuple):
    """What there is to tell of a shard's trajectory."""

    slopes: Parameters  # of the mean loss of its episodes
    cost: float  # currency per period
    demand: float  # units
    sold: float  # units of it that were served at once
    env_steps: int
    shortage_price: float  # currency per unit


class TrajectoryRunner(BatchedEnvRunner):
    """Plays the shards that it is given; who plays which changes no number.

    Only where episodes go on from one iteration to the next does a shard that comes from another
    runner begin its episodes anew.
    """

    _trajectories: Trajectories | None = None
    _networks: dict[str, NetworkSlopes]
    _plan: Plan

    @property
    def stream_seed(self) -> int:
        """The same on all runners: a shard's episodes have numbers of their own."""
        return stream_seed(self.config.seed, 0)

    def make_env(self) -> None:
        """Build the simulator, and begin new episodes."""
        super().make_env()
        self._trajectories = None

    def make_module(self) -> None:
        """Build the modules, on the GPU if this process is to use one."""
        super().make_module()
        # Ray shows a node's GPUs to actors without any of their own, too.
        has_own = self.worker_index == 0 or self.resources.gpus_per_runner > 0
        is_wanted = self.env is not None and self.resources.device == "cuda" and has_own
        if is_wanted and torch.cuda.is_available():
            for kind in self.module._rl_modules:
                self.module[kind].unwrapped().to("cuda")

    def prepare(self) -> Prepared:
        """Play the base policy."""
        base = self.base_run()
        self._trajectories = None
        return Prepared(base, fragments_of(self.simulator, self._size[0]))

    @property
    def _size(self) -> tuple[int, int]:
        config = self.config
        return horizon_of(self.simulator, config.trajectory_periods, config.tail_periods)

    def play(
        self, request: Request, shards: Sequence[Shard]
    ) -> Iterator[tuple[int, Played | None]]:
        """Play one shard after the other: its number, and None where its episodes failed.

        Raises:
            NonFiniteError: the simulator gave a NaN or an infinity.
            TrainingStopped: too many episodes failed.
        """
        self.assert_healthy()
        self._take_over(request.actors)
        for shard in shards:
            played = None
            try:
                played = self._play_shard(request, shard, alone=len(shards) == 1)
            except EchelonError:
                raise
            except Exception as error:
                self._count_failure(error, f"seed {self.stream_seed}, {shard}")
            yield shard.number, played

    def _play_shard(self, request: Request, shard: Shard, alone: bool) -> Played:
        trajectories = self._trajectories
        if trajectories is None:
            self._trajectories = trajectories = self._begin_trajectories()
            self._networks = self._begin_networks(trajectories)
        env = self.simulator
        if request.price is not None:
            env.shortage_price[:] = request.price
        trajectory = trajectories.play(shard, self._networks, self._size[1], alone)
        trajectories.reverse(self._networks, self._loss_weights(trajectory, request.unit))
        return Played(
            self._slopes(), float(trajectory.node_cost.sum()), trajectory.demand, trajectory.sold,
            trajectory.periods * env.batch_size, float(env.shortage_price.mean()),
        )  # fmt: skip

    def _take_over(self, actors: Parameters) -> None:
        with torch.no_grad():
            for kind, values in actors.items():
                for name, parameter in self.module[kind].unwrapped().actor.named_parameters():
                    parameter.copy_(torch.from_numpy(values[name]))

    def _begin_trajectories(self) -> Trajectories:
        """With all periods on the tape, if there is memory for it."""
        env, (periods, _) = self.simulator, self._size
        actors = {kind: self.module[kind].unwrapped().actor for kind in self.module._rl_modules}
        return_freed_memory()
        free = self.free_memory()
        room = int(min(_SHARE_OF_MEMORY * free, _MOST_MEMORY))
        self._plan = plan = plan_for(env, actors, periods, room)
        _log.info(
            "Trajectories: %d periods of %d episodes at %.2f MB a period; %d of them kept at once "
            "take %.0f MB, of %.0f MB that may be used.",
            periods, env.batch_size, plan.period_bytes / 1e6, plan.kept, plan.nbytes / 1e6,
            room / 1e6,
        )  # fmt: skip
        require_room("a trajectory", plan.nbytes, free, self.resources)
        return Trajectories(env, self.stream_seed, periods, plan.kept)

    def _begin_networks(self, trajectories: Trajectories) -> dict[str, NetworkSlopes]:
        env = self.simulator
        return {
            group.name: network_slopes(
                self.module[group.name].unwrapped().actor,
                group.stop - group.start,
                env.batch_size,
                trajectories.moving.columns,
                thrifty=self._plan.thrifty,
            )
            for group in env.groups
        }

    def _loss_weights(self, trajectory: Trajectory, unit: float) -> Floats:
        """[B] of the cost of a period, for the mean of the episodes that `reward.tail_share` learns
        from: those of the highest cost."""
        cost, share = trajectory.cost, self.simulator.reward_config.tail_share
        count = max(1, round(share * cost.size))
        weights = np.zeros_like(cost)
        weights[np.argsort(cost)[-count:]] = 1.0 / (count * trajectory.periods * unit)
        return weights

    def _slopes(self) -> Parameters:
        found: Mapping[torch.Tensor, torch.Tensor] = {
            parameter: slope
            for network in self._networks.values()
            for parameter, slope in network.gradients().items()
        }
        return {
            kind: {
                name: found[parameter].cpu().numpy().copy()
                for name, parameter in self.module[kind].unwrapped().actor.named_parameters()
                if parameter in found
            }
            for kind in self._networks
        }
