"""Shared fixtures: small scenarios that several test packages use."""

from __future__ import annotations

from pathlib import Path

import pytest

from envs.network.demand import DemandConfig
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.one_warehouse import OneWarehouseConfig
from envs.scenarios.single_node import SingleNodeConfig

ROOT = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side, those of a file stay together; all that train share one Ray."""
    for item in items:
        path = item.path.relative_to(ROOT)
        group = "training" if path.parts[0] == "training" else path.as_posix()
        item.add_marker(pytest.mark.xdist_group(group))


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
