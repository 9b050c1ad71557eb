"""Random networks: the asked for size, connected, the same for the same seed, and playable."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse import csgraph

from conf.compose import compose
from envs.compiled.network import compile_network
from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.kpis.pairs import EpisodeKpis, KpiTally
from envs.network.generate import generate_network
from envs.network.generate_config import GenerateConfig
from envs.network.lane import Speed
from envs.network.network import SupplyNetwork
from envs.scenario import Scenario
from envs.scenarios.generated import GeneratedConfig
from tests.envs.networks import map_config
from training.commands.train import TrainCommand

MIDDLE = map_config(
    seed=4, suppliers=3, plants=2, warehouses=5, stores=25, skus=6, plants_per_sku=1.5,
    sources_per_warehouse=1.5, modes=["rail", "truck", "air"], delay=1.0, disruptions=True,
)  # fmt: skip

SIZES: dict[str, GenerateConfig] = {
    "one store": map_config(suppliers=1, plants=0, warehouses=0, stores=1, skus=1),
    "no plants": map_config(plants=0, warehouses=3),
    "no warehouses": map_config(plants=2, warehouses=0, stores=4),
    "more plants than SKUs": map_config(plants=5, skus=2),
    "more warehouses than stores": map_config(warehouses=9, stores=2),
    "more suppliers than plants": map_config(suppliers=9, plants=1),
    "middle": MIDDLE,
    "shared sources": replace(MIDDLE, alternate_share=0.5, sources_per_store=3.0),
    "sparse": replace(MIDDLE, pairs=80),
}


@pytest.mark.parametrize("config", SIZES.values(), ids=SIZES)
def test_every_size_is_connected_and_complete(config: GenerateConfig) -> None:
    """As many nodes as asked for, each connected; every pair has a source and a share."""
    network = generate_network(config)
    kinds = Counter(n.kind for n in network.nodes)
    for kind in ("supplier", "plant", "warehouse", "store"):
        assert kinds[kind] == getattr(config, f"{kind}s")
    assert len(network.skus) == config.skus
    assert components(network) == 1
    net = compile_network(network)
    assert len(net.agent_nodes) == len(network.nodes) - config.suppliers  # all the others stock
    assert (net.demand.mean[net.customer_pair] > 0).all()
    assert all(n.position is not None for n in network.nodes)


def components(network: SupplyNetwork) -> int:
    """Parts of the network that no lane connects; a supplier is the resource of its lanes."""
    index = {n.id: i for i, n in enumerate(network.nodes)}
    edges = [
        (index[lane.inputs[0].node if lane.inputs else lane.resources[0].resource],
         index[lane.node])
        for lane in network.lanes
    ]  # fmt: skip
    rows, columns = np.array(edges).T
    graph = sparse.coo_matrix((np.ones(len(edges)), (rows, columns)), shape=(len(index),) * 2)
    return int(csgraph.connected_components(graph, directed=False)[0])


def test_a_seed_names_a_network() -> None:
    """Equal configurations give equal networks, another seed another one."""
    first, again = generate_network(MIDDLE), generate_network(MIDDLE)
    assert without_demand(first) == without_demand(again)
    assert demand_means(first) == demand_means(again)
    assert demand_means(first) != demand_means(generate_network(replace(MIDDLE, seed=5)))


def without_demand(network: SupplyNetwork) -> SupplyNetwork:
    stocks = tuple(replace(s, demand=None) for s in network.stocks)
    return replace(network, stocks=stocks)


def demand_means(network: SupplyNetwork) -> list[float]:
    return [s.demand.mean for s in network.stocks if s.demand is not None]


def test_stocked_pairs_can_be_asked_for() -> None:
    """About so many in all; every store has something and every SKU is sold somewhere."""
    network = generate_network(replace(MIDDLE, pairs=90))
    assert len(network.stocks) == pytest.approx(90, abs=2)
    sold = {(s.node, s.sku) for s in network.stocks if s.demand is not None}
    assert len({node for node, _ in sold}) == MIDDLE.stores
    assert len({sku for _, sku in sold}) == MIDDLE.skus


def test_sources_modes_and_circles_are_as_asked() -> None:
    """Averages hold; alternates, other modes and transshipment have base share 0."""
    network = generate_network(replace(MIDDLE, stores=200, sources_per_store=2.5))
    to_stores = [q for q in network.lanes if q.node.startswith("store")]
    assert len(to_stores) / (200 * MIDDLE.skus) == pytest.approx(2.5, abs=0.15)
    assert {q.mode for q in to_stores} == {"truck"}
    assert sum(q.base_share > 0 for q in to_stores) == 200 * MIDDLE.skus
    to_plants = [q for q in network.lanes if q.node.startswith("plant")]
    assert {q.mode for q in to_plants if q.base_share > 0} == {"rail", "air"}
    assert {q.mode for q in to_plants if q.speed is Speed.expedite} == {"air"}
    both_ways = {
        (q.inputs[0].node, q.node)
        for q in network.lanes
        if q.inputs and q.inputs[0].node.startswith("warehouse") and q.node.startswith("warehouse")
    }
    assert both_ways
    assert both_ways == {(to, source) for source, to in both_ways}


def test_suppliers_can_fail_and_have_capacity() -> None:
    """A resource per supplier, of its name, loaded as asked; a hidden regime for each."""
    network = generate_network(replace(MIDDLE, utilisation=0.5))
    assert [r.id for r in network.resources] == ["supplier_1", "supplier_2", "supplier_3"]
    assert [r.regimes for r in network.resources] == [(g.id,) for g in network.regimes]
    assert all(g.seen_after is None for g in network.regimes)
    net = compile_network(network)
    used = np.zeros(3)
    for q, lane in enumerate(net.network.lanes):
        if not lane.inputs and lane.speed is Speed.regular and lane.base_share > 0:
            used[int(lane.resources[0].resource[-1]) - 1] += net.demand.mean[net.arrays.lanes.to[q]]
    busy = used > 0
    capacity = net.arrays.resources.capacity[:3]
    assert (used / capacity <= 0.5 + 1e-9).all()
    assert (used / capacity)[busy].max() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"stores": 0}, "stores is 0"),
        ({"skus": -1}, "skus is -1"),
        ({"sources_per_store": 0.5}, "sources_per_store is 0.5"),
        ({"modes": ["air"]}, "the regular one first"),
        ({"modes": ["truck", "balloon"]}, "mode 'balloon' is unknown"),
        ({"p_wait": 1.5}, "p_wait is 1.5"),
        ({"demand_mean": 0.0}, "demand_mean 0.0"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any], told: str) -> None:
    """One line that names the number."""
    with pytest.raises(ConfigError, match=told):
        map_config(**changes)


@pytest.mark.parametrize("name", ["middle", "no plants", "shared sources", "sparse"])
def test_the_base_policy_serves_customers(name: str) -> None:
    """Forecast base-stock reaches a sensible fill rate where suppliers don't fail."""
    network = generate_network(replace(SIZES[name], disruptions=False))
    kpis = play(Scenario("generated", network, horizon=60, warm_up=30), 4)
    assert 0.9 < kpis.summary()["fill_rate"] <= 1.0
    assert kpis.summary()["days_of_supply"] < 40


def play(scenario: Scenario, traces: int) -> EpisodeKpis:
    """Play the base policy."""
    env = BatchedEnv(scenario, traces)
    env.reset(0)
    tally = KpiTally(env)
    for _ in range(env.horizon):
        env.close_period(env.no_action)
        tally.add()
        env.open_period()
    return tally.result()


@pytest.mark.nightly  # 8 s
def test_a_thousand_nodes_are_built() -> None:
    """scale_1000 at its full size: 1,000 nodes, 20 SKUs, about 3,000 connections."""
    config = compose(TrainCommand, ["scenario=scale_1000"]).command.scenario
    assert isinstance(config, GeneratedConfig)
    network = generate_network(config.network)
    net = compile_network(network)
    assert (len(network.nodes), len(network.skus)) == (1000, 20)
    connected = {
        (q.inputs[0].node if q.inputs else q.resources[0].resource, q.node) for q in network.lanes
    }
    assert len(connected) == pytest.approx(3000, rel=0.05)
    assert len(net.network.stocks) == 900 * 20 + 70 * 20 + 40
