"""Before learning: models that act as another classical policy does.

DAgger (Ross, Gordon and Bagnell 2011, algorithm 3.1): play, ask the teacher at every state that was
met what it would do there, fit the models to all answers so far, play them, ask again. Fitted to
the teacher's own states alone, they would not know what to do where their errors lead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.compiled.network import CompiledNetwork
from envs.environment.batched_env import BatchedEnv
from envs.policies.base import Policy, Target, View
from envs.scenario import Scenario
from envs.simulation.actions import LEVEL, LEVEL_RANGE, Group, HeadArrays, compile_heads
from envs.types import Bools, Floats, Floats32
from evaluation.artifact.actor import Actor, TorchPolicy
from evaluation.progress import SILENT, Progress
from training.config import ImitationConfig

_ROWS = 1 << 15  # of each node kind that are kept of a round
_MINIBATCH = 2048  # rows
_FINAL_SHARE = 0.05  # of the learning rate, at the end


@dataclass(frozen=True)
class Demonstrations:
    """Rows of one node kind, and what the teacher would do there."""

    observation: Tensor  # [n, F]
    action: Tensor  # [n, A] in [-1, 1]
    at_most: Tensor  # [n, A] whether a smaller action is as good: nothing is ordered either way

    def errors(self, mean: Tensor) -> Tensor:
        """How far actions [n, A] are from the teacher's."""
        return torch.where(self.at_most & (mean < self.action), 0.0, mean - self.action)

    def part(self, rows: Tensor) -> Demonstrations:
        """Some of them."""
        return Demonstrations(self.observation[rows], self.action[rows], self.at_most[rows])

    @classmethod
    def join(cls, parts: list[Demonstrations]) -> Demonstrations:
        """All of them."""
        return cls(
            torch.cat([part.observation for part in parts]),
            torch.cat([part.action for part in parts]),
            torch.cat([part.at_most for part in parts]),
        )


def imitate(
    scenario: Scenario,
    base: Policy,
    teacher: Policy,
    actors: Mapping[str, Actor],
    config: ImitationConfig,
    *,
    seed: int,
    batch_size: int,
    progress: Progress = SILENT,
) -> float:
    """Fit `actors`, in place, to act on the scenario as `teacher` does.

    base: what actions correct.
    seed: of the training episodes played, and of the shuffling.

    Returns the error: root mean square over all heads on episodes played by the models
    themselves, in units of the action, which goes from -1 to 1.
    """
    query = _TeacherQuery(base, teacher)
    env = BatchedEnv(scenario, batch_size, base_policy=query)
    heads, _ = compile_heads(env.net, base.decides, scenario.extra_heads)
    shuffling = torch.Generator().manual_seed(seed)
    progress.phase(f"imitate {teacher.name}", config.rounds)
    fit = _Fit(actors, config, shuffling)
    for done in range(config.rounds + 1):
        student = TorchPolicy(actors) if done else None  # first, the teacher shows how
        met = _play(env, query, heads, student, seed, done * batch_size)
        if done:
            error = fit.error(met)
            progress.update(done, f"error {error:.4f}")
        if done < config.rounds:
            fit.learn(met, done)
    return error


class _TeacherQuery(Policy):
    """The base policy, and in every period what the teacher, which may remember, would do there."""

    def __init__(self, base: Policy, teacher: Policy) -> None:
        self._base, self._teacher = base, teacher
        self.decides = base.decides  # type: ignore[misc]  # of its class

    def reset(self, batch_size: int) -> None:
        self._base.reset(batch_size)
        self._teacher.reset(batch_size)

    def target(self, view: View) -> Target:
        self.answer = self._teacher.target(view)
        return self._base.target(view)

    def spread(self, view: View) -> Floats:
        return self._base.spread(view)


def _play(
    env: BatchedEnv,
    query: _TeacherQuery,
    heads: HeadArrays,
    student: TorchPolicy | None,
    seed: int,
    first_episode: int,
) -> dict[str, Demonstrations]:
    """One episode of every replication, under the student or, without one, under the teacher."""
    drawing = np.random.default_rng([seed, first_episode])
    observation = env.reset(seed, first_episode)
    parts: dict[str, list[Demonstrations]] = {group.name: [] for group in env.groups}
    for _ in range(env.horizon):
        action, at_most = teachers_action(env, heads, query.answer)
        for group in env.groups:
            shown = _some_rows(group, observation, action, at_most, env.horizon, drawing)
            parts[group.name].append(shown)
        played = action if student is None else student.act(observation, env.groups)
        env.close_period(played)
        env.open_period()
        observation = env.observe()
    return {kind: Demonstrations.join(part) for kind, part in parts.items()}


def _some_rows(
    group: Group,
    observation: Floats32,
    action: Floats32,
    at_most: Bools,
    periods: int,
    drawing: np.random.Generator,
) -> Demonstrations:
    """Of one period: [P, ..., B] -> rows [n, ...] of the kind, drawn at random."""
    rows, replications = group.stop - group.start, observation.shape[2]
    count = min(rows * replications, -(-_ROWS // periods))
    picked = drawing.choice(rows * replications, count, replace=False)
    row, replication = group.start + picked // replications, picked % replications

    def drawn(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values[row, : group.action_size, replication])

    whole = torch.from_numpy(observation[row, :, replication])
    return Demonstrations(whole, drawn(action), drawn(at_most))


def teachers_action(env: BatchedEnv, heads: HeadArrays, wanted: Target) -> tuple[Floats32, Bools]:
    """(action [P, A, B] in [-1, 1] that orders what the teacher wants now, whether a smaller one
    orders the same: nothing).

    Inverts `envs.simulation.events.order`: level and expedite head; other heads stay 0, the base
    policy's.
    """
    action = np.zeros_like(env.no_action)
    at_most = np.zeros(action.shape, bool)
    quick, regular = _quantities(env.net, wanted)
    step = LEVEL_RANGE * np.maximum(env.spread, 1e-9)
    whole = quick + regular
    action[:, LEVEL] = np.clip((whole - env.target) / step, -1.0, 1.0)
    at_most[:, LEVEL] = whole <= 0.0
    rows = np.flatnonzero(heads.expedite >= 0)
    if rows.size:
        column = heads.expedite[rows]
        moved = quick[rows] - env.simulator.decision.expedite[rows]
        scaled = step[rows] * np.maximum(heads.expedite_scale[rows, None], 1e-9)
        action[rows, column] = np.clip(moved / scaled, -1.0, 1.0)
        at_most[rows, column] = quick[rows] <= 0.0
        at_most[rows, LEVEL] = regular[rows] <= 0.0
    return action, at_most


def _quantities(net: CompiledNetwork, wanted: Target) -> tuple[Floats, Floats]:
    """[P, B] units that a target asks for: (expedited, regular), as `envs.simulation.events.order`
    has it."""
    quick = np.zeros_like(wanted.order)
    if wanted.expedite is not None:
        has_lanes = net.arrays.stocks.expedite_periods[:, None] >= 0
        quick = np.where(has_lanes, np.maximum(wanted.expedite, 0.0), 0.0)
    regular = np.maximum(wanted.order - quick, 0.0)
    if wanted.cap is not None:
        regular = np.minimum(regular, wanted.cap)
    if wanted.gate is not None:
        is_open = wanted.gate >= 0.0
        if wanted.can_gate is not None:
            is_open |= _joins(net, is_open & (wanted.order > 0.0)) & (wanted.can_gate >= 0.0)
        regular = np.where(is_open, regular, 0.0)
    return quick, regular


def _joins(net: CompiledNetwork, must: Bools) -> Bools:
    """[P, B] whether a pair of the same supplier must order."""
    joint_of = net.arrays.stocks.joint_of
    result = np.zeros_like(must)
    for joint in np.unique(joint_of[joint_of >= 0]):
        rows = joint_of == joint
        result[rows] = must[rows].any(axis=0)
    return result


class _Fit:
    """Regression of every node kind's actor on all that was met so far."""

    def __init__(
        self, actors: Mapping[str, Actor], config: ImitationConfig, shuffling: torch.Generator
    ) -> None:
        self._actors, self._config, self._shuffling = actors, config, shuffling
        self._known: dict[str, list[Demonstrations]] = {kind: [] for kind in actors}
        self._optimizers = {
            kind: torch.optim.Adam(actor.parameters(), config.learning_rate)
            for kind, actor in actors.items()
        }

    def learn(self, met: Mapping[str, Demonstrations], done: int) -> None:
        """Some passes over what was met now and before. done: rounds before this one."""
        config = self._config
        for kind, shown in met.items():
            self._known[kind].append(shown)
            known, optimizer = Demonstrations.join(self._known[kind]), self._optimizers[kind]
            for turn in range(config.passes):
                share = (done + turn / config.passes) / config.rounds
                rate = config.learning_rate * max(_FINAL_SHARE, 1.0 - share)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                order = torch.randperm(len(known.action), generator=self._shuffling)
                for rows in order.split(_MINIBATCH):
                    part = known.part(rows)
                    mean = self._actors[kind](part.observation)
                    optimizer.zero_grad()
                    part.errors(mean).square().mean().backward()
                    optimizer.step()

    @torch.no_grad()
    def error(self, met: Mapping[str, Demonstrations]) -> float:
        """Root mean square of what the models, as played, do differently."""
        errors = [
            shown.errors(self._actors[kind](shown.observation).clamp(-1.0, 1.0)).ravel()
            for kind, shown in met.items()
        ]
        return float(torch.cat(errors).square().mean().sqrt())
