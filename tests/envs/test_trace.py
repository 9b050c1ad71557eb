"""A trace is a function of (seed, episode, period) and of nothing else."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.compiled.network import CompiledNetwork, compile_network
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, LaneInput, Resource, ResourceUse
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.network.regime import MarkovChain, Regime, RegimeState
from envs.simulation.simulator import Simulator
from envs.trace.random_streams import episode_keys, standard_normal, uniform
from envs.trace.trace import Trace
from tests.envs.networks import random_network
from tests.envs.runs import play_orders, random_orders

MANY = 260  # periods: more than two blocks of a small batch
STATES = (RegimeState("up"), RegimeState("down", availability=0.25, lead_time=2.0, demand=1.5))


def chain() -> CompiledNetwork:
    """A depot and a shop, with everything that chance can move."""
    weekly = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 0.0])
    demand = Demand.from_config(
        DemandConfig("poisson", mean=4.0), 0, multiplier=weekly, correlation=0.3
    )
    return compile_network(
        SupplyNetwork(
            (Node("depot", "warehouse"), Node("shop", "store")),
            (Sku("tea"),),
            (
                Stock("depot", "tea", demand=demand, demand_regimes=("supplier",)),
                Stock("shop", "tea", demand=demand),
            ),
            (
                Lane("buy", "depot", "tea", LeadTime(0, 1.0, 1.0), regimes=("supplier",)),
                Lane("truck", "shop", "tea", LeadTime(1, 2.0, 1.0), (LaneInput("depot", "tea"),)),
            ),
            regimes=(Regime("supplier", STATES, MarkovChain(((0.9, 0.1), (0.4, 0.6)))),),
        )
    )


def draws(
    net: CompiledNetwork,
    batch: int,
    seed: int = 3,
    first_episode: int = 0,
    periods: int = MANY,
    starts: tuple[int, int] = (0, 7),
) -> tuple[NDArray[np.generic], ...]:
    """Return (demand, lead time, availability, calendar) with T in front."""
    trace = Trace(net, batch)
    trace.reset(seed, first_episode, starts)
    rows = []
    for _ in range(periods):
        now = (trace.demand, trace.lead_time, trace.factor, trace.calendar)
        rows.append([values.copy() for values in now])
        trace.advance()
    return tuple(np.stack(parts) for parts in zip(*rows, strict=True))


@pytest.mark.parametrize("batch", [1, 7, 600])
def test_row_equals_solo_run(batch: int) -> None:
    """Row b is episode first + b, whatever the batch and however long its blocks are."""
    net = chain()
    together = draws(net, batch, first_episode=40)
    for b in {0, batch // 2, batch - 1}:
        alone = draws(net, 1, first_episode=40 + b)
        for many, one in zip(together, alone, strict=True):
            assert np.array_equal(many[..., b : b + 1], one)


def test_seeds_and_episodes_differ() -> None:
    """Another seed or episode is another path."""
    net = chain()
    demand = draws(net, 2)[0]
    assert not np.array_equal(demand[..., 0], demand[..., 1])
    assert not np.array_equal(demand, draws(net, 2, seed=4)[0])


def test_reset_begins_anew() -> None:
    """A trace that has run gives the same again after a reset."""
    net = chain()
    trace = Trace(net, 2)
    trace.reset(3, 0)
    first = trace.demand.copy()
    for _ in range(MANY):
        trace.advance()
    trace.reset(3, 0)
    assert np.array_equal(trace.demand, first)


def test_calendar_follows_the_demand() -> None:
    """The calendar is the start plus the period, also behind the border of a block."""
    demand, _, _, calendar = draws(chain(), 3)
    expected = (calendar[0] + np.arange(MANY)[:, None]) % 7
    assert np.array_equal(calendar, expected)
    closed = np.broadcast_to((calendar == 6)[:, None], demand.shape)
    assert (demand[closed] == 0).all()
    assert demand[~closed].mean() > 4.0


def test_starts_are_spread() -> None:
    """Episodes begin anywhere in the allowed part of the calendar, and nowhere else."""
    calendar = draws(chain(), 400, periods=1, starts=(2, 3))[3]
    assert set(calendar[0].tolist()) == {2, 3, 4}


def test_actions_do_not_move_chance() -> None:
    """Two policies with the same seed see the same demand, lead times and regimes."""
    random = Random(11)
    differed = 0
    for _ in range(8):
        network = random_network(random)
        net = compile_network(network)
        runs = [play_orders(net, random_orders(random, network, 20, 3), 8) for _ in range(2)]
        differed += not np.array_equal(runs[0].flows.ordered, runs[1].flows.ordered)
        for name in ("demand", "lead_time", "states"):
            assert np.array_equal(getattr(runs[0], name), getattr(runs[1], name))
    assert differed >= 5  # an event may stop all orders


def test_lead_times_are_drawn_as_asked() -> None:
    """Lead times have the probabilities of their table; a regime stretches them."""
    net = chain()
    _, lead_time, availability, _ = draws(net, 600)
    truck = net.network.lanes[1].lead_time
    seen = np.bincount(lead_time[:, 1].ravel(), minlength=truck.maximum + 1) / lead_time[:, 1].size
    assert seen[: truck.minimum].sum() == 0
    assert seen[truck.minimum :] == pytest.approx(truck.probabilities(), abs=0.005)
    down = availability[:, 0] == 0.25
    assert down.mean() == pytest.approx(0.2, abs=0.01)
    assert set(np.unique(availability)) == {0.25, 1.0}
    buying = lead_time[:, 0]
    assert buying[down].mean() == pytest.approx(2 * buying[~down].mean(), rel=0.03)


def test_simulator_sees_the_trace() -> None:
    """The demand that customers bring is the trace's."""
    simulator = Simulator(chain(), 2)
    simulator.reset(3, 0, (0, 7))
    demand = draws(simulator.net, 2, periods=30)[0]
    for t in range(30):
        simulator.close_period_with_orders(np.full((2, 2), 5.0))
        assert np.array_equal(simulator.flows.demand, demand[t])
        simulator.open_period()


def test_uniform_numbers_are_uniform() -> None:
    """Neighbouring episodes and counters give independent uniform and normal numbers."""
    keys = np.zeros(300, np.uint64)
    episode_keys(1, 0, keys)
    assert len(set(keys.tolist())) == 300
    counters = np.arange(200, dtype=np.uint64)
    u = np.array([[uniform(key, counter) for counter in counters] for key in keys])
    assert u.min() >= 0.0
    assert u.max() < 1.0
    cells = np.histogram(u, bins=100, range=(0.0, 1.0))[0]
    assert ((cells - 600.0) ** 2 / 600.0).sum() < 165  # 99.99 % point of chi-square with 99
    assert abs(np.corrcoef(u[:, 1:].ravel(), u[:, :-1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(u[1:].ravel(), u[:-1].ravel())[0, 1]) < 0.02
    z = np.array([[standard_normal(key, counter) for counter in counters] for key in keys])
    assert abs(z.mean()) < 0.02
    assert z.std() == pytest.approx(1.0, abs=0.02)


def test_what_travels_together_arrives_together() -> None:
    """SKUs on the same truck take equally long in every period; other trucks, other roads and
    suppliers without trucks do not."""
    lead_time = LeadTime(2, 2.0, 1.5)

    def lane(name: str, node: str, sku: str, supplier: str, mode: str = "") -> Lane:
        uses = (ResourceUse("contract"), ResourceUse(supplier, 0.5))
        return Lane(name, node, sku, lead_time, resources=uses, mode=mode)

    skus = ("tea", "milk")
    network = SupplyNetwork(
        (Node("depot"), Node("shop")),
        tuple(Sku(sku) for sku in skus),
        tuple(Stock(node, sku) for node in ("depot", "shop") for sku in skus),
        (
            *(lane(f"{sku} by truck", "depot", sku, "trucks") for sku in skus),
            *(lane(f"{sku} to the shop", "shop", sku, "trucks") for sku in skus),
            *(lane(f"{sku} by rail", "depot", sku, "trucks", "rail") for sku in skus),
            *(lane(f"{sku} alone", "depot", sku, "posted") for sku in skus),
        ),
        (Resource("contract"), Resource("trucks", load_size=9.0), Resource("posted")),
    )
    _, lead, *_ = draws(compile_network(network), 4, periods=60)
    together = [bool((lead[:, i] == lead[:, i + 1]).all()) for i in range(7)]
    assert together == [True, False, True, False, True, False, False]
