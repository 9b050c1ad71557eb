"""Cases of one stock point: lost sales, fixed costs, two suppliers, outages, hidden demand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from envs.network.lane import Speed
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.explicit import ExplicitConfig
from envs.scenarios.single_node import SingleNodeConfig
from evaluation.optima.exact import solve_scenario
from evaluation.verify.case import Case, Row, demand_of
from evaluation.verify.play import optimum_row, policy_row, simulated_cost, tuned_parameters

_PERIODS = 2000  # per trace, after a warm-up of 100
_TWO_LANES = {
    "single_index": ("level", "expedite_level"),
    "dual_index": ("expedite_level", "level"),
    "capped_dual_index": ("expedite_level", "level", "cap"),
    "tailored_base_surge": ("expedite_level", "quantity"),
}  # policy -> what its published numbers are, in order


def _one(case: Case, **fields: Any) -> Scenario:
    demand = demand_of(case.params.get("demand"), case.number("mean"))
    return build_scenario(
        SingleNodeConfig(
            kind="single_node", name=case.id, horizon=_PERIODS, warm_up=100, demand=demand,
            base_policy="forecast_base_stock", lead_time=case.whole("L"),
            holding_cost=case.number("h"), **fields,
        )
    )  # fmt: skip


def lost_sales(case: Case) -> Iterator[Row]:
    """Zipkin (2008): lost sales, a lead time, no fixed cost."""
    scenario = _one(case, lost_sale_cost=case.number("p"), unit_cost=case.number("c", 0.0))
    yield optimum_row(case, scenario)
    rules = {
        "best_base_stock": ("base_stock", {"level": "S"}),
        "capped_base_stock": ("capped_base_stock", {"level": "S", "cap": "cap"}),
    }
    for name, (policy, names) in rules.items():
        known = case.heuristics.get(name)
        if known is not None:
            parameters = {own: float(known[published]) for own, published in names.items()}
            yield policy_row(
                case, name, known["value"], scenario, policy, parameters, judged=case.judged(name)
            )
    if (known := case.heuristics.get("myopic")) is not None:
        yield policy_row(
            case, "myopic", known["value"], scenario, "myopic", {}, judged=case.judged("myopic"),
            traces=256,
        )  # fmt: skip
    if (constant := case.heuristics.get("constant_order")) is not None:
        tuned = tuned_parameters(scenario, "constant_order", 30)
        yield policy_row(
            case, "constant_order", constant["value"], scenario, "constant_order", tuned,
            judged=case.judged("constant_order"), relative=0.01,
        )  # fmt: skip


def fixed_cost(case: Case) -> Iterator[Row]:
    """(s, S): backlog, a fixed cost per order."""
    scenario = _one(case, backlog_cost=case.number("p"), fixed_cost=case.number("K"))
    yield optimum_row(case, scenario)
    levels = case.heuristics.get("optimal (s,S)")
    if levels is not None:
        parameters = {"reorder_point": levels["s"], "order_up_to_level": levels["S"]}
        yield policy_row(case, "(s, S) simulated", case.optimal, scenario, "s_s", parameters)


def _two_lanes(
    name: str, lanes: dict[str, Any], stock: dict[str, Any], regimes: dict[str, Any]
) -> Scenario:
    return build_scenario(
        ExplicitConfig(
            kind="explicit", name=name, horizon=_PERIODS, warm_up=100,
            base_policy="forecast_base_stock", nodes={"store": "store"}, skus={"item": 0.0},
            stocks={"store": stock}, lanes=lanes, regimes=regimes,
        )
    )  # fmt: skip


def dual_sourcing(case: Case) -> Iterator[Row]:
    """A slow, cheap and a fast, expensive supplier (Gijsbrechts et al. 2022): gaps in percent."""
    demand = demand_of(case.params.get("demand"))
    common: Any = {"node": "store", "sku": "item", "order_multiple": 1.0}
    price = case.number("c_r")
    scenario = _two_lanes(
        case.id,
        {
            "regular": {**common, "lead_time": case.whole("l_r"), "unit_cost": price},
            "expedite": dict(
                common, lead_time=case.whole("l_e"), unit_cost=case.number("c_e"),
                speed=Speed.expedite,
            ),
        },
        {
            "node": "store", "sku": "item",
            "holding_cost": case.number("h"), "backlog_cost": case.number("b"),
            "initial_stock": 4.0, "demand": demand,
        },
        {},
    )  # fmt: skip
    optimum = optimum_row(case, scenario)
    yield optimum
    base = case.optimal if optimum.got is None else optimum.got
    mean = 0.5 * ((demand.low or 0.0) + (demand.high or 0.0))
    for policy, names in _TWO_LANES.items():
        known = case.heuristics.get(policy)
        if known is None or base is None:
            continue
        began = time.perf_counter()
        parameters = dict(zip(names, map(float, known["params"]), strict=False))
        cost = simulated_cost(scenario, policy, parameters, 2048, price, mean)
        gap = 100.0 * (cost / base - 1.0)
        yield case.row(f"{policy} gap %", known["gap_pct"], gap, began, 0.02)


def outage(case: Case) -> Iterator[Row]:
    """A low-cost supplier that fails and recovers, observed, and a high-cost reliable one."""
    fail, repair = case.number("alpha"), case.number("beta")
    common: Any = {
        "node": "store", "sku": "item", "lead_time": case.whole("L"), "order_multiple": 1.0,
    }  # fmt: skip
    price = case.number("c_A")
    demand = demand_of(case.params.get("demand"), case.number("mean"))
    scenario = _two_lanes(
        case.id,
        {
            "cheap": {**common, "unit_cost": price, "regimes": ["supplier"]},
            "reliable": {**common, "unit_cost": case.number("c_B"), "base_share": 0.0},
        },
        {
            "node": "store", "sku": "item",
            "holding_cost": case.number("h"), "backlog_cost": case.number("b"),
            "initial_stock": 10.0, "demand": demand,
        },
        {
            "supplier": {
                "states": {"up": {}, "down": {"ordering": 0.0}},
                "transition": [[1.0 - fail, fail], [repair, 1.0 - repair]],
                "seen_after": 0,
            }
        },
    )  # fmt: skip
    yield optimum_row(case, scenario)
    for name, policy, relative in (
        ("status_aware", "status_aware_base_stock", 0.01),
        ("static", "base_stock", 0.02),
    ):
        expected = case.heuristics.get(name)
        if expected is not None:
            tuned = tuned_parameters(scenario, policy)
            yield policy_row(
                case, f"{name}, tuned", expected["value"], scenario, policy, tuned,
                relative=relative, demand_price=price, mean=case.number("mean"),
            )  # fmt: skip


def hidden_regime(case: Case) -> Iterator[Row]:
    """Demand that switches between two means, unobserved."""
    means, stays = case.numbers("means", 2), case.number("stays")
    average = 0.5 * sum(means)

    def built(seen_after: int | None) -> Scenario:
        return _two_lanes(
            case.id,
            {
                "supplier": {
                    "node": "store", "sku": "item",
                    "lead_time": case.whole("L"), "order_multiple": 1.0
                }
            },
            {
                "node": "store", "sku": "item",
                "holding_cost": case.number("h"), "backlog_cost": case.number("b"),
                "initial_stock": 10.0, "demand": demand_of("poisson", average),
                "demand_regimes": ["market"],
            },
            {
                "market": {
                    "states": {
                        "low": {"demand": means[0] / average},
                        "high": {"demand": means[1] / average},
                    },
                    "transition": [[stays, 1.0 - stays], [1.0 - stays, stays]],
                    "seen_after": seen_after,
                }
            },
        )  # fmt: skip

    hidden, seen = built(None), built(0)
    for name, policy, scenario in (
        ("static", "base_stock", hidden),
        ("ewma", "ewma_base_stock", hidden),
        ("bayes", "bayes_base_stock", hidden),
        ("oracle", "bayes_base_stock", seen),
    ):
        known = case.heuristics.get(name)
        if known is not None:
            tuned = tuned_parameters(scenario, policy, 40)
            yield policy_row(
                case, f"{name}, tuned", known["value"], scenario, policy, tuned,
                judged=case.judged(name), relative=0.015,
            )  # fmt: skip
    for name, scenario in (("no model can beat", hidden), ("regime seen", seen)):
        began = time.perf_counter()
        found = solve_scenario(scenario)
        yield case.row(f"{name} ({found.kind.value})", None, found.cost, began)
