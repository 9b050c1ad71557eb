"""A supplier that fails, hidden or seen. What its outages cost are cases of `echelon verify`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from envs.network.demand import DemandConfig
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.explicit import ExplicitConfig
from evaluation.comparison.rollout import play


def two_lanes(
    lanes: dict[str, Any], stock: dict[str, Any], regimes: dict[str, Any], horizon: int
) -> Scenario:
    """One item at one store, bought on any of the lanes."""
    return build_scenario(
        ExplicitConfig(
            kind="explicit",
            base_policy="forecast_base_stock",
            name="suppliers",
            horizon=horizon,
            warm_up=100,
            nodes={"store": "store"},
            skus={"item": 0.0},
            stocks={"store": stock},
            lanes=lanes,
            regimes=regimes,
        )
    )


def supplier_outage(fail: float, repair: float, reliable_cost: float) -> Scenario:
    """A cheap supplier that takes no orders while it is down, and a reliable one."""
    common: Any = {"node": "store", "sku": "item", "lead_time": 1, "order_multiple": 1.0}
    return two_lanes(
        {
            "cheap": {**common, "unit_cost": 10.0, "regimes": ["supplier"]},
            "reliable": {**common, "unit_cost": reliable_cost, "base_share": 0.0},
        },
        {
            "node": "store",
            "sku": "item",
            "holding_cost": 1.0,
            "backlog_cost": 19.0,
            "initial_stock": 10.0,
            "demand": DemandConfig("poisson", mean=5.0),
        },
        {
            "supplier": {
                "states": {"up": {}, "down": {"ordering": 0.0}},
                "transition": [[1.0 - fail, fail], [repair, 1.0 - repair]],
                "seen_after": 0,
            }
        },
        horizon=500,
    )


def test_a_pause_is_not_forgotten() -> None:
    """The same supplier, hidden: the rule that can't see it does no better than one level."""
    seen = supplier_outage(0.05, 0.25, 11.0)
    network = replace(
        seen.network, regimes=tuple(replace(r, seen_after=None) for r in seen.network.regimes)
    )
    hidden = replace(seen, network=network)
    levels = {"level": 16.0, "level_down": 10.0}
    costs = [
        play(
            scenario,
            build_policy("status_aware_base_stock", scenario.compiled, levels),
            traces=256,
            seed=3,
        ).cost.mean()
        for scenario in (seen, hidden)
    ]
    assert np.diff(costs)[0] > 1.0
