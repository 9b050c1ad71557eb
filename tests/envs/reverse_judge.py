"""Slopes of the reverse pass on random networks against differences of the simulator itself."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import NamedTuple
from unittest.mock import patch

import numpy as np

from envs.compiled.arrays import CostColumn
from envs.environment.batched_env import BatchedEnv
from envs.network.network import SupplyNetwork
from envs.policies import policy_class
from envs.policies.base import Weights
from envs.scenario import Scenario
from envs.simulation.reverse import Tape
from envs.trace import trace
from envs.types import Floats, Floats32, Keys
from tests.envs.networks import random_network

# Of each way to move with stock one: levels, echelons, a cap, expediting, shares of a gap, gates.
POLICIES = (
    "base_stock",
    "echelon_base_stock",
    "capped_base_stock",
    "dual_index",
    "s_s",
    "tailored_base_surge",
)
STEP = 2.0**-14  # exact in float32
_LARGEST = 1e-3  # relative error
_STATE = ("on_hand", "owed", "in_transit")


class Entry(NamedTuple):
    """A number that is moved: of the state when agents first act, or of an action."""

    field: str
    place: tuple[int, ...]


class Judged(NamedTuple):
    """What the tape and the simulator say of an entry: currency per 1 more of it."""

    entry: Entry
    slope: float
    from_left: float
    from_right: float

    @property
    def is_right(self) -> bool:
        """Between both differences, which are the same but where a rule bends."""
        low, high = sorted((self.from_left, self.from_right))
        most = _LARGEST * (1.0 + abs(self.slope))
        return low - most <= self.slope <= high + most


def _without_steps(network: SupplyNetwork, *, free: bool) -> SupplyNetwork:
    """Orders of any size: what is rounded has no differences. free: no fees, and so no gates."""
    lanes = tuple(
        replace(
            lane, order_multiple=0.0, minimum_order=0.0, full_loads=False, load_cost=0.0,
            fixed_cost=0.0 if free else lane.fixed_cost,
        )
        for lane in network.lanes
    )  # fmt: skip
    resources = tuple(
        replace(resource, load_cost=0.0, fixed_cost=0.0 if free else resource.fixed_cost)
        for resource in network.resources
    )
    return replace(network, lanes=lanes, resources=resources)


def _same_key(seed: int, first_episode: int, keys: Keys) -> None:
    keys[:] = np.uint64(2 * seed + 1) * np.uint64(0x9E3779B97F4A7)


class Judge:
    """Plays one network over and over, from one start, on the same draws."""

    def __init__(self, seed: int, periods: int, most: int) -> None:
        """most: entries of the state, and of the actions, at most."""
        self._random, self._periods, self._seed = Random(seed), periods, seed
        drawn = random_network(Random(seed), divisible=True)
        network = _without_steps(drawn, free=self._random.random() < 0.5)
        names = list(POLICIES)
        self._random.shuffle(names)
        usable = Scenario("random", network, 40, base_policy="base_stock").compiled
        name = next(n for n in names if policy_class(n).unfit(usable) is None)
        extra = ("smoothing",) if self._random.random() < 0.3 else ()
        self._scenario = Scenario(
            "random", network, 40, base_policy=name, smoothing=0.1, extra_heads=extra
        )
        # Budgets and room move orders without a slope.
        net = self._scenario.compiled
        switches = net.arrays.switches._replace(has_order_rules=False)
        object.__setattr__(net, "arrays", net.arrays._replace(switches=switches))
        self._most = most
        self.policy = name

    def _begin(self, batch: int) -> tuple[BatchedEnv, np.random.Generator]:
        """All replications are the first one."""
        env, numbers = BatchedEnv(self._scenario, batch), np.random.default_rng(self._seed)
        with patch.object(trace, "episode_keys", _same_key):
            env.reset(self._seed)
        for _ in range(3):
            env.step(self._action(env, numbers))
        env.state.on_hand[...] += numbers.uniform(0.0, 3.0, (len(env.state.on_hand), 1))
        env.state.owed[...] += numbers.uniform(0.0, 3.0, (len(env.state.owed), 1))
        return env, numbers

    def _action(self, env: BatchedEnv, numbers: np.random.Generator) -> Floats32:
        steps = numbers.integers(-900, 901, (env.num_rows, env.action_size, 1))
        return np.float32(steps / 1024.0) + env.no_action

    def _play(
        self, entries: list[Entry], step: float, *, taped: bool
    ) -> tuple[Floats, BatchedEnv, Tape | None, list[dict[str, Weights]]]:
        """[B] what is paid; entry b is moved in replication b."""
        env, numbers = self._begin(max(len(entries), 1))
        for b, entry in enumerate(entries):
            if entry.field != "action":
                getattr(env.state, entry.field)[(*entry.place, b)] += step
                if entry.field == "in_transit":
                    env.state.in_transit_total[entry.place[0], b] += step
        env.refresh()
        tape = Tape(env.simulator, env.action_size, self._periods) if taped else None
        if tape:
            tape.begin()
        paid = np.zeros(env.batch_size)
        declared: list[dict[str, Weights]] = []
        for t in range(self._periods):
            action = self._action(env, numbers)
            for b, entry in enumerate(entries):
                if entry.field == "action" and entry.place[0] == t:
                    action[(*entry.place[1:], b)] += np.float32(step)
            if tape:
                policy, view = env.base_policy, env.view
                declared.append({"order": policy.order_weights(view) or {}})
                if "expedite" in policy.decides:
                    declared[-1]["expedite"] = policy.expedite_weights(view) or {}
                tape.note_decision(env.target, env.spread, action)
            env.close_period(action)
            fees = env.flows.cost[[CostColumn.FIXED_ORDER, CostColumn.LOAD]].sum(axis=(0, 1))
            paid += env.flows.total_cost.sum(axis=0) - fees
            if tape:
                tape.note_closed()
            env.open_period()
            if tape:
                tape.note_opened()
        return paid, env, tape, declared

    def judge(self) -> list[Judged]:
        """Slopes and differences of some entries."""
        _, env, tape, declared = self._play([], 0.0, taped=True)
        assert tape is not None
        actions, state = self._reverse(env, tape, declared)
        entries = self._entries(env)
        paid = [self._play(entries, step, taped=False)[0] for step in (0.0, STEP, -STEP)]
        right, left = (paid[1] - paid[0]) / STEP, (paid[0] - paid[2]) / STEP
        found = []
        for b, entry in enumerate(entries):
            values = actions if entry.field == "action" else state[entry.field]
            found.append(Judged(entry, float(values[entry.place]), float(left[b]), float(right[b])))
        return found

    def _reverse(
        self, env: BatchedEnv, tape: Tape, declared: list[dict[str, Weights]]
    ) -> tuple[Floats, dict[str, Floats]]:
        """Slopes by actions [T, P, A], and by the state when agents first act."""
        actions = np.zeros((self._periods, env.num_rows, env.action_size))
        slopes = tape.slopes
        tape.begin_reverse()
        for t in reversed(range(self._periods)):
            tape.reverse_close(t, np.ones(1), np.zeros(1))
            actions[t] = slopes.action[..., 0]
            for field, weights in declared[t].items():
                for position, per_unit in weights.items():
                    by_position = getattr(slopes, position)
                    by_position -= per_unit * getattr(slopes, field)
            tape.reverse_open(t, plays=t > 0)
        state = {name: getattr(slopes, name)[..., 0].copy() for name in _STATE}
        state["in_transit"] += slopes.in_transit_total
        return actions, state

    def _entries(self, env: BatchedEnv) -> list[Entry]:
        rows, lanes = range(env.num_rows), range(len(env.state.owed))
        slots, now = env.net.slots, env.simulator.period - self._periods
        known = [Entry("on_hand", (p,)) for p in rows] + [Entry("owed", (q,)) for q in lanes]
        ahead = range(1, slots)
        known += [Entry("in_transit", (q, (now + k) % slots)) for q in lanes for k in ahead]
        acts = [
            Entry("action", (t, row, head))
            for t in range(self._periods)
            for group in env.groups
            for row in range(group.start, group.stop)
            for head in range(group.action_size)
        ]
        drawn = self._random.sample(known, min(self._most, len(known)))
        return drawn + self._random.sample(acts, min(self._most, len(acts)))
