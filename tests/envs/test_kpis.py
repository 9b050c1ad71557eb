"""KPIs on hand-made histories with known answers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from envs.batched_env import BatchedEnv
from envs.demand import Demand, DemandConfig
from envs.kpis import EpisodeKpis, KpiTally
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.single_node import SingleNodeConfig


def play(history: list[float], level: float, **config: Any) -> EpisodeKpis:
    """Play base-stock `level` on a known history; one episode."""
    scenario = build_scenario(
        SingleNodeConfig(
            kind="single_node", name="known", horizon=len(history), base_policy="base_stock",
            policy_params={"base_stock": {"level": level}}, demand=DemandConfig(mean=1),
            **{"lead_time": 1, "lost_sale_cost": 4, "initial_stock": level, **config},
        )
    )  # fmt: skip
    env = BatchedEnv(with_history(scenario, history), 1)
    env.reset(0)
    tally = KpiTally(env)
    for _ in history:
        env.close_period(env.no_action)
        tally.add()
        env.open_period()
    return tally.result()


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


def test_costs_add_up_by_column_and_by_node() -> None:
    """Columns, nodes and periods sum to the same total."""
    kpis = play([3, 5, 0, 4], level=4)
    total = kpis.cost.sum()
    assert kpis.columns.sum() == pytest.approx(total)
    assert kpis.cost_by_node.sum() == pytest.approx(total)
    assert sum(kpis.cost_columns().values()) * 4 == pytest.approx(total)


def test_replenishment_cycles_run_from_arrival_to_arrival() -> None:
    """Arrivals in periods 2, 3 and 5 bound two cycles; the second runs dry in period 4."""
    kpis = play([3, 5, 0, 4, 6, 0, 0], level=4)
    assert (kpis.cycles.sum(), kpis.good_cycles.sum()) == (2, 1)
    assert kpis.summary()["cycle_service_level"] == 0.5


def test_base_stock_passes_demand_on_without_bullwhip() -> None:
    """With backlog and no limits base-stock orders what was sold: the ratio of CV² is 1."""
    rng = np.random.default_rng(3)
    history = rng.poisson(5, 400).astype(float).tolist()
    summary = play(history, level=30).summary()
    assert summary["bullwhip_store"] == pytest.approx(1.0, rel=0.05)
    assert summary["fill_rate"] == 1.0
