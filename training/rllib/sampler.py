"""Rolls all replications of a simulator forward under a policy, into arrays.

No Python object is made per agent or per step: a fragment is a few arrays per node kind,
written once. Letters as in envs: T periods, R rows of one kind, B replications, F features,
A action heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from envs.environment.batched_env import BatchedEnv
from envs.simulation.actions import Group
from envs.types import Bools, Floats, Floats32, Ints
from training.rllib.modules import NodeKindModule
from training.rllib.sampling_guard import check_step

_PROBE_STD = 0.15  # of random corrections, when the spread of returns is measured


@dataclass
class KindRows:
    """What the rows of one node kind saw, did and earned during a fragment."""

    group: Group
    observation: Tensor  # [T + 1, R, B, F]; the last one is where the next fragment starts
    action: Tensor  # [T, R, B, A] as sampled: the simulator gets it clipped to [-1, 1]
    inputs: Tensor  # [T, R, B, 2 A] mean and log std of the action
    reward: Tensor  # [T, R, B]
    reached: dict[int, Tensor] = field(default_factory=dict)  # t of a reset -> [R, B, F] before it

    @classmethod
    def empty(cls, group: Group, periods: int, batch_size: int, features: int) -> KindRows:
        """Room for `periods` periods."""
        rows = (group.stop - group.start, batch_size)
        return cls(
            group,
            torch.empty(periods + 1, *rows, features),
            torch.empty(periods, *rows, group.action_size),
            torch.empty(periods, *rows, 2 * group.action_size),
            torch.empty(periods, *rows),
        )


@dataclass
class Fragment:
    """A stretch of T periods of B replications."""

    kinds: dict[str, KindRows]
    truncated: Bools  # [T] whether the episodes ended with the period
    episode: Ints  # [T] number of replication 0's episode; b's is b more
    period: Ints  # [T] period within the episode
    cost: Floats  # [N] mean cost per period of each node, currency
    replication_cost: Floats  # [B] cost of the fragment, shortages priced, currency
    demand: float = 0.0  # units, of all replications
    sold: float = 0.0  # units of it that were served at once


@dataclass(frozen=True)
class BaseRun:
    """What the base policy does: the reference of costs and of the critic."""

    cost: Floats  # [N] mean cost per period of each node, currency
    demand: float  # units per period of the whole network
    value_units: dict[str, tuple[float, float]]  # kind -> (mean, spread) of discounted reward


def stream_seed(seed: int | None, index: int | None) -> int:
    """Seed of the demand and exploration of the runner or learner of that number."""
    sequence = np.random.SeedSequence([seed or 0, index or 0])
    return int(sequence.generate_state(1)[0]) >> 1


class Roller:
    """Steps one simulator; knows where in its episodes it is.

    Args:
        env: the simulator, of B replications.
        seed: of demand, lead times and exploration.
        first_episode: number of the next episode to begin; numbers are never used twice.
    """

    def __init__(self, env: BatchedEnv, seed: int, first_episode: int = 0) -> None:
        self.env = env
        self.next_episode = first_episode
        self._seed = seed
        self._noise = torch.Generator().manual_seed(seed + first_episode)
        self._action = np.zeros((env.num_rows, env.action_size, env.batch_size), np.float32)
        self._node_of_row = np.concatenate([group.node_of_row for group in env.groups])
        self._observation: Floats32 | None = None
        self._period = 0
        self._first_episode = first_episode

    @property
    def where(self) -> str:
        """Seed, episodes and period, for messages."""
        last = self._first_episode + self.env.batch_size - 1
        return f"seed {self._seed}, episodes {self._first_episode} to {last}, period {self._period}"

    def _reset(self) -> Floats32:
        self._first_episode = self.next_episode
        self.next_episode += self.env.batch_size
        self._period = 0
        observation = self.env.reset(self._seed, self._first_episode)
        self._check(observation, None)
        return observation

    def _check(self, observation: Floats32, reward: Floats32 | None) -> None:
        check_step(
            self.env,
            observation,
            reward,
            seed=self._seed,
            first_episode=self._first_episode,
            period=self._period,
        )

    @torch.no_grad()
    def roll(
        self, modules: Mapping[str, NodeKindModule], periods: int, *, explore: bool = True
    ) -> Fragment:
        """Play `periods` periods, beginning new episodes as old ones reach the horizon.

        Raises:
            NonFiniteError: the simulator gave a NaN or an infinity.
        """
        env = self.env
        fragment = Fragment(
            kinds={
                group.name: KindRows.empty(group, periods, env.batch_size, env.observation_size)
                for group in env.groups
            },
            truncated=np.zeros(periods, np.bool_),
            episode=np.zeros(periods, np.int64),
            period=np.zeros(periods, np.int64),
            cost=np.zeros(len(env.agent_ids)),
            replication_cost=np.zeros(env.batch_size),
        )
        if self._observation is None:
            self._observation = self._reset()
        _store(fragment, 0, self._observation)
        cost = np.zeros(env.num_rows)
        for t in range(periods):
            fragment.episode[t], fragment.period[t] = self._first_episode, self._period
            for name, rows in fragment.kinds.items():
                self._act(modules[name], rows, t, explore)
            observation, reward, truncated = env.step(self._action)
            self._check(observation, reward)
            self._period += 1
            cost += env.flows.total_cost.sum(axis=1)
            short = env.flows.demand.sum(axis=0) - env.flows.sold.sum(axis=0)
            fragment.replication_cost += env.flows.total_cost.sum(axis=0)
            fragment.replication_cost += env.shortage_price * short
            fragment.demand += float(env.flows.demand.sum())
            fragment.sold += float(env.flows.sold.sum())
            for rows in fragment.kinds.values():
                rows.reward[t] = torch.from_numpy(reward[rows.group.start : rows.group.stop])
            if truncated:
                fragment.truncated[t] = True
                for rows in fragment.kinds.values():
                    rows.reached[t] = _rows_last(observation, rows.group).clone()
                observation = self._reset()
            _store(fragment, t + 1, observation)
        # The simulator reuses its buffer, but nothing else steps it before the next fragment.
        self._observation = observation
        np.add.at(fragment.cost, self._node_of_row, cost / (periods * env.batch_size))
        return fragment

    def _act(self, module: NodeKindModule, rows: KindRows, t: int, explore: bool) -> None:
        """Sample the actions of one kind in period t, and hand them to the simulator."""
        observation = rows.observation[t]
        inputs = module.action_inputs(observation.flatten(0, 1)).view(*observation.shape[:2], -1)
        mean, log_std = inputs.chunk(2, dim=-1)
        rows.inputs[t] = inputs
        action = rows.action[t]
        if explore:
            torch.randn(action.shape, generator=self._noise, out=action)
            action.mul_(log_std.exp()).add_(mean)
        else:
            action.copy_(mean)
        group = rows.group
        target = torch.from_numpy(self._action[group.start : group.stop, : group.action_size])
        torch.clamp(action.transpose(1, 2), -1.0, 1.0, out=target)

    def roll_base_policy(self, discount: float) -> BaseRun:
        """Play whole episodes of the base policy (action 0), numbered from 0 with another seed.

        Where rewards are differences to the base policy's, its own are all 0: small random
        corrections then show how far returns spread.
        Ends any episode in progress.
        """
        env = self.env
        base = env if env.baseline is None else env.baseline
        noise = np.random.default_rng(self._seed)
        action = np.zeros_like(self._action)
        replications = min(env.batch_size, 32)  # enough for the spread, and little memory
        self._observation, self._first_episode, self._period = None, 0, 0
        env.reset(self._seed ^ 0x5EED, 0)
        rewards, cost, truncated = [], np.zeros(env.num_rows), False
        demand = 0.0
        while not truncated:
            if env.baseline is not None:
                np.clip(noise.normal(0.0, _PROBE_STD, action.shape), -1.0, 1.0, out=action)
            observation, reward, truncated = env.step(action)
            self._check(observation, reward)
            self._period += 1
            rewards.append(reward[:, :replications].copy())
            cost += base.flows.total_cost.sum(axis=1)
            demand += float(base.flows.demand.sum()) / env.batch_size
        node_cost = np.zeros(len(env.agent_ids))
        np.add.at(node_cost, self._node_of_row, cost / (len(rewards) * env.batch_size))
        history = np.stack(rewards)
        units = {
            group.name: _return_units(history[:, group.start : group.stop], discount)
            for group in env.groups
        }
        return BaseRun(node_cost, demand / len(rewards), units)


def _rows_last(observation: Floats32, group: Group) -> Tensor:
    """[P, F, B] -> [R, B, F] view of one kind's rows."""
    return torch.from_numpy(observation[group.start : group.stop]).transpose(1, 2)


def _store(fragment: Fragment, t: int, observation: Floats32) -> None:
    """Copy an observation into period t of every kind: the only copy it goes through."""
    for rows in fragment.kinds.values():
        rows.observation[t].copy_(_rows_last(observation, rows.group))


def _return_units(reward: Floats32, discount: float) -> tuple[float, float]:
    """Mean and spread of the discounted reward to come, as if episodes went on for ever.

    reward: [T, R, B].
    """
    running = np.full(reward.shape[1:], reward.mean() / (1.0 - discount))
    total = np.empty(reward.shape)
    for t in range(len(reward) - 1, -1, -1):
        running = reward[t] + discount * running
        total[t] = running
    mean, spread = float(total.mean()), float(total.std())
    return mean, max(spread, 1e-3 * abs(mean), 1e-6)
