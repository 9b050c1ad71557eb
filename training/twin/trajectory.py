"""Trajectories with slopes: the simulator and its twin, stepped side by side.

Every number comes from the simulator; the twin adds how it moves with what the models did
(Madeka et al. 2022; Alvo et al. 2023).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from envs.environment.batched_env import BatchedEnv
from envs.simulation.actions import compile_heads
from envs.types import Floats, Floats32
from evaluation.artifact.actor import Actor
from training.rllib.sampling_guard import check_step
from training.twin.base_policy import BasePolicySlopes
from training.twin.heads import RawOrders, clip_action
from training.twin.observation import ObservationSlopes
from training.twin.physics import Twin
from training.twin.state import Draws, TwinState, anchor
from training.twin.tables import Tables

_DTYPE = torch.float32


@dataclass(frozen=True)
class Trajectory:
    """T periods of B replications. cost: currency per period, priced shortages included."""

    cost: Tensor  # [B] with slope
    node_cost: Floats  # [N] currency per period, means over replications
    demand: float  # units, of all replications
    sold: float  # units of it that were served at once
    periods: int


def horizon_of(env: BatchedEnv, periods: int | None, tail: int | None) -> tuple[int, int]:
    """(periods to play, periods at the end in which the policy is held fixed).

    None: from the longest way from ordering to the customer, so that an order's consequences are
    seen before the trajectory ends; never more than an episode has.
    """
    way = int(np.ceil((env.net.leads.path + env.net.leads.path_sd + env.net.review).max()))
    tail = int(np.clip(2 * way, 16, 64)) if tail is None else tail
    periods = max(64, 3 * tail) if periods is None else periods
    periods = min(periods, env.horizon)
    return periods, min(tail, periods // 2)


class Trajectories:
    """Plays fragments of episodes of one simulator under the actors of its node kinds."""

    def __init__(self, env: BatchedEnv, seed: int, first_episode: int, device: str = "cpu") -> None:
        self.env, self.next_episode = env, first_episode
        self._seed, self._device = seed, device
        net, policy, simulator = env.net, env.base_policy, env.simulator
        heads, _ = compile_heads(net, policy.decides, env.scenario.extra_heads)
        self._tables = tables = Tables(net, _DTYPE, device)
        self._twin, self._raw_orders = Twin(tables, heads), RawOrders(tables, heads)
        self._policy = BasePolicySlopes(policy, env.action_space)
        path_horizon = simulator.forecast.path_horizon
        self._slopes = ObservationSlopes(
            tables, env.layout, env.inverse_scale, path_horizon, env.companions
        )
        self._node_of_row = np.concatenate([group.node_of_row for group in env.groups])
        self._observation: Floats32 | None = None
        self._first_episode = first_episode

    def _begin(self, periods: int) -> Floats32:
        """Go on where the last trajectory ended, or begin new episodes."""
        env = self.env
        if self._observation is None or env.elapsed + periods > env.horizon:
            self._first_episode = self.next_episode
            self.next_episode += env.batch_size
            self._observation = env.reset(self._seed, self._first_episode)
            self._check(self._observation, None)
            self._twin.begin(env.flows)
        return self._observation

    def _check(self, observation: Floats32, reward: Floats32 | None) -> None:
        check_step(
            self.env, observation, reward, seed=self._seed, first_episode=self._first_episode,
            period=self.env.elapsed,
        )  # fmt: skip

    def play(self, actors: Mapping[str, Actor], periods: int, tail: int) -> Trajectory:
        """Play `periods` periods; the slopes of the last `tail` are through the state alone.

        What is ordered shortly before the end has costs and no benefits yet: without the tail, the
        policy would learn to stop ordering.

        Raises:
            NonFiniteError: the simulator gave a NaN or an infinity.
        """
        env = self.env
        observation = self._begin(periods)
        fixed = {name: copy.deepcopy(actor).requires_grad_(False) for name, actor in actors.items()}
        state = TwinState.of(env.state, env.simulator.period, _DTYPE, self._device)
        total = torch.zeros(env.batch_size, dtype=_DTYPE, device=self._device)
        cost = np.zeros(env.num_rows)
        demand = sold = 0.0
        for t in range(periods):
            acting = actors if t < periods - tail else fixed
            state, priced = self._period(state, observation, acting)
            total = total + priced
            cost += env.flows.total_cost.sum(axis=1)
            demand += float(env.flows.demand.sum())
            sold += float(env.flows.sold.sum())
            observation = env.observe()
            self._check(observation, None)
        self._observation = observation
        node_cost = np.zeros(len(env.agent_ids))
        np.add.at(node_cost, self._node_of_row, cost / (periods * env.batch_size))
        return Trajectory(total / periods, node_cost, demand, sold, periods)

    def _period(
        self, state: TwinState, observation: Floats32, actors: Mapping[str, Actor]
    ) -> tuple[TwinState, Tensor]:
        """One period: (the state agents meet next, cost [B])."""
        env, twin = self.env, self._twin
        positions = twin.positions(state)
        wanted = self._policy.of(positions, env.view)
        decision, spread = env.simulator.decision, self._tables.tensor(env.spread)
        order, expedite = anchor(env.target, wanted["order"]), None
        if "expedite" in wanted:
            expedite = anchor(decision.expedite, wanted["expedite"])
        seen = self._slopes.of(
            torch.tensor(observation, device=self._device), state, positions, order, env.state
        )
        action = clip_action(self._act(actors, seen))
        draws = Draws.of(env.simulator.trace, _DTYPE, self._device)
        env.close_period(action.detach().cpu().numpy())
        raw = self._raw_orders.of(action, order, expedite, spread, decision, env.flows)
        state, flows = twin.close_period(
            state, raw, draws, action, (env.state, env.flows, env.simulator.period)
        )
        cost = flows.cost.sum(0)
        if env.shortage_price.any():
            price = self._tables.tensor(env.shortage_price)
            cost = cost + price * (flows.demand - flows.sold).sum(0)
        env.open_period()
        draws = Draws.of(env.simulator.trace, _DTYPE, self._device)
        state = twin.open_period(state, draws, (env.state, env.flows, env.simulator.period))
        return state, cost

    def _act(self, actors: Mapping[str, Actor], observation: Tensor) -> Tensor:
        """[P, F, B] -> mean actions [P, A, B], 0 for heads that a kind lacks."""
        parts, groups = [], self.env.groups
        by_kind = observation.split([group.stop - group.start for group in groups])
        for group, rows in zip(groups, by_kind, strict=True):
            mean = actors[group.name](rows.transpose(1, 2)).transpose(1, 2)
            missing = self.env.action_size - group.action_size
            if missing:
                shape = (mean.shape[0], missing, mean.shape[2])
                mean = torch.cat([mean, mean.new_zeros(shape)], dim=1)
            parts.append(mean)
        return torch.cat(parts)
