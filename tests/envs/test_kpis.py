"""KPIs on hand-made histories with known answers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.kpis.pairs import EpisodeKpis, KpiTally
from envs.network.demand import Demand, DemandConfig
from envs.network.generate import generate_network
from envs.network.lane import Lane
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Receive, ServeOrder, Sku, Stock, SupplyNetwork, Timing
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.single_node import SingleNodeConfig
from tests.envs.networks import map_config


def play(history: list[float], level: float, **config: Any) -> EpisodeKpis:
    """Play base-stock `level` on a known history; one episode."""
    scenario = build_scenario(
        SingleNodeConfig(
            kind="single_node", name="known", horizon=len(history), base_policy="base_stock",
            policy_params={"base_stock": {"level": level}}, demand=DemandConfig("poisson", mean=1),
            holding_cost=1.0,
            **{"lead_time": 1, "lost_sale_cost": 4, "initial_stock": level, **config},
        )
    )  # fmt: skip
    return tally(with_history(scenario, history), 1)


def tally(scenario: Scenario, episodes: int, first: int = 0) -> EpisodeKpis:
    """Play the base policy on episodes first, first + 1, ..."""
    env = BatchedEnv(scenario, episodes)
    env.reset(0, first)
    kpis = KpiTally(env)
    for _ in range(env.horizon):
        env.close_period(env.no_action)
        kpis.add()
        env.open_period()
    return kpis.result()


def with_history(scenario: Scenario, history: list[float]) -> Scenario:
    demand = Demand(float(np.mean(history)), 1.0, history=np.array([*history, 0.0]))
    network = scenario.network
    stock = dataclasses.replace(network.stocks[0], demand=demand)
    lane = dataclasses.replace(network.lanes[0], initial_in_transit=())
    network = dataclasses.replace(network, stocks=(stock,), lanes=(lane,))
    return dataclasses.replace(scenario, network=network)


def test_service_is_counted_in_units_and_in_periods() -> None:
    """Stock 4, arrivals a period later: demand 3, 5, 0, 4 is served 3, 1, 0, 4."""
    kpis = play([3, 5, 0, 4], level=4)
    summary = kpis.summary()
    assert summary["fill_rate"] == pytest.approx(8 / 12)
    assert summary["lost_share"] == pytest.approx(4 / 12)
    assert summary["ready_rate"] == pytest.approx(3 / 4)


def test_customers_orders_count_one_by_one() -> None:
    """Of three orders, that of 5 isn't served in full; a period without demand is no order."""
    summary = play([3, 5, 0, 4], level=4).summary()
    assert summary["otif_outbound"] == pytest.approx(2 / 3)
    assert summary["lost_sales"] == pytest.approx(4 / 4)


def test_supply_is_measured_back_and_forward() -> None:
    """Stock 1, 0, 3, 0 at the ends; what follows is 3, 2 and 4 a period."""
    summary = play([3, 5, 0, 4], level=4).summary()
    assert summary["days_of_supply"] == pytest.approx(4 / 12)
    assert summary["forward_days_of_supply"] == pytest.approx((1 + 0 + 3) / (3 + 2 + 4))
    assert summary["excess_share"] == 0.0


def test_excess_is_what_lies_beyond_28_periods() -> None:
    """Demand 1 a period: of 99, 98, 98, 98 units, 71, 70, 70, 70 are too many."""
    summary = play([1, 1, 1, 1], level=100).summary()
    assert summary["excess_share"] == pytest.approx((71 + 3 * 70) / (99 + 3 * 98))


def test_nervous_orders_change_much() -> None:
    """Orders 0, 3, 1, 0 change by 2 on average, twice their mean."""
    assert play([3, 5, 0, 4], level=4).summary()["nervousness_store"] == pytest.approx(2.0)


def test_backlog_has_an_age() -> None:
    """Two units short in period 0 are ordered in period 1 and served in period 2."""
    costs = {"lost_sale_cost": None, "backlog_cost": 9.0}
    summary = play([6, 0, 0, 0], level=4, **costs).summary()
    assert summary["backlog_age"] == pytest.approx(2.0)
    assert play([1, 1, 1, 1], level=9, **costs).summary()["backlog_age"] == 0.0
    assert "backlog_age" not in play([6, 0, 0, 0], level=4).summary()


def test_the_worst_tenth_is_looked_at() -> None:
    """The mean of the two dearest of twenty episodes, before and after joining batches."""
    scenario = build_scenario(
        SingleNodeConfig(
            kind="single_node", name="drawn", horizon=30, base_policy="base_stock",
            demand=DemandConfig("poisson", mean=5.0), lost_sale_cost=4, lead_time=2,
            holding_cost=1.0,
        )
    )  # fmt: skip
    parts = [tally(scenario, 10, first) for first in (0, 10)]
    joined, whole = EpisodeKpis.join(parts), tally(scenario, 20)
    assert joined.summary() == pytest.approx(whole.summary())
    worst = np.sort(whole.cost.mean(axis=0))[-2:].mean()
    assert joined.summary()["cvar90_cost"] == pytest.approx(worst)


def test_costs_add_up_by_column_node_sku_and_lane() -> None:
    """Every way of cutting the cost sums to the same total; lanes to what goods cost on them."""
    network = generate_network(
        map_config(seed=2, modes=["truck", "air"], plants=2, delay=1.0, p_wait=0.4)
    )
    scenario = Scenario("cut", network, horizon=25, warm_up=5)
    kpis = EpisodeKpis.join([tally(scenario, 3), tally(scenario, 2, 3)])
    columns = kpis.cost_columns()
    assert {"holding", "backlog", "lost_sale", "purchase"} == set(columns)
    assert sum(columns.values()) == pytest.approx(kpis.cost.mean())
    for parts in (kpis.cost_by_node(), kpis.cost_by_sku()):
        for column, value in columns.items():
            assert sum(p.get(column, 0.0) for p in parts.values()) == pytest.approx(value)
    lanes = kpis.by_lane()
    assert sum(p.get("purchase", 0.0) for p in lanes.values()) == pytest.approx(columns["purchase"])
    assert sum(p.get("co2", 0.0) for p in lanes.values()) == pytest.approx(kpis.summary()["co2"])
    assert set(lanes) >= {"outside > plant truck", "warehouse > store truck"}
    assert set(kpis.cost_by_node()) == {n.id for n in network.nodes if n.kind != "supplier"}


def test_replenishment_cycles_run_from_arrival_to_arrival() -> None:
    """Arrivals in periods 2, 3 and 5 bound two cycles; the second runs dry in period 4."""
    kpis = play([3, 5, 0, 4, 6, 0, 0], level=4)
    assert (kpis.sums.cycles.sum(), kpis.sums.good_cycles.sum()) == (2, 1)
    assert kpis.summary()["cycle_service_level"] == 0.5


def supplied(lane: Lane, policy: str, parameters: dict[str, float], **timing: Any) -> Scenario:
    """Customers who take what they took before, and come before the orders of a period."""
    history = np.array([4, 9, 0, 15, 7, 3, 22, 0, 6, 11, 5, 18, 2], float)
    demand = Demand(float(history.mean()), 1.0, history=history)
    network = SupplyNetwork(
        (Node("shop", "shop"),),
        (Sku("tea"),),
        (Stock("shop", "tea", 1.0, 5.0, initial_stock=30.0, demand=demand),),
        (lane,),
        timing=Timing(demand=ServeOrder.first, **timing),
    )
    return Scenario("supplied", network, 40, base_policy=policy, policy_params={policy: parameters})


def test_goods_that_come_after_the_customers_begin_the_next_cycle() -> None:
    """A shortage before they came counts for the cycle that they end: of seven, one was good."""
    lane = Lane("buy", "shop", "tea", LeadTime(3), fixed_cost=5.0, order_multiple=40.0)
    parameters = {"reorder_point": 24.0, "quantity": 40.0}
    kpis = tally(supplied(lane, "r_q", parameters, receive=Receive.after_ship), 1)
    assert (kpis.sums.cycles.sum(), kpis.sums.good_cycles.sum()) == (7, 1)


def test_goods_that_come_at_once_come_after_the_customers() -> None:
    """Every order is there in its period: a cycle is good where the customers of its last period
    found enough of 8 units."""
    scenario = supplied(Lane("buy", "shop", "tea", LeadTime(0)), "base_stock", {"level": 8.0})
    stock = dataclasses.replace(scenario.network.stocks[0], initial_stock=8.0)
    network = dataclasses.replace(scenario.network, stocks=(stock,))
    kpis = tally(dataclasses.replace(scenario, network=network, horizon=13), 1)
    # Orders follow customers; 9, 15, 22, 11 and 18 are too many, and 4 begins the first cycle.
    assert (kpis.sums.cycles.sum(), kpis.sums.good_cycles.sum()) == (10, 5)


def test_a_year_has_so_many_periods() -> None:
    """Stock turns over 52 / 7 times as slowly where a period is a week."""
    daily = play([3, 5, 0, 4], level=4).summary()["turns"]
    weekly = play([3, 5, 0, 4], level=4, period_name="week").summary()["turns"]
    assert daily == pytest.approx(365.0 * 8 / 4)
    assert weekly == pytest.approx(52.0 * 8 / 4)
    with pytest.raises(ConfigError, match=r"period_name is 'weak'.*Did you mean 'week'"):
        play([3, 5, 0, 4], level=4, period_name="weak")


def test_base_stock_passes_demand_on_without_bullwhip() -> None:
    """With backlog and no limits base-stock orders what was sold: the ratio of CV² is 1."""
    rng = np.random.default_rng(3)
    history = rng.poisson(5, 400).astype(float).tolist()
    summary = play(history, level=30).summary()
    assert summary["bullwhip_store"] == pytest.approx(1.0, rel=0.05)
    assert summary["fill_rate"] == 1.0


@pytest.mark.parametrize("level", [4, 40])
def test_stock_of_the_warm_up_is_no_gift(level: float) -> None:
    """Goods cost what they are worth: what is bought, less what stock has gained, is what was sold,
    however much was there at the start."""
    kpis = play([3, 5, 0, 4], level, unit_cost=10.0)
    columns = kpis.cost_columns()
    sold = float(kpis.sums.sold.sum())
    assert 4 * (columns.get("purchase", 0.0) + columns["salvage"]) == pytest.approx(10.0 * sold)
    assert 4 * sum(columns.values()) == pytest.approx(kpis.cost.sum())
