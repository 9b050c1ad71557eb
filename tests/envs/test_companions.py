"""What rows see of their companions: the right rows' features, in a known order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from envs.environment.batched_env import BatchedEnv, feature_names
from envs.errors import ConfigError
from envs.network.demand import DemandConfig
from envs.observation.companions import COMPANION_FLAGS, CompanionsOf
from envs.observation.features import FLOW_FEATURES
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from tests.envs.networks import one_warehouse

SIZE = len(FLOW_FEATURES) + len(COMPANION_FLAGS)


def stores(count: int, skus: int = 1, **fields: object) -> Scenario:
    scenario = build_scenario(
        one_warehouse(
            name="companions",
            stores=count,
            skus=skus,
            lost_sale_cost=9.0,
            demand=DemandConfig("poisson", mean=5.0),
            horizon=12,
            warm_up=4,
        )
    )
    return replace(scenario, **fields)  # type: ignore[arg-type]


def seen(env: BatchedEnv, row: int, place: int) -> tuple[np.ndarray, list[float]]:
    """Features [16, B] and flags of a row's companion, counted from 1."""
    observation = env.observe()
    first = env.feature_names.index(f"companion_{place}_on_hand")
    columns = observation[row, first : first + SIZE]
    flags = columns[len(FLOW_FEATURES) :]
    assert (flags == flags[:, :1]).all()
    return columns[: len(FLOW_FEATURES)], flags[:, 0].tolist()


def played(scenario: Scenario) -> BatchedEnv:
    env = BatchedEnv(scenario, 3)
    env.reset(1)
    for _ in range(3):
        env.step(env.no_action)
    return env


def test_neighbours_along_lanes() -> None:
    """The warehouse sees its stores, a store its warehouse; other places are empty."""
    env = played(stores(2, companions=3))
    [warehouse, store] = env.groups
    own = env.observe()[:, : len(FLOW_FEATURES)]
    for row in range(store.start, store.stop):
        features, flags = seen(env, row, 1)
        assert np.array_equal(features, own[warehouse.start])
        assert flags == [1.0, 0.0, 0.0]
        for place in (2, 3):
            features, flags = seen(env, row, place)
            assert not features.any()
            assert flags == [0.0, 0.0, 0.0]
    for place, row in ((1, store.start), (2, store.start + 1)):
        features, flags = seen(env, warehouse.start, place)
        assert np.array_equal(features, own[row])
        assert flags == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("of", "wanted"),
    [
        (CompanionsOf.node, [[0, 0, 1], [0, 0, 1], [0, 0, 0]]),
        (CompanionsOf.lanes_and_node, [[1, 0, 0], [0, 0, 1], [0, 0, 1]]),
    ],
)
def test_other_skus_of_the_node(of: CompanionsOf, wanted: list[list[int]]) -> None:
    """A store's other SKUs; with lanes, its supplier comes first."""
    env = played(stores(2, skus=3, companions=3, companions_of=of))
    store = env.groups[1]
    assert [seen(env, store.start, place)[1] for place in (1, 2, 3)] == wanted
    place = 1 if of is CompanionsOf.node else 2
    features, _ = seen(env, store.start, place)
    node = env.net.arrays.stocks.node_of
    others = [row for row in np.flatnonzero(node == node[store.start]) if row != store.start]
    own = env.observe()[:, : len(FLOW_FEATURES)]
    assert any(np.array_equal(features, own[row]) for row in others)


def test_the_largest_are_seen() -> None:
    """Of more companions than places, those with the largest mean demand."""
    scenario = stores(4)
    sizes = (3.0, 9.0, 5.0, 7.0)
    stocks = list(scenario.network.stocks)
    places = [i for i, stock in enumerate(stocks) if stock.demand is not None]
    for place, size in zip(places, sizes, strict=True):
        demand = stocks[place].demand
        assert demand is not None
        stocks[place] = replace(stocks[place], demand=replace(demand, mean=size))
    network = replace(scenario.network, stocks=tuple(stocks))
    env = BatchedEnv(replace(scenario, network=network, companions=2), 1)
    warehouse = env.groups[0].start
    assert env.net.demand.mean[env.companions.row[warehouse]].tolist() == [9.0, 7.0]


def test_own_features_stay_where_they_are() -> None:
    """More to see is behind; what was there has the same values."""
    scenario = stores(3, memory=3)
    plain = played(scenario)
    more = played(replace(scenario, companions=2, identity=True))
    assert more.feature_names[: plain.observation_size] == plain.feature_names
    assert more.observation_size == plain.observation_size + 2 * SIZE + 1
    assert feature_names(more.scenario) == more.feature_names
    assert np.array_equal(more.observe()[:, : plain.observation_size], plain.observe())


def test_rows_know_their_number() -> None:
    """Within the node kind, always."""
    env = played(stores(3, identity=True))
    assert env.feature_names[-1] == "row_of_kind"
    assert env.observe()[:, -1].tolist() == [[0.0] * 3, [0.0] * 3, [1.0] * 3, [2.0] * 3]


@pytest.mark.parametrize("companions", [-1, 257])
def test_too_many_or_too_few(companions: int) -> None:
    with pytest.raises(ConfigError, match=f"companions {companions}; expected"):
        stores(2, companions=companions)
