"""Recorded runs of a simulator: every period's states, flows and chance, for checks to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from envs.batched_env import BatchedEnv
from envs.compiled import CompiledNetwork, compile_network
from envs.network import SupplyNetwork
from envs.scenario import Scenario
from envs.simulator import Simulator
from envs.state import Flows, State
from tests.envs.networks import random_network

__all__ = [
    "Floats",
    "Run",
    "at_most",
    "play_actions",
    "play_orders",
    "random_orders",
    "random_run",
    "same",
]

Floats = NDArray[np.float64]
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
    availability: Floats  # [T, Q, B] share of owed units that can ship

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

    def per_lane(self, name: str) -> Floats:
        """[Q, 1] a number of every lane."""
        return np.array([[getattr(lane, name)] for lane in self.network.lanes], float)

    def per_pair(self, name: str) -> Floats:
        """[P, 1] a number of every pair."""
        return np.array([[getattr(stock, name)] for stock in self.network.stocks], float)


def record(
    simulator: Simulator, periods: int, close: Callable[[int], None], move_on: Callable[[], None]
) -> Run:
    """Play from a reset on, and copy everything twice a period."""
    opened: list[State] = []
    closed: list[State] = []
    flows: list[Flows] = []
    chance: list[tuple[Floats, Floats, Floats]] = []
    arrays, trace = simulator.net.arrays, simulator.trace
    lead, row = simulator.net.arrays.lead_time[:, None], arrays.lead_row
    for t in range(periods):
        opened.append(State(*(a.copy() for a in simulator.state)))
        leads = np.repeat(lead, simulator.batch_size, axis=1).astype(float)
        leads[row >= 0] = trace.lead_time[row[row >= 0]]
        share = np.ones_like(leads)
        exposed = arrays.availability_row >= 0
        share[exposed] = trace.availability[arrays.availability_row[exposed]]
        chance.append((trace.demand.copy(), leads, share))
        close(t)
        closed.append(State(*(a.copy() for a in simulator.state)))
        flows.append(Flows(*(a.copy() for a in simulator.flows)))
        move_on()
    stacked_flows = Flows(*(np.stack(arrays) for arrays in zip(*flows, strict=True)))
    return Run(
        simulator.net,
        stacked_flows.raw_order,
        State(*(np.stack(arrays) for arrays in zip(*opened, strict=True))),
        State(*(np.stack(arrays) for arrays in zip(*closed, strict=True))),
        stacked_flows,
        *(np.stack(arrays) for arrays in zip(*chance, strict=True)),
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

    run = record(env.simulator, len(actions), lambda t: env.close_period(actions[t]), move_on)
    return run, np.stack(observed)


def random_orders(random: Random, network: SupplyNetwork, periods: int, batch: int) -> Floats:
    """Return raw orders [T, Q, B] units: a third are zero or negative, some are large."""
    rng = np.random.default_rng(random.getrandbits(32))
    shape = (periods, len(network.lanes), batch)
    return np.where(rng.random(shape) < 0.1, 30.0, rng.uniform(-5.0, 10.0, shape))


def random_run(random: Random, periods: int = 24, batch: int = 2) -> Run:
    """Play random orders on a random network."""
    network = random_network(random)
    orders = random_orders(random, network, periods, batch)
    return play_orders(compile_network(network), orders, random.getrandbits(20))


def same(what: str, got: Values, wanted: Values | float, scale: float = 1e-8) -> None:
    """Assert got = wanted up to rounding; the message names the first place."""
    room = scale * (1.0 + np.abs(wanted))
    _assert_all(what, np.abs(got - wanted) <= room, got, wanted)


def at_most(what: str, got: Values, limit: Values | float) -> None:
    """Assert got <= limit up to rounding."""
    limit = np.broadcast_to(limit, got.shape)
    _assert_all(what, got <= limit + 1e-8 * (1.0 + np.abs(limit)), got, limit)


def _assert_all(what: str, good: NDArray[np.bool_], got: Values, wanted: Values | float) -> None:
    if not good.all():
        place = tuple(int(i) for i in np.argwhere(~good)[0])
        wanted = np.broadcast_to(wanted, got.shape)
        raise AssertionError(
            f"{what} at [T, ...] {place}: got {got[place]}, wanted {wanted[place]}"
        )
