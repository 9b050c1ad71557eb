"""The assembly plant: its base policy plans with machines, parts and outages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conf.compose import compose
from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.network.regime import MarkovChain, Regime, RegimeState
from envs.policies import build_policy
from envs.policies.capacity_checked import _time_down
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.commands.evaluate import EvaluateCommand
from evaluation.comparison.rollout import play

NAME = "capacity_checked"


def build(*arguments: str) -> Scenario:
    """Build the scenario with overrides."""
    composed = compose(EvaluateCommand, ["scenario=assembly_plant", *arguments])
    return build_scenario(composed.command.scenario)


def cost_of(scenario: Scenario, policy: str, **parameters: Any) -> tuple[float, float]:
    """(cost per period, fill rate) over 128 traces; textbook values for what isn't given."""
    rule = build_policy(policy, scenario.compiled, parameters)
    result = play(scenario, rule, traces=128, seed=4)
    return float(result.cost.mean()), float(result.summary()["fill_rate"])


def test_the_network_is_what_its_numbers_say() -> None:
    """Six parts, two of them from two sources; three products of 2-4 parts; two machines that run
    25 days and stand 2; two centres."""
    scenario = build()
    network = scenario.network
    makes = [lane for lane in network.lanes if lane.id.startswith("make")]
    assert [len(lane.inputs) for lane in makes] == [4, 3, 2]
    fast = [lane for lane in network.lanes if lane.id.startswith("expedite")]
    assert len(fast) == 2
    assert len([lane for lane in network.lanes if lane.id.startswith("buy")]) == 6
    regimes = {regime.id: regime for regime in network.regimes}
    for machine in network.resources:
        regime = regimes[machine.id]
        assert regime.stationary()[0] == pytest.approx(25 / 27)
        assert regime.seen_after == 0
        hours = sum(
            use.per_unit * scenario.compiled.demand.mean[scenario.compiled.arrays.lanes.to[q]]
            for q, lane in enumerate(network.lanes)
            for use in lane.resources
            if use.resource == machine.id
        )
        assert 0.8 < hours / (machine.capacity * regime.mean("availability")) < 0.9


def test_a_rule_that_plans_for_outages_wins() -> None:
    """Its textbook start values cost less than half of echelon base-stock's, and less than a dual
    index rule's that knows the second sources but not the outages."""
    scenario = build()
    cost, fill = cost_of(scenario, NAME)
    assert cost < 0.5 * cost_of(scenario, "echelon_base_stock")[0]
    assert cost < 0.8 * cost_of(scenario, "dual_index")[0]
    assert 0.9 < fill < 0.99


def test_outages_bite() -> None:
    """Without breakdowns and supplier outages the same rule costs less and serves better."""
    parts = ("motor", "board", "battery", "cable")
    calm = [f"scenario.components.{part}.time_to_failure=null" for part in parts]
    calm += [
        f"scenario.machines.{machine}.time_to_failure=null"
        for machine in ("assembly_line", "paint_shop")
    ]
    cost, fill = cost_of(build(), NAME)
    calm_cost, calm_fill = cost_of(build(*calm), NAME)
    assert calm_cost < 0.7 * cost
    assert calm_fill > fill + 0.01


def test_every_cost_is_used() -> None:
    """Stock, backlog and the premium of the second source; nothing else costs."""
    scenario = build()
    result = play(scenario, build_policy(NAME, scenario.compiled, {}), traces=32, seed=4)
    columns = result.cost_columns()
    assert set(columns) == {"holding", "backlog", "purchase"}
    assert min(columns.values()) > 1.0


@pytest.mark.parametrize("workload", [1.0, 3.0])
def test_no_machine_owes_more_than_it_can_make(workload: float) -> None:
    """After orders, what a machine owes takes at most `workload` periods of its hours, and what is
    owed by products never takes more parts than there are."""
    scenario = build()
    env = BatchedEnv(
        scenario, 16, base_policy=build_policy(NAME, scenario.compiled, {"workload": workload})
    )
    env.reset(1)
    network, arrays = scenario.compiled.network, scenario.compiled.arrays
    hours = np.zeros((len(network.resources), len(network.lanes)))
    names = [resource.id for resource in network.resources]
    for q, lane in enumerate(network.lanes):
        for use in lane.resources:
            hours[names.index(use.resource), q] = use.per_unit
    most, seen = workload * arrays.resources.capacity[:, None], 0.0
    for _ in range(120):
        owed = env.state.owed.copy()
        env.close_period(env.no_action)
        after = hours @ (owed + env.flows.ordered)
        assert (after <= most + 1e-6).all()
        assert (env.flows.resource_used <= arrays.resources.capacity[:, None] + 1e-6).all()
        seen = max(seen, float((after / most).max()))
        env.open_period()
    assert seen > 0.95  # the check binds at times


def test_one_missing_part_does_not_stop_the_others() -> None:
    """Without batteries, drills wait; saws and lamps are made as before."""
    scenario = build("scenario.components.battery.lead_time=9", "scenario.horizon=8")
    network = scenario.network
    stocks = tuple(
        replace(s, initial_stock=0.0) if s.sku == "battery" else s for s in network.stocks
    )
    lanes = tuple(
        replace(q, initial_in_transit=()) if q.id == "buy battery" else q for q in network.lanes
    )
    scarce = replace(scenario, network=replace(network, stocks=stocks, lanes=lanes), warm_up=0)
    env = BatchedEnv(scarce, 64)
    env.reset(3)
    made = np.zeros(3)
    lane = [q.id for q in scarce.compiled.network.lanes]
    makes = [lane.index(f"make {product}") for product in ("drill", "saw", "lamp")]
    for _ in range(8):
        env.close_period(env.no_action)
        made += env.flows.shipped[makes].mean(axis=1) / 8
        env.open_period()
    assert made[0] == 0.0
    assert (made[1:] > [20.0, 40.0]).all()


def test_alone_it_is_forecast_base_stock() -> None:
    """With one stage, no limits and no outages there is nothing to check."""
    composed = compose(EvaluateCommand, ["scenario=single_backlog"])
    scenario = build_scenario(composed.command.scenario)
    checked, plain = (
        play(
            scenario, build_policy(name, scenario.compiled, {"safety_factor": 1.3}),
            traces=4, seed=0,
        ).cost
        for name in (NAME, "forecast_base_stock")
    )  # fmt: skip
    assert np.array_equal(checked, plain)


@pytest.mark.parametrize("ratio", [0.5, 0.9, 0.98, 0.999])
def test_cover_is_a_fractile_of_the_time_down(ratio: float) -> None:
    """Two states: P(down for more than x) = share down x (1 - repair)^x."""
    fail, repair = 0.01, 0.2
    regime = Regime(
        "supplier",
        (RegimeState("up"), RegimeState("down", availability=0.0)),
        MarkovChain(((1 - fail, fail), (repair, 1 - repair))),
    )
    x, down = _time_down(regime, ratio), fail / (fail + repair)
    assert down * (1 - repair) ** x <= 1 - ratio
    assert x == 0 or down * (1 - repair) ** (x - 1) > 1 - ratio


MISTAKES = [
    ("scenario.products.saw.parts={motor: 1, frams: 1}", "Did you mean 'frame'?"),
    ("scenario.products.saw.hours={paint_shp: 1}", "Did you mean 'paint_shop'?"),
    ("scenario.machines.paint_shop.time_to_failure=0.5", "at least 1 period"),
    ("scenario.demand_dispersion=0", "demand_dispersion is 0"),
]


@pytest.mark.parametrize(("override", "told"), MISTAKES)
def test_mistakes_are_told(override: str, told: str) -> None:
    """Unknown parts and machines, impossible times."""
    with pytest.raises(ConfigError) as error:
        build(override)
    assert told in str(error.value)
