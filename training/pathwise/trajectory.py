"""Trajectories and the slopes of their cost: the simulator, forwards and backwards (Madeka et al.
2022, "Deep inventory management"; Alvo et al. 2023, "Neural inventory control in networks").

Demand and lead times are drawn before actions, so what a trajectory costs is a deterministic
function of the models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from envs.environment.batched_env import BatchedEnv
from envs.kernel import Handle
from envs.observation.slopes import MovingFeatures, reverse_observation
from envs.policies.base import Weights
from envs.simulation.reverse import Tape
from envs.types import Floats, Floats32
from training.pathwise.base_policy import declared_weights
from training.pathwise.networks import NetworkSlopes
from training.rllib.sampling_guard import check_step


@dataclass(frozen=True)
class Trajectory:
    """T periods of B replications. cost: currency per period, priced shortages included."""

    cost: Floats  # [B]
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
    """Plays fragments of episodes of one simulator under the networks of its node kinds.

    periods: of a fragment.
    next_episode: the number of the next one to begin.
    moving: which columns of an observation have slopes.
    """

    def __init__(self, env: BatchedEnv, seed: int, periods: int) -> None:
        self.env, self._seed = env, seed
        self.next_episode = self._first_episode = 0
        self._tape = Tape(env.simulator, env.action_size, periods)
        shape = (env.num_rows, env.observation_size, env.batch_size)
        self._seen = np.zeros((periods, *shape), np.float32)
        self.moving = MovingFeatures(env.layout, env.companions)
        self._at = Handle(self.moving.at)
        moving = (env.num_rows, len(self.moving.columns), env.batch_size)
        self._by_features = np.zeros(moving, np.float32)
        self._by_mean = np.zeros((env.num_rows, env.action_size, env.batch_size), np.float32)
        self._tiles = np.zeros((5, env.batch_size))
        self._weights: list[dict[str, Weights]] = []
        self._salvage = np.zeros(periods)
        self._node_of_row = np.concatenate([group.node_of_row for group in env.groups])
        self._observation: Floats32 | None = None

    @property
    def bytes_per_period(self) -> int:
        """What is kept of a period, of all replications; networks keep their own."""
        kept = self._tape.periods[0]
        arrays = [part for part in kept if isinstance(part, np.ndarray)]
        return sum(array.nbytes for array in (*arrays, *kept.decision, *kept.marks, self._seen[0]))

    def go_on(self, first_episode: int) -> None:
        """Begin no episode before this one; those that were begun by then are left."""
        if self.next_episode < first_episode:
            self.next_episode, self._observation = first_episode, None

    def _begin(self, periods: int) -> Floats32:
        """Go on where the last trajectory ended, or begin new episodes."""
        env = self.env
        if self._observation is None or env.elapsed + periods > env.horizon:
            self._first_episode = self.next_episode
            self.next_episode += env.batch_size
            self._observation = env.reset(self._seed, self._first_episode)
            self._check(self._observation)
        return self._observation

    def _check(self, observation: Floats32) -> None:
        check_step(
            self.env, observation, None, seed=self._seed, first_episode=self._first_episode,
            period=self.env.elapsed,
        )  # fmt: skip

    def play(self, networks: Mapping[str, NetworkSlopes], tail: int) -> Trajectory:
        """Play as many periods as there is tape for; the last `tail` teach the networks nothing.

        What is ordered shortly before the end has costs and no benefits yet: without the tail, the
        policy would learn to stop ordering.

        Raises:
            NonFiniteError: the simulator gave a NaN or an infinity.
        """
        env, tape, periods = self.env, self._tape, len(self._seen)
        observation = self._begin(periods)
        for network in networks.values():
            network.begin()
        self._weights.clear()
        tape.begin()
        total, cost = np.zeros(env.batch_size), np.zeros(env.num_rows)
        demand = sold = 0.0
        for t in range(periods):
            self._seen[t] = observation
            action = self._act(networks, self._seen[t], learns=t < periods - tail)
            self._weights.append(self._declared())
            tape.note_decision(env.target, env.spread, action)
            env.close_period(action)
            self._salvage[t] = env.salvage_share
            tape.note_closed()
            flows = env.flows
            total += flows.total_cost.sum(axis=0)
            total += env.shortage_price * (flows.demand - flows.sold).sum(axis=0)
            cost += flows.total_cost.sum(axis=1)
            demand += float(flows.demand.sum())
            sold += float(flows.sold.sum())
            env.open_period()
            tape.note_opened()
            observation = env.observe()
            self._check(observation)
        self._observation = observation
        node_cost = np.zeros(len(env.agent_ids))
        np.add.at(node_cost, self._node_of_row, cost / (periods * env.batch_size))
        return Trajectory(total / periods, node_cost, demand, sold, periods)

    def _act(
        self, networks: Mapping[str, NetworkSlopes], observation: Floats32, *, learns: bool
    ) -> Floats32:
        """[P, F, B] -> mean actions [P, A, B] in [-1, 1], 0 for heads that a kind lacks."""
        action = np.zeros_like(self._by_mean)
        for group in self.env.groups:
            rows = slice(group.start, group.stop)
            mean = networks[group.name].forward(observation[rows], learns)
            np.clip(mean, -1.0, 1.0, out=action[rows, : group.action_size])
        return action

    def _declared(self) -> dict[str, Weights]:
        env = self.env
        declared = declared_weights(env.base_policy, env.action_space, env.view)
        return {
            field: {name: np.array(weight) for name, weight in weights.items()}
            for field, weights in declared.items()
        }

    def reverse(self, networks: Mapping[str, NetworkSlopes], weight: Floats) -> None:
        """Give the networks the slopes of the trajectory's loss; once after `play`.

        weight [B]: what a currency unit of a replication's cost in any period adds to the loss.
        """
        env, tape, slopes = self.env, self._tape, self._tape.slopes
        parts = env.simulator.handles
        tape.begin_reverse()
        for t in reversed(range(len(self._seen))):
            tape.reverse_close(t, weight, env.shortage_price, self._salvage[t])
            self._reverse_networks(networks, tape.periods[t].action)
            if t == 0:
                continue
            reverse_observation(
                parts.net, parts.forecast, env.observed, self._at, self._seen[t],
                self._by_features, tape.periods[t].target, tape.marks[t], tape.slopes_handle,
                self._tiles, tape.first_period + t,
            )  # fmt: skip
            for field, weights in self._weights[t].items():
                by_field = getattr(slopes, field)
                for position, per_unit in weights.items():
                    by_position = getattr(slopes, position)
                    by_position -= per_unit * by_field
            tape.reverse_open(t)

    def _reverse_networks(self, networks: Mapping[str, NetworkSlopes], action: Floats32) -> None:
        """by_features, by the slopes of actions; beyond the bounds of an action only the part of
        a slope that leads back inside."""
        by_mean = self._by_mean
        by_mean[...] = self._tape.slopes.action
        by_mean[(action >= 1.0) & (by_mean < 0.0)] = 0.0
        by_mean[(action <= -1.0) & (by_mean > 0.0)] = 0.0
        for group in self.env.groups:
            rows = slice(group.start, group.stop)
            networks[group.name].backward(
                by_mean[rows, : group.action_size], self._by_features[rows]
            )
        self.moving.gather(self._by_features)
