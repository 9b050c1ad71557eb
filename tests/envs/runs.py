"""Recorded runs of a simulator: every period's states, flows and chance, for checks to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from random import Random

import numpy as np
from numpy.typing import NDArray

from envs.compiled.network import CompiledNetwork, compile_network
from envs.environment.batched_env import BatchedEnv, row_groups
from envs.network.calendar import Calendar
from envs.network.lane import Limits
from envs.network.network import SupplyNetwork
from envs.network.whole_units import shipping_step, whole_skus
from envs.scenario import Scenario
from envs.simulation.actions import Group
from envs.simulation.simulator import Simulator
from envs.simulation.state import Flows, State
from envs.types import Bools, Floats, Ints
from tests.envs.networks import random_network

__all__ = [
    "Floats",
    "Run",
    "at_most",
    "play_actions",
    "play_orders",
    "random_actions",
    "random_orders",
    "random_run",
    "same",
]

Values = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Run:
    """A recorded run; every array has the period T in front of its usual letters."""

    net: CompiledNetwork
    raw: Floats  # [T, Q, B] units asked for
    opened: State  # before orders
    closed: State  # at the end of the period
    flows: Flows
    demand: Floats  # [T, D, B] units drawn
    lead_time: Floats  # [T, Q, B] periods of what ships now
    states: Ints  # [T, G, B] of the regimes
    offset: Ints  # [B] calendar period in which the episode began
    heads: tuple[Group, ...]
    actions: NDArray[np.float32] | None  # [T, P, A, B]; None: raw orders were played

    @property
    def network(self) -> SupplyNetwork:
        """The definition, with its stocks sorted as the rows are."""
        return self.net.network

    @property
    def delivers(self) -> Floats:
        """[P, Q] 1 where the lane delivers to the pair."""
        pairs = [(s.node, s.sku) for s in self.network.stocks]
        return np.array([[float((q.node, q.sku) == p) for q in self.network.lanes] for p in pairs])

    @property
    def sends(self) -> Floats:
        """[P, Q] 1 where the lane's first input is of the pair; without inputs, where it goes."""
        pairs = [(s.node, s.sku) for s in self.network.stocks]
        first = [q.inputs[0] if q.inputs else q for q in self.network.lanes]
        return np.array([[float((place.node, place.sku) == p) for place in first] for p in pairs])

    @property
    def consumes(self) -> Floats:
        """[P, Q] units of the pair that a unit on the lane takes."""
        pairs = [(s.node, s.sku) for s in self.network.stocks]
        return np.array(
            [
                [
                    sum(i.quantity for i in q.inputs if (i.node, i.sku) == p)
                    for q in self.network.lanes
                ]
                for p in pairs
            ],
            float,
        )

    @property
    def owed_at_ship(self) -> Floats:
        """[T, Q, B] units that the sender knows of when goods leave."""
        at_once = self.per_lane("information_delay") == 0
        return self.opened.owed + np.where(at_once, self.flows.ordered, 0.0)

    @cached_property
    def whole(self) -> frozenset[str]:
        """SKUs that come in whole units."""
        return whole_skus(self.network)

    @cached_property
    def steps(self) -> Floats:
        """[Q, 1] what shipments of whole units are multiples of; 0: any quantity."""
        return np.array([[shipping_step(q, self.whole)] for q in self.network.lanes])

    @cached_property
    def wanted_at_ship(self) -> Floats:
        """[T, Q, B] what lanes may ship: what is owed and available, of whole units whole steps."""
        want, steps = self.owed_at_ship * self.multiplier("availability"), self.steps
        return np.where(steps > 0, np.floor(want / np.maximum(steps, 1e-9) + 1e-9) * steps, want)

    def multiplier(self, name: str) -> Floats:
        """[T, Q, B] what the regimes of every lane make of one of their multipliers, 0 where a
        calendar is closed."""
        nodes = {n.id: n for n in self.network.nodes}
        closing = {
            "ordering": lambda q: [q.calendar, nodes[q.node].review],
            "availability": lambda q: [q.shipping, *(nodes[i.node].shipping for i in q.inputs)],
            "transit": lambda q: [q.transit],
            "receiving": lambda q: [q.receiving, nodes[q.node].receiving],
        }.get(name, lambda q: [])
        product = self._product(name, [q.regimes for q in self.network.lanes])
        return product * self._open([closing(q) for q in self.network.lanes])

    def _open(self, calendars: list[list[Calendar | None]]) -> Floats:
        """[T, rows, B] 1 where all of a row's calendars are open."""
        periods, _, batch = self.states.shape
        is_open = np.ones((periods, len(calendars), batch))
        for t, row, b in np.ndindex(is_open.shape):
            now = t + int(self.offset[b])
            for one in calendars[row]:
                if one is not None and now not in one.open_on:
                    is_open[t, row, b] *= now % one.cycle in one.open and now not in one.closed_on
        return is_open

    @property
    def capacity(self) -> Floats:
        """[T, R, B] of the declared resources; one without a limit is only up or down."""
        resources = self.network.resources
        up = self._product("availability", [r.regimes for r in resources])
        up = up * self._open([[r.calendar] for r in resources])
        most = np.array([r.capacity for r in resources]).reshape(1, -1, 1)
        return np.where(up > 0.0, np.broadcast_to(most, up.shape) * np.maximum(up, 1e-300), 0.0)

    @property
    def uses(self) -> Floats:
        """[R, Q] how much of a declared resource a unit on the lane takes."""
        resources, lanes = self.network.resources, self.network.lanes
        return np.array(
            [
                [sum(u.per_unit for u in q.resources if u.resource == r.id) for q in lanes]
                for r in resources
            ],
            float,
        ).reshape(len(resources), len(lanes))

    @property
    def limits_shipments(self) -> Bools:
        """[R] by a capacity, or because a regime or a calendar can stop it."""
        moving = {
            g.id for g in self.network.regimes if any(s.availability != 1.0 for s in g.states)
        }
        return np.array(
            [
                r.limits is Limits.shipments
                and (np.isfinite(r.capacity) or bool(moving & set(r.regimes)) or bool(r.calendar))
                for r in self.network.resources
            ],
            bool,
        )

    def sharing_weight(self, pair: int) -> Floats:
        """[T, Q, B] what the action makes of the weights of the pair's outbound lanes."""
        weight = np.ones(self.flows.shipped.shape)
        lanes = np.flatnonzero(self.consumes[pair])
        if self.actions is None or not self.network.stocks[pair].learned_allocation:
            return weight
        names = next(k.heads for k in self.heads if k.start <= pair < k.stop)
        for i, q in enumerate(lanes if len(lanes) > 1 else []):
            action = self.actions[:, pair, names.index(f"weight_{i}")].astype(float)
            weight[:, q] = np.exp(3.0 * action)
        return weight

    def _product(self, name: str, exposed: list[tuple[str, ...]]) -> Floats:
        periods, _, batch = self.states.shape
        product = np.ones((periods, len(exposed), batch))
        for g, regime in enumerate(self.network.regimes):
            values = np.array([getattr(state, name) for state in regime.states])
            for row, ids in enumerate(exposed):
                if regime.id in ids:
                    product[:, row] *= values[self.states[:, g]]
        return product

    def per_lane(self, name: str) -> Floats:
        """[Q, 1] a number of every lane."""
        return np.array([[getattr(lane, name)] for lane in self.network.lanes], float)

    def per_pair(self, name: str) -> Floats:
        """[P, 1] a number of every pair."""
        return np.array([[getattr(stock, name)] for stock in self.network.stocks], float)


def record(
    simulator: Simulator,
    periods: int,
    close: Callable[[int], None],
    move_on: Callable[[], None],
    actions: NDArray[np.float32] | None = None,
) -> Run:
    """Play from a reset on, and copy everything twice a period."""
    opened: list[State] = []
    closed: list[State] = []
    flows: list[Flows] = []
    chance: list[tuple[Floats, Floats, Ints]] = []
    arrays, trace = simulator.net.arrays, simulator.trace
    lead, row = arrays.lanes.lead_time[:, None], arrays.lanes.lead_row
    for t in range(periods):
        opened.append(State(*(a.copy() for a in simulator.state)))
        leads = np.repeat(lead, simulator.batch_size, axis=1).astype(float)
        leads[row >= 0] = trace.lead_time[row[row >= 0]]
        chance.append((trace.demand.copy(), leads, trace.true_regime.copy()))
        close(t)
        closed.append(State(*(a.copy() for a in simulator.state)))
        flows.append(Flows(*(a.copy() for a in simulator.flows)))
        move_on()
    stacked_flows = Flows(*(np.stack(arrays) for arrays in zip(*flows, strict=True)))
    demand, lead_time, states = (np.stack(values) for values in zip(*chance, strict=True))
    return Run(
        simulator.net,
        stacked_flows.raw_order,
        State(*(np.stack(arrays) for arrays in zip(*opened, strict=True))),
        State(*(np.stack(arrays) for arrays in zip(*closed, strict=True))),
        stacked_flows,
        demand,
        lead_time,
        states,
        trace.offset.copy(),
        simulator.groups,
        actions,
    )


def play_orders(net: CompiledNetwork, orders: Floats, seed: int, first_episode: int = 0) -> Run:
    """Play raw orders [T, Q, B] straight on the lanes."""
    simulator = Simulator(net, orders.shape[2])
    simulator.reset(seed, first_episode)
    return record(
        simulator,
        len(orders),
        lambda t: simulator.close_period_with_orders(orders[t]),
        simulator.open_period,
    )


def play_actions(
    scenario: Scenario, actions: NDArray[np.float32], seed: int, first_episode: int = 0
) -> tuple[Run, NDArray[np.float32]]:
    """Play actions [T, P, A, B] on the scenario's base policy; also returns what was observed."""
    env = BatchedEnv(scenario, actions.shape[3])
    observed = [env.reset(seed, first_episode).copy()]

    def move_on() -> None:
        env.open_period()
        observed.append(env.observe().copy())

    simulator = env.simulator
    run = record(simulator, len(actions), lambda t: env.close_period(actions[t]), move_on, actions)
    return run, np.stack(observed)


def random_orders(random: Random, network: SupplyNetwork, periods: int, batch: int) -> Floats:
    """Return raw orders [T, Q, B] units: a third are zero or negative, some are large."""
    rng = np.random.default_rng(random.getrandbits(32))
    shape = (periods, len(network.lanes), batch)
    return np.where(rng.random(shape) < 0.1, 30.0, rng.uniform(-5.0, 10.0, shape))


def random_actions(
    random: Random, scenario: Scenario, periods: int, batch: int
) -> NDArray[np.float32]:
    """Return actions [T, P, A, B] in [-1, 1]."""
    rng = np.random.default_rng(random.getrandbits(32))
    heads = max(group.action_size for group in row_groups(scenario))
    shape = (periods, len(scenario.network.stocks), heads, batch)
    return rng.uniform(-1.0, 1.0, shape).astype(np.float32)


def random_run(random: Random, periods: int = 24, batch: int = 2) -> Run:
    """Play random orders, or a base policy with random actions, on a random network."""
    network = random_network(random)
    seed = random.getrandbits(20)
    if random.random() < 0.5:
        orders = random_orders(random, network, periods, batch)
        return play_orders(compile_network(network), orders, seed)
    scenario = Scenario("random", network, horizon=periods + 1, smoothing=0.25)
    return play_actions(scenario, random_actions(random, scenario, periods, batch), seed)[0]


def same(what: str, got: Values, wanted: Values | float, scale: float = 1e-8) -> None:
    """Assert got = wanted up to rounding; the message names the first place."""
    room = scale * (1.0 + np.abs(wanted))
    _assert_all(what, np.abs(got - wanted) <= room, got, wanted)


def at_most(what: str, got: Values, limit: Values | float) -> None:
    """Assert got <= limit up to rounding."""
    limit = np.broadcast_to(limit, got.shape)
    _assert_all(what, got <= limit + 1e-8 * (1.0 + np.abs(limit)), got, limit)


def _assert_all(what: str, good: Bools, got: Values, wanted: Values | float) -> None:
    if not good.all():
        place = tuple(int(i) for i in np.argwhere(~good)[0])
        wanted = np.broadcast_to(wanted, got.shape)
        raise AssertionError(
            f"{what} at [T, ...] {place}: got {got[place]}, wanted {wanted[place]}"
        )
