"""Trajectories and the slopes of their cost: the simulator, forwards and backwards (Madeka et al.
2022, "Deep inventory management"; Alvo et al. 2023, "Neural inventory control in networks").

Demand and lead times are drawn before actions, so what a trajectory costs is a deterministic
function of the models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from envs.environment.batched_env import BatchedEnv, Moment
from envs.kernel import Handle, entry
from envs.observation.slopes import MovingFeatures, reverse_observation
from envs.policies.base import Weights
from envs.simulation.reverse import Tape, new_period
from envs.types import Floats, Floats32
from evaluation.artifact.actor import Actor
from training.pathwise.base_policy import declared_weights
from training.pathwise.networks import NetworkSlopes, kept_bytes
from training.rllib.sampling_guard import check_step


@dataclass(frozen=True)
class Trajectory:
    """T periods of B replications. cost: currency per period, priced shortages included."""

    cost: Floats  # [B]
    node_cost: Floats  # [N] currency per period, means over replications
    demand: float  # units, of all replications
    sold: float  # units of it that were served at once
    periods: int


class Shard(NamedTuple):
    """A trajectory to play: one fragment of B episodes, those from `first_episode` on.

    number: of the shard: in every iteration, one of each number is played.
    fragment: of these episodes; the first is 0.
    """

    number: int
    first_episode: int
    fragment: int


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


def fragments_of(env: BatchedEnv, periods: int) -> int:
    """Return how many trajectories of so many periods an episode has, one after the other."""
    return max(1, env.horizon // periods)


class Plan(NamedTuple):
    """What is kept of a trajectory at once.

    thrifty: what written-out layers put out is worked out again, see `network_slopes`.
    """

    periods: int
    kept: int  # periods, of these
    thrifty: bool
    period_bytes: int  # of a kept one
    starts_bytes: int  # of all places from which periods are played again

    @property
    def nbytes(self) -> int:
        """All of it."""
        return self.kept * self.period_bytes + self.starts_bytes


def plan_for(env: BatchedEnv, actors: Mapping[str, Actor], periods: int, room: int) -> Plan:
    """Keep all periods where so many bytes hold them, if need be thriftily, else as few as do.

    actors: by node kind. A start is as large as one of the state that the environment is in.
    """
    period = period_bytes(env, actors)
    if periods * period <= room:
        return Plan(periods, periods, False, period, 0)
    period, start = period_bytes(env, actors, thrifty=True), env.mark().nbytes
    kept = periods if periods * period <= room else periods_kept(periods, period, start)
    starts = math.ceil(periods / kept) + 1 if kept < periods else 0  # and the end
    return Plan(periods, kept, True, period, starts * start)


def period_bytes(env: BatchedEnv, actors: Mapping[str, Actor], *, thrifty: bool = False) -> int:
    """Return what the tape and these actors, by node kind, keep of a period."""
    kept = new_period(env.simulator, env.action_size)
    arrays = [part for part in kept if isinstance(part, np.ndarray)]
    tape = sum(array.nbytes for array in (*arrays, *kept.decision, *kept.marks))
    seen = 4 * env.observation_size * env.num_rows * env.batch_size
    networks = sum(
        kept_bytes(actors[group.name], group.stop - group.start, env.batch_size, thrifty=thrifty)
        for group in env.groups
        if group.name in actors
    )
    return tape + seen + networks


def periods_kept(periods: int, period: int, start: int) -> int:
    """Return how many make periods on the tape and starts of stretches least, of so many bytes."""
    return min(periods, math.ceil(math.sqrt(periods * start / period)))


class Trajectories:
    """Plays fragments of episodes of one simulator under the networks of its node kinds.

    periods: of a fragment.
    kept: of these, on the tape at once. Where it is less than all, they are played twice: once to
        find where every stretch of so many begins, and once more, stretch by stretch and the last
        one first, to go back (Griewank and Walther 2008, "Evaluating derivatives", chapter 12).
    moving: which columns of an observation have slopes.
    """

    def __init__(self, env: BatchedEnv, seed: int, periods: int, kept: int | None = None) -> None:
        """kept: None: all."""
        self.env, self._seed, self.periods = env, seed, periods
        self.kept = kept = min(kept or periods, periods)
        self._tape = Tape(env.simulator, env.action_size, kept)
        fixed = env.new_observation()
        self._seen = [fixed.copy() for _ in range(kept)]
        self.moving = MovingFeatures(env.layout, env.companions)
        self._at = Handle(self.moving.at)
        moving = (env.num_rows, len(self.moving.columns), env.batch_size)
        self._by_features = np.zeros(moving, np.float32)
        self._action, self._by_mean = env.no_action.copy(), env.no_action.copy()
        self._tiles = np.zeros((5, env.batch_size))
        self._weights: list[dict[str, Weights]] = [{}] * kept
        self._salvage = np.zeros(kept)
        self._starts: list[Moment] = []  # of the stretches, and the end
        self._node_of_row = np.concatenate([group.node_of_row for group in env.groups])
        self._shard = Shard(-1, -1, -1)
        self._next: Shard | None = None  # what the simulator goes on with
        self._left: dict[int, tuple[Shard, Moment]] = {}  # by number: to go on with later
        self._tail = 0

    def _begin(self, shard: Shard) -> None:
        """Be where the shard begins: where the fragment before it ended, if it was played here; if
        not, at the beginning of its episodes."""
        self._shard = shard
        if shard == self._next:
            return
        env = self.env
        env.reset(self._seed, shard.first_episode)
        left, moment = self._left.pop(shard.number, (None, None))
        if moment is not None and left == shard:
            env.return_to(moment)
            env.open_period()

    def _check(self, observation: Floats32) -> None:
        check_step(
            self.env, observation, None, seed=self._seed,
            first_episode=self._shard.first_episode, period=self.env.elapsed,
        )  # fmt: skip

    def play(
        self, shard: Shard, networks: Mapping[str, NetworkSlopes], tail: int, alone: bool = True
    ) -> Trajectory:
        """Play the periods; the last `tail` teach the networks nothing.

        What is ordered shortly before the end has costs and no benefits yet: without the tail, the
        policy would learn to stop ordering.

        alone: whether the next one played is the next fragment of the same episodes.

        Raises:
            NonFiniteError: the simulator gave a NaN or an infinity.
        """
        env, periods = self.env, self.periods
        self._tail = tail
        self._begin(shard)
        self._next = None
        for network in networks.values():
            network.begin()
        self._starts = [env.mark()] if self.kept < periods else []
        cost, demand, sold = np.zeros((3, env.num_rows, env.batch_size))
        for t in range(periods):
            if t > 0 and t % self.kept == 0:
                self._starts.append(env.mark())
            self._play_period(networks, t, keeps=t >= self._last_start)
            self._check(self._seen[t % self.kept])
            cost += env.flows.total_cost
            demand += env.flows.demand
            sold += env.flows.sold
        self._end(shard._replace(fragment=shard.fragment + 1), alone)
        node_cost = np.zeros(len(env.agent_ids))
        np.add.at(node_cost, self._node_of_row, cost.sum(axis=1) / (periods * env.batch_size))
        paid = cost.sum(axis=0) + env.shortage_price * (demand - sold).sum(axis=0)
        return Trajectory(
            paid / periods, node_cost, float(demand.sum()), float(sold.sum()), periods
        )

    def _end(self, following: Shard, alone: bool) -> None:
        """After the last period; following: the next fragment, if the episodes have one."""
        env = self.env
        goes_on = env.elapsed + self.periods <= env.horizon
        if self._starts or (goes_on and not alone):
            end = env.mark()
            if self._starts:
                self._starts.append(end)
            if goes_on and not alone:
                self._left[following.number] = following, end
        if goes_on:
            self._next = following
        env.open_period()

    @property
    def _last_start(self) -> int:
        """The period at which the last stretch begins."""
        return (self.periods - 1) // self.kept * self.kept

    def _play_period(self, networks: Mapping[str, NetworkSlopes], t: int, *, keeps: bool) -> None:
        """Open and close period t; keeps: on the tape."""
        env, tape, place = self.env, self._tape, t % self.kept
        if keeps and t == 0:
            tape.begin()
        elif keeps and place == 0:
            tape.begin_closed()
        if t > 0:
            env.open_period()
        if keeps and t > 0:
            tape.note_opened()
        env.observe(into=self._seen[place])
        action = self._act(networks, t, keeps=keeps)
        if keeps:
            self._weights[place] = self._declared()
            tape.note_decision(env.target, env.spread, action)
        env.close_period(action)
        if keeps:
            self._salvage[place] = env.salvage_share
            tape.note_closed()

    def _act(self, networks: Mapping[str, NetworkSlopes], t: int, *, keeps: bool) -> Floats32:
        """Mean actions [P, A, B] in [-1, 1], 0 for heads that a kind lacks; the next overwrite."""
        action, seen = self._action, self._seen[t % self.kept]
        for group in self.env.groups:
            rows = slice(group.start, group.stop)
            learns = t < self.periods - self._tail
            mean = networks[group.name].forward(seen[rows], learns, keeps)
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
        env = self.env
        self._tape.begin_reverse()
        for first in range(self._last_start, -1, -self.kept):
            end = min(first + self.kept, self.periods)
            if first < self._last_start:
                env.return_to(self._starts[first // self.kept])
                for t in range(first, end):
                    self._play_period(networks, t, keeps=True)
            for t in reversed(range(first, end)):
                self._reverse_period(networks, t, weight)
        if self._starts:
            env.return_to(self._starts[-1])
            env.open_period()

    def _reverse_period(
        self, networks: Mapping[str, NetworkSlopes], t: int, weight: Floats
    ) -> None:
        env, tape, slopes, place = self.env, self._tape, self._tape.slopes, t % self.kept
        parts, kept = env.simulator.handles, tape.periods[place]
        tape.reverse_close(place, weight, env.shortage_price, self._salvage[place])
        self._reverse_networks(networks, kept.action)
        if t == 0:
            return
        reverse_observation(
            parts.net, parts.forecast, env.observed, self._at, self._seen[place],
            self._by_features, kept.target, tape.marks[place], tape.slopes_handle, self._tiles,
            tape.first_period + place,
        )  # fmt: skip
        for field, weights in self._weights[place].items():
            by_field = getattr(slopes, field)
            for position, per_unit in weights.items():
                by_position = getattr(slopes, position)
                by_position -= per_unit * by_field
        tape.reverse_open(place)

    def _reverse_networks(self, networks: Mapping[str, NetworkSlopes], action: Floats32) -> None:
        """by_features, by the slopes of actions."""
        by_mean = self._by_mean
        lead_inside(self._tape.slopes.action, action, by_mean)
        for group in self.env.groups:
            rows = slice(group.start, group.stop)
            networks[group.name].backward(
                by_mean[rows, : group.action_size], self._by_features[rows]
            )
        self.moving.gather(self._by_features)


@entry
def lead_inside(by_action: Floats, action: Floats32, by_mean: Floats32) -> None:
    """by_mean [P, A, B] = by_action; of an action at a bound only what leads back inside."""
    for p in range(action.shape[0]):
        for head in range(action.shape[1]):
            for b in range(action.shape[2]):
                slope, at = by_action[p, head, b], action[p, head, b]
                leads_out = (at >= 1.0 and slope < 0.0) or (at <= -1.0 and slope > 0.0)
                by_mean[p, head, b] = 0.0 if leads_out else slope
