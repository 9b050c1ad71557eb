"""Cases of two items that are ordered together."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from envs.network.demand import DemandConfig, build_process
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.explicit import ExplicitConfig
from evaluation.optima.joint_pair import JointPair, solve_joint_pair
from evaluation.optima.markov_demand import seen
from evaluation.optima.single_pair import SinglePair, Supply
from evaluation.verify.case import Case, NotRunnable, Row, demand_of
from evaluation.verify.play import optimum_row, policy_row, tuned_parameters


def full_trucks(case: Case) -> Iterator[Row]:
    """Two items in full trucks of V units (Vanvuchelen, Gijsbrechts and Boute 2020)."""
    demand = case.params.get("D")
    if not isinstance(demand, list) or len(demand) != 2:
        raise NotRunnable(f"params.D is {demand}; expected the demands of two items")
    holding, backlog, minor = (case.numbers(name, 2) for name in ("h", "b", "minor"))
    items = [
        SinglePair(
            seen(_pmf(demand_of(demand[i]))),
            (Supply(0, fixed_cost=minor[i]),),
            holding[i],
            backlog[i],
        )
        for i in range(2)
    ]
    pair = JointPair(
        (items[0], items[1]), load_size=case.number("V"), load_cost=case.number("K"),
        full_loads=True,
    )  # fmt: skip
    began = time.perf_counter()
    yield case.optimum(solve_joint_pair(pair).cost, began)


def _pmf(config: DemandConfig) -> np.ndarray:
    distribution = build_process(config).distribution(1.0)
    units = np.arange(int(distribution.ppf(1.0 - 1e-12)) + 1)
    pmf: np.ndarray = np.asarray(distribution.pmf(units), float)[None, :]
    return pmf / pmf.sum()


def joint_fixed_cost(case: Case) -> Iterator[Row]:
    """Two like items, a fixed cost for any order and one for each item in it, no lead time."""
    scenario = _two_items(case)
    yield optimum_row(case, scenario)
    known = case.heuristics
    if (rule := known.get("can_order")) is not None:
        s, c, top = rule["params"]
        levels = {"reorder_point": s, "can_order_level": c, "order_up_to_level": top}
        yield policy_row(case, "can_order", rule["value"], scenario, "can_order", levels)
    if (rule := known.get("periodic_review")) is not None:
        periods, level = rule["params"]
        mean = case.number("mean")
        factor = (level - mean * periods) / np.sqrt(mean * periods)  # of Poisson demand
        parameters = {"review_period": float(periods), "safety_factor": float(factor)}
        yield policy_row(
            case, "periodic_review", rule["value"], scenario, "periodic_review", parameters
        )
    if (rule := known.get("independent_s_s")) is not None:
        tuned = tuned_parameters(scenario, "s_s", 60)
        yield policy_row(
            case, "independent (s, S), tuned", rule["value"], scenario, "s_s", tuned, relative=0.01
        )


def _two_items(case: Case) -> Scenario:
    demand = demand_of(case.params.get("demand"), case.number("mean"))
    items = ("a", "b")
    return build_scenario(
        ExplicitConfig(
            kind="explicit", name=case.id, horizon=2000, warm_up=100,
            base_policy="forecast_base_stock", nodes={"shop": "shop"},
            skus=dict.fromkeys(items, 0.0),
            stocks={
                i: {
                    "node": "shop", "sku": i, "holding_cost": case.number("h"),
                    "backlog_cost": case.number("b"), "initial_stock": 20.0, "demand": demand,
                }
                for i in items
            },
            lanes={
                i: {
                    "node": "shop", "sku": i, "lead_time": 0, "resources": {"supplier": 1.0},
                    "fixed_cost": case.number("k"), "order_multiple": 1.0,
                }
                for i in items
            },
            resources={"supplier": {"fixed_cost": case.number("K")}},
        )
    )  # fmt: skip
