"""Slopes of the reverse pass on random networks against differences of the simulator itself.

What moves the cost of some periods: the state when agents first act, and every head of every
action. The tape gives all slopes at once; differences take two runs, in which replication b has
entry b moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from envs.compiled.arrays import CostColumn
from envs.environment.batched_env import BatchedEnv
from envs.network.lane import Allocation, Limits
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
# Of the cost of each period in the loss: different ones, so that nothing adds up to 0 by chance.
WEIGHTS = (0.83, 1.17, 0.71, 1.31, 0.93, 1.09)
PERIODS = len(WEIGHTS)
STEP = 2.0**-14  # exact in float32
_LARGEST = 2e-4  # relative error
STATE = ("on_hand", "backorders", "owed", "in_transit", "orders_on_way")
_TOTALS = {"in_transit": "in_transit_total", "orders_on_way": "orders_on_way_total"}
_SHORTAGE_PRICE, _SALVAGE_SHARE = 2.0, 0.5


class Entry(NamedTuple):
    """A number that is moved: of the state when agents first act, or of an action."""

    field: str
    place: tuple[int, ...]


class Difference(NamedTuple):
    """What the simulator says of an entry: currency per 1 more of it."""

    entry: Entry
    from_left: float
    from_right: float

    @classmethod
    def from_json(cls, entry: list[Any], from_left: float, from_right: float) -> Difference:
        """Read what `json.dumps` wrote."""
        field, place = entry
        return cls(Entry(field, tuple(place)), from_left, from_right)

    @property
    def is_smooth(self) -> bool:
        """Whether no rule bends there."""
        return self._is_within(self.from_left, self.from_right, self.from_right)

    def allows(self, slope: float) -> bool:
        """Whether it lies between both sides."""
        low, high = sorted((self.from_left, self.from_right))
        return self._is_within(slope, low, high)

    @staticmethod
    def _is_within(slope: float, low: float, high: float) -> bool:
        most = _LARGEST * (1.0 + abs(slope))
        return low - most <= slope <= high + most


def wrong(
    slopes: Mapping[str, Floats], differences: Iterable[Difference]
) -> list[tuple[Difference, float]]:
    """The differences that a slope contradicts, and the slope."""
    found = ((one, float(slopes[one.entry.field][one.entry.place])) for one in differences)
    return [(one, slope) for one, slope in found if not one.allows(slope)]


def _without_steps(network: SupplyNetwork, *, free: bool) -> SupplyNetwork:
    """Orders of any size: what is rounded has no differences. free: no fees, and so no gates,
    nor yields."""
    none: dict[str, Any] = {"fixed_cost": 0.0, "load_cost": 0.0} if free else {}
    no_yields: dict[str, Any] = {"yield_share": 1.0} if free else {}
    any_size: dict[str, Any] = {"order_multiple": 0.0, "minimum_order": 0.0, "full_loads": False}
    lanes = tuple(replace(lane, **any_size, **none, **no_yields) for lane in network.lanes)
    resources = tuple(replace(resource, **none) for resource in network.resources)
    return replace(network, lanes=lanes, resources=resources)


def _with_rules(network: SupplyNetwork) -> SupplyNetwork:
    """All stock is shared by days of cover, and agents weigh it; resources are scarce, every other
    one is shared by priority."""
    fair: dict[str, Any] = {"allocation": Allocation.fair_share, "learned_allocation": True}
    return replace(
        network,
        stocks=tuple(replace(stock, **fair) for stock in network.stocks),
        resources=tuple(
            replace(
                resource, capacity=5.0 + 3.0 * i, limits=Limits.shipments,
                allocation=Allocation.proportional if i % 2 else Allocation.priority,
            )
            for i, resource in enumerate(network.resources)
        ),
    )  # fmt: skip


def _random_scenario(seed: int) -> Scenario:
    random = Random(seed)
    is_free, has_rules = random.random() < 0.5, random.random() < 0.4
    drawn = random_network(Random(seed), divisible=True, hub=random.random() < 0.7)
    network = _without_steps(_with_rules(drawn) if has_rules else drawn, free=is_free)
    first = seed % len(POLICIES)
    usable = Scenario("random", network, 40, base_policy="base_stock").compiled
    names = (*POLICIES[first:], *POLICIES[:first])
    policy = next(n for n in names if policy_class(n).unfit(usable) is None)
    extra = ("smoothing",) if not is_free and random.random() < 0.6 else ()
    return Scenario("random", network, 40, base_policy=policy, smoothing=0.1, extra_heads=extra)


def _same_key(seed: int, first_episode: int, keys: Keys) -> None:
    keys[:] = np.uint64(2 * seed + 1) * np.uint64(0x9E3779B97F4A7)


class Judge:
    """Plays one network over and over, from one start, on the same draws."""

    def __init__(self, seed: int, scenario: Scenario | None = None) -> None:
        """scenario: None draws one."""
        self.seed = seed
        self._scenario = scenario or _random_scenario(seed)
        self.policy = self._scenario.base_policy
        net = self._scenario.compiled
        rules, capacitated = net.arrays.rules, net.arrays.nodes.capacitated
        if rules.budgets.size or capacitated.size:  # they move orders without a slope
            switches = net.arrays.switches._replace(has_order_rules=False)
            object.__setattr__(net, "arrays", net.arrays._replace(switches=switches))

    def slopes(self) -> dict[str, Floats]:
        """By the tape: of the fields of the state, and of the actions [T, P, A]."""
        _, env, tape, declared = self._play((), 0.0)
        slopes, actions = tape.slopes, np.zeros((PERIODS, env.num_rows, env.action_size))
        tape.begin_reverse()
        for t in reversed(range(PERIODS)):
            price = np.full(1, _SHORTAGE_PRICE)
            tape.reverse_close(t, np.full(1, WEIGHTS[t]), price, _salvage_share(t))
            actions[t] = slopes.action[..., 0]
            for field, weights in declared[t].items():
                for position, per_unit in weights.items():
                    by_position = getattr(slopes, position)
                    by_position -= per_unit * getattr(slopes, field)
            tape.reverse_open(t, plays=t > 0)
        found = {name: getattr(slopes, name)[..., 0].copy() for name in STATE}
        for name, total in _TOTALS.items():
            found[name] += getattr(slopes, total)
        return found | {"action": actions}

    def differences(self) -> list[Difference]:
        """Of every entry."""
        paid, env, _, _ = self._play((), 0.0)
        entries = self._entries(env)
        up, down = (self._play(entries, step)[0] for step in (STEP, -STEP))
        left, right = (paid - down) / STEP, (up - paid) / STEP
        numbers = zip(entries, left.tolist(), right.tolist(), strict=True)
        return [Difference(*one) for one in numbers]

    def _begin(self, batch: int) -> tuple[BatchedEnv, np.random.Generator]:
        """All replications are the first one."""
        env, numbers = BatchedEnv(self._scenario, batch), np.random.default_rng(self.seed)
        with patch.object(trace, "episode_keys", _same_key):
            env.reset(self.seed)
        for _ in range(3):
            env.step(self._action(env, numbers))
        self._fill(env, numbers)
        return env, numbers

    def _fill(self, env: BatchedEnv, numbers: np.random.Generator) -> None:
        """Customers wait, and goods are on their way on every other day."""
        state, net, now = env.state, env.net, env.simulator.period
        known = net.arrays.stocks.demand_of >= 0
        state.backorders[known] += numbers.uniform(0.0, 2.0, (int(known.sum()), 1))
        for ahead in range(1, min(net.slots - 1, PERIODS)):
            units = _some(numbers, 4.0, len(state.owed))
            state.in_transit[:, (now + ahead) % net.slots] += units
            state.in_transit_total[...] += units

    def _stir(self, env: BatchedEnv, numbers: np.random.Generator) -> None:
        """More of what moves in a period: nothing is shared where shelves are empty or nobody wants
        anything.

        With several rounds of sharing all lanes want something: what the first unit would get in
        the later ones has no slope.
        """
        env.state.on_hand[...] += _some(numbers, 6.0, env.num_rows)
        env.state.owed[...] += _some(numbers, 6.0, len(env.state.owed))
        if env.net.arrays.switches.ship_rounds > 1:
            env.state.owed[...] += 0.25

    def _decide(self, env: BatchedEnv, numbers: np.random.Generator) -> tuple[Floats, Floats]:
        """Target and spread of the period's orders, moved a little: away from where nothing at all
        is ordered, since neither stock nor demand is."""
        move = numbers.uniform(-0.5, 0.5, (env.num_rows, 1))
        return env.target + move, np.maximum(env.spread, 0.5)

    def _action(self, env: BatchedEnv, numbers: np.random.Generator) -> Floats32:
        steps = numbers.integers(-900, 901, (env.num_rows, env.action_size, 1))
        return np.float32(steps / 1024.0) + env.no_action

    def _play(
        self, entries: Sequence[Entry], step: float
    ) -> tuple[Floats, BatchedEnv, Tape, list[dict[str, Weights]]]:
        """[B] what is paid, weighted; entry b is moved in replication b.

        Without entries there is one replication, and it is on the tape.
        """
        env, numbers = self._begin(max(len(entries), 1))
        for b, (field, place) in enumerate(entries):
            if field != "action":
                getattr(env.state, field)[(*place, b)] += step
            if field in _TOTALS:
                getattr(env.state, _TOTALS[field])[place[0], b] += step
        env.refresh()
        tape = Tape(env.simulator, env.action_size, PERIODS if not entries else 0)
        if not entries:
            tape.begin()
        paid: Floats = np.zeros(env.batch_size)
        declared: list[dict[str, Weights]] = []
        for t in range(PERIODS):
            self._stir(env, numbers)
            action = self._action(env, numbers)
            target, spread = self._decide(env, numbers)
            for b, (field, place) in enumerate(entries):
                if field == "action" and place[0] == t:
                    action[(*place[1:], b)] += np.float32(step)
            if not entries:
                declared.append(_declared(env))
                tape.note_decision(target, spread, action)
            env.simulator.close_period(target, spread, action, _salvage_share(t))
            paid += WEIGHTS[t] * _paid(env)
            if not entries:
                tape.note_closed()
            env.open_period()
            if not entries:
                tape.note_opened()
        return paid, env, tape, declared

    def _entries(self, env: BatchedEnv) -> list[Entry]:
        pairs, lanes = range(env.num_rows), range(len(env.state.owed))
        now, delays = env.simulator.period - PERIODS, env.net.arrays.lanes.information_delay
        slots, order_slots = env.net.slots, env.net.order_slots
        entries = [Entry(name, (p,)) for name in ("on_hand", "backorders") for p in pairs]
        entries += [Entry("owed", (q,)) for q in lanes]
        for ahead in range(1, min(slots, PERIODS + 2)):
            entries += [Entry("in_transit", (q, (now + ahead) % slots)) for q in lanes]
        for q in lanes:
            for ahead in range(1, int(delays[q]) + 1):
                entries.append(Entry("orders_on_way", (q, (now + ahead) % order_slots)))
        entries += [
            Entry("action", (t, row, head))
            for t in range(PERIODS)
            for group in env.groups
            for row in range(group.start, group.stop)
            for head in range(group.action_size)
        ]
        return entries


def _some(numbers: np.random.Generator, most: float, rows: int) -> Floats:
    """[rows, 1] units, 0 in every other row."""
    units = numbers.uniform(0.0, most, (rows, 1))
    return units * (numbers.random((rows, 1)) < 0.5)


def _salvage_share(t: int) -> float:
    return _SALVAGE_SHARE if t == PERIODS - 1 else 0.0


def _declared(env: BatchedEnv) -> dict[str, Weights]:
    """How the base policy's decisions move, by the field of slopes."""
    declared: dict[str, Weights] = {"order": env.base_policy.order_weights(env.view) or {}}
    if "expedite" in env.base_policy.decides:
        declared["expedite"] = env.base_policy.expedite_weights(env.view) or {}
    return declared


def _paid(env: BatchedEnv) -> Floats:
    """[B] what the period cost, with the price of shortages; flat fees apart, and with loads
    charged by use, as slopes have it."""
    net, flows, factor = env.net.arrays, env.flows, env.simulator.trace.factor
    unserved: Floats = (flows.demand - flows.sold).sum(axis=0)
    paid: Floats = flows.total_cost.sum(axis=0) + _SHORTAGE_PRICE * unserved
    paid -= flows.cost[[CostColumn.FIXED_ORDER, CostColumn.LOAD]].sum(axis=(0, 1))
    for q in range(net.lanes.to.size):
        row = net.factor_rows.cost[q]
        for i in range(net.lanes.uses.pointer[q], net.lanes.uses.pointer[q + 1]):
            r, per_unit = net.lanes.uses.index[i], net.lanes.uses.value[i]
            if net.resources.load_size[r] > 0.0:
                flow = flows.ordered if net.resources.limits_orders[r] else flows.shipped
                load = net.resources.load_cost[r] / net.resources.load_size[r]
                paid += load * per_unit * flow[q] * (factor[row] if row >= 0 else 1.0)
    return paid
