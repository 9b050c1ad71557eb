"""Serving sees what agents saw: a run that is posted period by period gets the run's own orders.

Exception: a policy that follows a plan of a period before plans anew, and says so. Units are
compared to 1e-6: what is reported of fractions is rounded like sums.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envs.network.calendar import Calendar
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, LaneInput, Limits, Resource, ResourceUse
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Receive, ServeOrder, Sku, Stock, SupplyNetwork, Timing
from envs.network.regime import MarkovChain, Regime, RegimeState
from envs.network.season import Season
from envs.scenario import Scenario
from evaluation.recommendation.recommender import Recommender
from tests.evaluation.recommendation.artifacts import request, write_artifact
from tests.evaluation.recommendation.simulated import post_a_run, smoke

SHIPPED = sorted(path.stem for path in Path("conf/scenario").glob("*.yaml"))
DAILY = {"single_backlog", "disruption", "weather_routing", "beer_game"}  # each for a kind of state
BOTH = pytest.mark.parametrize("learned", [False, True], ids=["classical", "learned"])


@BOTH
@pytest.mark.parametrize("name", sorted(DAILY))
def test_a_run_gets_its_own_orders(tmp_path: Path, name: str, learned: bool) -> None:
    """Of every period since the run began, beliefs and all."""
    difference, units = post_a_run(smoke(name), tmp_path / "policy", 10, learned=learned)
    assert difference <= 1e-6
    assert units > 0


@BOTH
@pytest.mark.nightly
@pytest.mark.parametrize("name", SHIPPED)
def test_every_scenario_gets_its_own_orders(tmp_path: Path, name: str, learned: bool) -> None:
    difference, units = post_a_run(smoke(name), tmp_path / "policy", 60, learned=learned)
    print(f"{name}, 60 periods, largest difference {difference:.1e} of {units:.0f} units")
    assert difference <= 1e-6
    assert units > 0


def moving(timing: Timing) -> Scenario:
    """All that moves at once: a hidden strike that stops orders, a price, a budget that is cut, a
    machine seen late, weather with a forecast, days off, orders that travel, customers at a depot,
    others with a season.
    """

    def regime(name: str, struck: RegimeState, **fields: Any) -> Regime:
        chain = MarkovChain(((0.7, 0.3), (0.4, 0.6)))
        return Regime(name, (RegimeState("usual"), struck), chain, **fields)

    demand = Demand.from_config(DemandConfig("poisson", mean=6.0), 0)
    season = Season((1.0, 1.0, 1.0, 1.5, 1.0, 2.0, 0.0), (0.5,) * 6 + (1.5,) * 6, trend=0.1)
    stocks = (
        Stock("plant", "part", 0.1, initial_stock=40.0),
        Stock("depot", "tea", 0.2, 2.0, demand=demand, initial_stock=20.0),
        Stock("shop", "tea", 0.5, 5.0, demand=replace(demand, season=season), initial_stock=20.0),
    )
    days = Calendar(7, (0, 1, 2, 3, 4), closed_on=(8, 9))
    share: dict[str, Any] = {"order_multiple": 1.0, "base_share": 0.5}
    lanes = (
        Lane(
            "buy", "plant", "part", LeadTime(1, 1.5, 1.0), unit_cost=2.0,
            regimes=("strike", "price"), resources=(ResourceUse("money"),), information_delay=1,
        ),
        Lane(
            "make", "depot", "tea", LeadTime(1), (LaneInput("plant", "part"),),
            (ResourceUse("machine"),), calendar=Calendar(3, (0, 2)),
        ),
        Lane(
            "road", "shop", "tea", LeadTime(1, 1.0, 1.0), (LaneInput("depot", "tea"),),
            regimes=("weather",), unit_cost=0.5, transit=days, **share,
        ),
        Lane(
            "rail", "shop", "tea", LeadTime(2), (LaneInput("depot", "tea"),), unit_cost=0.2,
            yield_share=0.9, shipping=Calendar(3, (0, 1)), receiving=days, **share,
        ),
    )  # fmt: skip
    network = SupplyNetwork(
        (Node("plant", "plant"), Node("depot", "store"), Node("shop", "store")),
        (Sku("part"), Sku("tea")),
        stocks,
        lanes,
        (
            Resource("money", 30.0, Limits.orders, regimes=("cuts",)),
            Resource("machine", 20.0, regimes=("machine",)),
        ),
        (
            regime("strike", RegimeState("on", ordering=0.0)),
            regime("price", RegimeState("high", cost=1.7), seen_after=0),
            regime("cuts", RegimeState("half", availability=0.5)),
            regime("machine", RegimeState("down", availability=0.0), seen_after=2),
            regime(
                "weather", RegimeState("snow", lead_time=2.0), seen_after=0,
                forecast_accuracy=(0.9, 0.6),
            ),
        ),
        timing,
    )  # fmt: skip
    return Scenario("moving", network, horizon=40, smoothing=0.2, memory=2)


@BOTH
@pytest.mark.parametrize(
    "timing", [Timing(), Timing(Receive.after_ship, ServeOrder.first)], ids=["plain", "late"]
)
def test_all_that_moves_at_once(tmp_path: Path, timing: Timing, learned: bool) -> None:
    difference, units = post_a_run(moving(timing), tmp_path / "policy", 12, learned=learned)
    assert difference <= 1e-6
    assert units > 0


@pytest.mark.parametrize(
    ("policy", "parameters"),
    [
        ("sterman", {"smoothing": 0.3, "stock_weight": 0.5}),
        ("ewma_base_stock", {"smoothing": 0.3}),
        ("periodic_review", {"review_period": 3, "phase": 1}),
        ("rolling_lp", {"horizon": 4}),
    ],
)
def test_a_rules_own_memory_and_dates(
    tmp_path: Path, chain: Scenario, policy: str, parameters: dict[str, float]
) -> None:
    scenario = replace(chain, base_policy=policy, policy_params={policy: parameters})
    difference, units = post_a_run(scenario, tmp_path / "policy", 8, learned=False)
    assert difference <= 1e-6
    assert units > 0


def test_a_plan_of_before_is_made_anew_and_said(tmp_path: Path, chain: Scenario) -> None:
    """Nobody posts a plan."""
    parameters = {"rolling_lp": {"horizon": 4, "every": 3}}
    scenario = replace(chain, base_policy="rolling_lp", policy_params=parameters)
    answer = Recommender(write_artifact(tmp_path / "policy", scenario)).recommend(request())
    assert "PLANNED_ANEW" in {w.code for w in answer.warnings}


def test_neighbours_and_memory_are_seen(tmp_path: Path, chain: Scenario) -> None:
    scenario = replace(chain, companions=2, memory=3, identity=True, action_scale=2.0)
    assert post_a_run(scenario, tmp_path / "policy", 8, learned=True)[0] <= 1e-6
