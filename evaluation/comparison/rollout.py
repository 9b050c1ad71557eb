"""Play policies on traces: the same ones for every policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from envs.environment.batched_env import BatchedEnv
from envs.kpis.pairs import EpisodeKpis, KpiTally
from envs.policies import build_policy
from envs.policies.base import Policy
from envs.scenario import Scenario
from envs.simulation.action_spaces import ActionSpace
from envs.types import Floats, Floats32, Ints

_MOST, _FEWEST = 256, 16  # episodes simulated at once
_ROWS = 1 << 18  # stocked pairs x episodes, at most: some 500 MB


class Correction(Protocol):
    """A learned correction of the base policy."""

    def __call__(self, observation: Floats32) -> Floats32:
        """Map observations [P, F, B] to actions [P, A, B] in [-1, 1]."""


@dataclass(frozen=True)
class Competitor:
    """A policy under evaluation: a classical one, or one with a learned correction.

    sees: the scenario as this policy's models see it, where that differs from the comparison's in
        what rows see or which base policy is corrected; its traces are the same.
    """

    name: str
    policy: str  # the classical policy's name
    parameters: Mapping[str, Any] = field(default_factory=dict)
    correction: Correction | None = None  # None: the classical policy alone
    origin: str = "given"  # of the parameters: given, tuned, textbook, artifact
    sees: Scenario | None = None

    def build(self, scenario: Scenario) -> Policy:
        """Build the classical part for the scenario's network."""
        return build_policy(self.policy, scenario.compiled, self.parameters)


def play(
    scenario: Scenario,
    policy: Policy,
    correction: Correction | None = None,
    *,
    traces: int,
    seed: int,
    split: str = "test",
) -> EpisodeKpis:
    """Play `traces` episodes 0, 1, ... of a seed and return their KPIs.

    Equal (seed, split) give equal traces whatever the policy.
    """
    return EpisodeKpis.join([
        play_batch(
            scenario, policy, correction,
            first=first, size=size, seed=seed, split=split,
        )
        for first, size in batches(scenario, traces)
    ])  # fmt: skip


def batches(scenario: Scenario, traces: int) -> list[tuple[int, int]]:
    """(first, how many) of the episodes that are simulated at once: fewer in a large network."""
    at_once = int(np.clip(_ROWS // len(scenario.network.stocks), _FEWEST, _MOST))
    return [(first, min(at_once, traces - first)) for first in range(0, traces, at_once)]


def play_batch(
    scenario: Scenario,
    policy: Policy,
    correction: Correction | None,
    *,
    first: int,
    size: int,
    seed: int,
    split: str,
) -> EpisodeKpis:
    """Play episodes first .. first + size - 1 at once."""
    env = BatchedEnv(
        scenario, size, split=split, base_policy=policy, action_space=_space(correction)
    )
    observation = env.reset(seed, first)
    tally = KpiTally(env)
    for _ in range(env.horizon):
        action = env.no_action if correction is None else correction(observation)
        env.close_period(action)
        tally.add()
        env.open_period()
        if correction is not None:
            observation = env.observe()
    return tally.result()


def _space(correction: Correction | None) -> ActionSpace | None:
    """The scenario's where something was learned; a classical policy is the zero residual."""
    return ActionSpace.residual if correction is None else None


@dataclass(frozen=True, eq=False)
class Timeline:
    """One episode, by node kind: what a planner would plot. Arrays [T] in units."""

    on_hand: dict[str, Floats]
    ordered: dict[str, Floats]
    demand: Floats
    lost: Floats
    waiting: Floats  # customers' backorders at the end of the period
    regimes: Ints  # [T, G] their true states
    first: int  # calendar period of the first one


def record_timeline(
    scenario: Scenario, competitor: Competitor, seed: int, split: str = "test"
) -> Timeline:
    """Play one trace and keep stock, orders and demand per period."""
    env = BatchedEnv(
        scenario,
        1,
        split=split,
        base_policy=competitor.build(scenario),
        action_space=_space(competitor.correction),
    )
    observation = env.reset(seed)
    trace = env.simulator.trace
    first = int(trace.offset[0]) + trace.period
    on_hand: dict[str, list[float]] = {g.name: [] for g in env.groups}
    ordered: dict[str, list[float]] = {g.name: [] for g in env.groups}
    demand, lost, waiting, regimes = [], [], [], []
    lane_to = env.net.arrays.lanes.to
    for _ in range(env.horizon):
        correction = competitor.correction
        env.close_period(env.no_action if correction is None else correction(observation))
        for group in env.groups:
            rows = slice(group.start, group.stop)
            lanes = (lane_to >= group.start) & (lane_to < group.stop)
            on_hand[group.name].append(float(env.state.on_hand[rows].sum()))
            ordered[group.name].append(float(env.flows.ordered[lanes].sum()))
        demand.append(float(env.flows.demand.sum()))
        lost.append(float(env.flows.lost.sum()))
        waiting.append(float(env.state.backorders.sum()))
        regimes.append(trace.true_regime[:, 0].copy())
        env.open_period()
        observation = env.observe()
    return Timeline(
        {name: np.array(values) for name, values in on_hand.items()},
        {name: np.array(values) for name, values in ordered.items()},
        np.array(demand),
        np.array(lost),
        np.array(waiting),
        np.array(regimes),
        first,
    )
