"""Cases of chains: serial systems, the beer game."""

from __future__ import annotations

import time
from collections.abc import Iterator

from scipy import stats

from envs.network.demand import DemandConfig
from envs.network.network import InTransitPayer, ServeOrder, Timing
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.serial import SerialConfig, StageConfig
from evaluation.comparison.rollout import play
from evaluation.optima.serial import best_chain
from evaluation.verify.case import Case, NotRunnable, Row, demand_of
from evaluation.verify.play import policy_row, simulated_cost

_STAGES = ("retailer", "wholesaler", "distributor", "factory")
_LEAD_TIME = 2  # periods, of every stage of the beer game


def serial(case: Case) -> Iterator[Row]:
    """Periodic review, demand before orders, goods in transit charged to the sender."""
    if "L_each" in case.params:
        yield from _continuous(case)
        return
    count = case.whole("N")
    holding, leads = case.numbers("local_h", count), case.numbers("L", count)
    config = demand_of(case.params.get("demand"))
    if config.distribution != "normal":
        raise NotRunnable(f"demand '{case.params.get('demand')}' isn't normal")
    began = time.perf_counter()
    mean, sd = config.need("mean"), config.need("standard_deviation")
    steps = [*holding[1:], 0.0]
    found = best_chain(
        [h - above for h, above in zip(holding, steps, strict=True)], case.number("p"),
        [stats.norm(mean * lead, sd * lead**0.5) for lead in leads], step=0.02,
    )  # fmt: skip
    yield case.optimum(found.cost, began)
    levels = case.heuristics.get("echelon S*", list(found.levels))
    names = [f"stage_{i + 1}" for i in range(count)]
    penalty = case.number("p")
    stages = {
        name: StageConfig(
            holding_cost=holding[i], backlog_cost=penalty if i == 0 else 0.0,
            lead_time=int(leads[i]), initial_stock=10.0,
        )
        for i, name in enumerate(names)
    }  # fmt: skip
    scenario = build_scenario(
        SerialConfig(
            kind="serial", name=case.id, horizon=2000, warm_up=100,
            demand=demand_of(case.params.get("demand")),
            timing=Timing(demand=ServeOrder.first, in_transit_payer=InTransitPayer.sender),
            base_policy="echelon_base_stock", stages=stages, order_multiple=0.0,
        )
    )  # fmt: skip
    parameters = {"level": dict(zip(names, map(float, levels), strict=True))}
    began = time.perf_counter()
    policy = build_policy("echelon_base_stock", scenario.compiled, parameters)
    result = play(scenario, policy, traces=512, seed=7)
    columns = result.cost_columns()
    wanted: dict[str, tuple[float | None, float]] = {
        "echelon base-stock simulated": (case.optimal, float(result.cost.mean())),
        "on-hand": (case.heuristics.get("on-hand only"), columns["holding"]),
        "backorder": (case.heuristics.get("backorder"), columns["backlog"]),
        "in-transit": (case.heuristics.get("in-transit"), columns["in_transit"]),
    }
    for quantity, (expected, got) in wanted.items():
        allowed = None if expected is None else 0.01 * expected
        yield case.row(quantity, expected, got, began, allowed)


def _continuous(case: Case) -> Iterator[Row]:
    """Continuous review, Poisson demand (Shang and Song 2003)."""
    holding = case.numbers("echelon_h_downstream_first")
    demand = demand_of(str(case.params.get("demand")).removesuffix(" process"))
    if demand.distribution != "poisson":
        raise NotRunnable(f"demand '{case.params.get('demand')}' isn't Poisson")
    began = time.perf_counter()
    mean = demand.need("mean") * case.number("L_each")
    found = best_chain(holding, case.number("p"), [stats.poisson(mean)] * len(holding))
    yield case.optimum(found.cost, began)
    levels = case.heuristics.get("echelon S* (1=downstream)", [])
    for stage, (wanted, got) in enumerate(zip(levels, found.levels, strict=False)):
        yield case.row(f"level of stage {stage + 1}", wanted, got, began, 0.0)


def beer_game(case: Case) -> Iterator[Row]:
    """Sterman's rule on the board game, or base-stock levels on a longer run."""
    if "base_stock_levels" in case.params:
        yield from _levels(case)
        return
    demand = case.params.get("demand")
    if not isinstance(demand, list) or len(set(demand)) != 2 or demand != sorted(demand):
        raise NotRunnable("demand isn't a list that steps up once from one number to another")
    low, high = float(demand[0]), float(demand[-1])
    scenario = _chain(
        case.id, len(demand), [2, 2, 2, 1], [case.number("h")] * 4, [case.number("b")] * 4,
        DemandConfig("step", low=low, high=high, change_period=demand.index(demand[-1])), low, 0,
    )  # fmt: skip
    rule = {
        "desired_stock": dict(zip(_STAGES, case.numbers("S_prime", 4), strict=True)),
        "initial_forecast": low, "stock_weight": case.number("alpha_S"),
        "supply_line_weight": case.number("beta"), "smoothing": case.number("theta"),
        "fixed_periods": 4, "fixed_order": low,
    }  # fmt: skip
    known = case.heuristics["anchor_adjust optimal"]["total"]
    began = time.perf_counter()
    total = simulated_cost(scenario, "sterman", rule, 1) * len(demand)
    yield case.row("total cost", known, total, began, 1e-6)


def _levels(case: Case) -> Iterator[Row]:
    leads = [int(lead) for lead in case.numbers("lead_total", 4)]
    levels = dict(zip(_STAGES, case.numbers("base_stock_levels", 4), strict=True))
    config = demand_of(case.params.get("demand"))
    mean = (
        config.mean if config.mean is not None else 0.5 * ((config.low or 0) + (config.high or 0))
    )
    delays = [lead - 2 for lead in leads]
    if min(delays) < 0:
        raise NotRunnable(f"lead_total is {leads}; two periods of it are shipping")
    scenario = _chain(
        case.id, 2000, delays, case.numbers("h", 4), case.numbers("p", 4), config, float(mean), 100
    )
    yield policy_row(
        case, "base-stock levels", case.heuristics["base_stock"], scenario, "base_stock",
        {"level": levels}, relative=0.01,
    )  # fmt: skip


def _chain(
    name: str, periods: int, delays: list[int], holding: list[float], backlog: list[float],
    demand: DemandConfig, flow: float, warm_up: int,
) -> Scenario:  # fmt: skip
    stages = {
        stage: StageConfig(
            holding_cost=float(holding[i]), backlog_cost=float(backlog[i]), lead_time=_LEAD_TIME,
            information_delay=delays[i], initial_stock=12.0,
            initial_in_transit=[flow] * _LEAD_TIME, initial_orders=[flow] * delays[i],
        )
        for i, stage in enumerate(_STAGES)
    }  # fmt: skip
    return build_scenario(
        SerialConfig(
            kind="serial", name=name, horizon=periods, warm_up=warm_up, demand=demand,
            timing=Timing(demand=ServeOrder.first), base_policy="base_stock", stages=stages,
            order_multiple=0.0,
        )
    )  # fmt: skip
