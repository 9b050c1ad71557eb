"""Shared fixtures: small scenarios that several test packages use."""

from __future__ import annotations

import pytest

from envs.network.demand import DemandConfig
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.one_warehouse import OneWarehouseConfig
from envs.scenarios.single_node import SingleNodeConfig


@pytest.fixture
def shop() -> Scenario:
    """One store that loses sales: Poisson demand of 5 a period, lead time 2."""
    return build_scenario(
        SingleNodeConfig(
            kind="single_node",
            name="shop",
            horizon=30,
            warm_up=3,
            demand=DemandConfig(mean=5.0),
            lead_time=2,
            lost_sale_cost=4.0,
        )
    )


@pytest.fixture
def warehouse() -> Scenario:
    """A warehouse, three stores, two items, correlated demand, lost sales."""
    return build_scenario(
        OneWarehouseConfig(
            kind="one_warehouse",
            name="warehouse",
            horizon=20,
            demand=DemandConfig(mean=5.0),
            stores=3,
            skus=2,
            correlation=0.4,
            lost_sale_cost=9.0,
        )
    )
