"""What agents see: finite, without units, and what the names say."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.environment.batched_env import BatchedEnv
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, LaneInput
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Receive, Sku, Stock, SupplyNetwork, Timing
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from tests.envs.networks import one_warehouse, random_network

BELIEFS = ("lead_time", "lead_time_sd", "on_time", "in_full", "overdue")
STATIC = ("critical_ratio", "lead_time", "lead_time_sd", "demand_cv")


def squash(x: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Near x for small x, like a root for large."""
    return 2.0 * (np.sqrt(1.0 + np.asarray(x)) - 1.0)


def depot_and_shop(receive: Receive = Receive.before_order, **demand_fields: object) -> Scenario:
    """A depot that is short of stock feeds a shop; two days' orders are under way."""
    demand = Demand.from_config(DemandConfig("poisson", mean=4.0), 0, **demand_fields)
    network = SupplyNetwork(
        (Node("depot", "warehouse"), Node("shop", "store")),
        (Sku("tea"),),
        (
            Stock("depot", "tea", holding_cost=1.0, initial_stock=3.0),
            Stock(
                "shop", "tea", holding_cost=1.0, backlog_cost=9.0, initial_stock=6.0, demand=demand
            ),
        ),
        (
            Lane("buy", "depot", "tea", LeadTime(9, 1.0, 0.5), information_delay=1),
            Lane(
                "truck",
                "shop",
                "tea",
                LeadTime(2),
                (LaneInput("depot", "tea"),),
                initial_in_transit=(5.0, 4.0),
            ),
        ),
        timing=Timing(receive=receive),
    )
    return Scenario("depot and shop", network, horizon=200)


def run(env: BatchedEnv, periods: int) -> None:
    """Play random actions."""
    rng = np.random.default_rng(0)
    env.reset(2)
    shape = (env.num_rows, env.action_size, env.batch_size)
    for _ in range(periods):
        env.step(rng.uniform(-1.0, 1.0, shape).astype(np.float32))


def feature(env: BatchedEnv, name: str) -> NDArray[np.float64]:
    """[P, B] a feature by name."""
    return env.observe()[:, env.feature_names.index(name)].astype(float)


@pytest.mark.parametrize("seed", range(25))
def test_finite_and_named(seed: int) -> None:
    """Whatever the network and the actions, features are finite and each has its name."""
    scenario = Scenario("random", random_network(Random(seed)), horizon=30, smoothing=0.2)
    env = BatchedEnv(scenario, 2)
    observation = env.reset(seed)
    assert observation.dtype == np.float32
    assert observation.shape == (env.num_rows, len(env.feature_names), 2)
    assert env.observation_size == len(env.feature_names) == len(set(env.feature_names))
    assert env.feature_names[-len(STATIC) :] == STATIC
    rng = np.random.default_rng(seed)
    for _ in range(30):
        shape = (env.num_rows, env.action_size, 2)
        observation, reward, _ = env.step(rng.uniform(-1.0, 1.0, shape).astype(np.float32))
        assert np.isfinite(observation).all()
        assert np.isfinite(reward).all()


def test_absent_things_have_no_features(shop: Scenario) -> None:
    """A shop alone sees no neighbours; without a calendar nobody sees a date."""
    alone = BatchedEnv(shop, 1).feature_names
    chain = BatchedEnv(depot_and_shop(), 1).feature_names
    dated = BatchedEnv(depot_and_shop(multiplier=np.ones(7)), 1).feature_names
    assert set(chain) - set(alone) == {
        "owed_by_me",
        "downstream_shortage_sum",
        "downstream_shortage_max",
        "upstream_cover",
        *(f"lane_0_{name}" for name in BELIEFS),  # the supplier's lead time varies
    }
    calendar = {"promotion_ahead", "week_sin", "week_cos", "year_sin", "year_cos"}
    assert set(dated) - set(chain) == calendar


def test_units_do_not_show(warehouse: Scenario) -> None:
    """A thousand pieces for every piece: the same observation."""
    rng = np.random.default_rng(3)
    history = rng.poisson(5.0, 40).astype(float)
    seen = []
    for k in (1.0, 1000.0):
        stocks = [
            replace(
                s,
                initial_stock=k * s.initial_stock,
                demand=None if s.demand is None else Demand(k * 5.0, k * 2.0, history=k * history),
            )
            for s in warehouse.network.stocks
        ]
        lanes = [
            replace(
                q,
                order_multiple=0.0,
                initial_in_transit=tuple(k * x for x in q.initial_in_transit),
            )
            for q in warehouse.network.lanes
        ]
        network = replace(warehouse.network, stocks=tuple(stocks), lanes=tuple(lanes))
        env = BatchedEnv(Scenario("k", network, 30, smoothing=0.3), 1)
        run(env, 20)
        seen.append(env.observe().copy())
    assert seen[1] == pytest.approx(seen[0], abs=1e-4)
    assert np.abs(seen[0]).max() < 50.0


def test_quantities_in_mean_demand() -> None:
    """Stock, backlog and demand are shown in periods of mean demand, squashed."""
    env = BatchedEnv(depot_and_shop(), 3)
    run(env, 15)
    state = env.state
    for name, units in {
        "on_hand": state.on_hand,
        "backorders": state.backorders,
        "demand_last": state.incoming,
        "demand_mean_7": state.mean_7,
        "demand_mean_28": state.mean_28,
        "owed_by_me": state.owed_to_lanes,
        "base_order": np.maximum(env.target, 0.0),
    }.items():
        assert feature(env, name) == pytest.approx(squash(units / 4.0), abs=1e-5), name
    assert feature(env, "zero_share_28") == pytest.approx(state.zero_share_28, abs=1e-6)
    spread = np.sqrt(np.maximum(state.square_28 - state.mean_28**2, 0.0))
    assert feature(env, "demand_sd_28") == pytest.approx(squash(spread / 4.0), abs=1e-4)
    assert state.on_hand.any()
    assert state.backorders.any()


@pytest.mark.parametrize("receive", list(Receive))
def test_everything_in_transit_is_shown(receive: Receive) -> None:
    """The arrival buckets add up to what is in transit, each in its own time."""
    env = BatchedEnv(depot_and_shop(receive), 2)
    env.reset(2)
    for t in range(30):
        state, slots = env.state, env.state.in_transit.shape[1]
        # Lane p delivers to pair p. Received after shipping: today's arrivals are still to come.
        ahead = [state.in_transit[:, (t + i) % slots] for i in range(slots)]
        if receive is Receive.before_order:
            ahead = [*ahead[1:], np.zeros_like(ahead[0])]
        buckets = {
            "arriving_in_1": ahead[0],
            "arriving_in_2_to_3": sum(ahead[1:3]),
            "arriving_in_4_to_7": sum(ahead[3:7]),
            "arriving_later": sum(ahead[7:]),
        }
        for name, units in buckets.items():
            assert feature(env, name) == pytest.approx(squash(units / 4.0), abs=1e-5), (t, name)
        assert sum(buckets.values()) == pytest.approx(state.in_transit_total)
        owed = state.owed + state.orders_on_way_total
        assert feature(env, "owed_to_me") == pytest.approx(squash(owed / 4.0), abs=1e-5)
        env.close_period(env.no_action)
        env.open_period()


def test_neighbours() -> None:
    """The depot sees what the shop lacks, the shop what the depot has."""
    env = BatchedEnv(depot_and_shop(), 2)
    run(env, 12)
    state = env.state
    lacking = np.maximum(state.forecast_mean[1] - state.inventory_position[1], 0.0)
    for name in ("downstream_shortage_sum", "downstream_shortage_max"):
        assert feature(env, name)[0] == pytest.approx(squash(lacking / 4.0), abs=1e-5)
        assert (feature(env, name)[1] == 0.0).all()
    cover = feature(env, "upstream_cover")
    assert cover[1] == pytest.approx(squash(state.on_hand[0] / 4.0), abs=1e-5)
    assert (cover[0] == 0.0).all()


def test_neighbours_do_not_show_their_number() -> None:
    """Twice as many equal shops behind a depot twice as large: the same features."""
    seen = []
    for stores in (4, 8):
        config = one_warehouse(
            name="shops", stores=stores, lost_sale_cost=9.0,
            demand=DemandConfig("poisson", mean=5.0),
        )  # fmt: skip
        env = BatchedEnv(build_scenario(config), 1)
        env.reset(0)
        env.state.on_hand[:] = 10.0
        env.state.on_hand[0] = 12.0 * stores
        env.state.inventory_position[:] = 2.0
        seen.append({name: feature(env, name) for name in env.feature_names[16:20]})
    for name in ("downstream_shortage_sum", "downstream_shortage_max", "upstream_cover"):
        assert seen[0][name][:2] == pytest.approx(seen[1][name][:2], rel=1e-6), name
    assert seen[0]["upstream_cover"][1] > 0.0
    assert seen[0]["downstream_shortage_max"][0] > 0.0


def test_forecast_per_period() -> None:
    """The forecast is shown per period of its horizon, the gap to the target signed."""
    env = BatchedEnv(depot_and_shop(), 2)
    run(env, 12)
    horizon = np.array([[round(10.0 + 1 + 2) + 1], [3]])
    mean = env.state.echelon_forecast_mean / horizon / 4.0
    assert feature(env, "forecast_per_period") == pytest.approx(squash(mean), abs=1e-5)
    gap = env.target / horizon / 4.0
    signed = np.sign(gap) * squash(np.abs(gap))
    assert feature(env, "stock_gap") == pytest.approx(signed, abs=1e-5)


def test_calendar_features() -> None:
    """Agents see the week day and the promotions that their order must serve, on every day."""
    multiplier = np.array([1.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0])
    env = BatchedEnv(depot_and_shop(multiplier=multiplier), 5)
    env.reset(0)
    start = env.simulator.trace.offset.copy()
    for t in range(140):  # crosses a block of the trace
        day = (start + t) % 7
        assert feature(env, "week_sin")[1] == pytest.approx(np.sin(2 * np.pi * day / 7), abs=1e-5)
        assert feature(env, "week_cos")[0] == pytest.approx(np.cos(2 * np.pi * day / 7), abs=1e-5)
        ahead = np.array([np.mean([multiplier[(d + i) % 7] for i in range(3)]) for d in day])
        assert feature(env, "promotion_ahead")[1] == pytest.approx(ahead - 1.0, abs=1e-5)
        env.close_period(env.no_action)
        env.open_period()


def test_static_features() -> None:
    """Costs, lead time and spread of demand, the same in every period."""
    env = BatchedEnv(depot_and_shop(), 2)
    run(env, 3)
    buying = LeadTime(9, 1.0, 0.5)
    lead = np.array([buying.mean() + 1.0, 2.0])
    wanted = {
        "critical_ratio": np.full(2, 2.0 * 0.9 - 1.0),
        "lead_time": np.sqrt(lead) - 1.0,
        "lead_time_sd": np.array([buying.sd(), 0.0]) / lead,
        "demand_cv": np.full(2, 0.5 - 1.0),
    }
    for name, values in wanted.items():
        assert feature(env, name) == pytest.approx(np.stack([values] * 2, 1), abs=1e-5), name


def test_memory_shows_demand_one_by_one() -> None:
    """The last four periods, newest first; before any demand, its mean. Without: as ever."""
    scenario = depot_and_shop()
    with_memory = BatchedEnv(replace(scenario, memory=4), 2)
    without = BatchedEnv(scenario, 2)
    names = [name for name in with_memory.feature_names if name.endswith("_ago")]
    assert names == ["demand_2_ago", "demand_3_ago", "demand_4_ago"]
    assert tuple(n for n in with_memory.feature_names if n not in names) == without.feature_names
    with_memory.reset(3)
    without.reset(3)
    asked = [with_memory.net.demand.mean[:, None] * np.ones(2)] * 4
    kept = [with_memory.feature_names.index(name) for name in without.feature_names]
    for _ in range(7):
        seen, _, _ = with_memory.step(with_memory.no_action)
        plain, _, _ = without.step(without.no_action)
        assert np.array_equal(seen[:, kept], plain)
        asked.insert(0, with_memory.state.incoming.copy())
        for ago, name in enumerate(names, start=2):
            scaled = asked[ago - 1] * with_memory.inverse_scale[:, None]
            wanted = squash(scaled)
            got = seen[:, with_memory.feature_names.index(name)]
            assert got == pytest.approx(wanted, rel=1e-5), name
