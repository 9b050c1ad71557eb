"""Periods without stock: what was sold then says nothing of demand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from conf.network_file import scenario_from_file
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.progress import SilentProgress
from evaluation.recommendation.recommender import Recommender
from evaluation.tuning.config import TuneConfig
from evaluation.tuning.search import tune_policy
from tests.evaluation.recommendation.artifacts import request, write_artifact

NETWORK = Path(__file__).parent / "reports/stockout_sales.yaml"
QUICK = TuneConfig(traces=8, budget=10, seed=1_000_000)
EMPTY = [{"location": "shop", "item": "tea", "on_hand": 0}]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    """Sells 6 a day, loses what it hasn't got, follows demand by smoothing."""
    demand = Demand.from_config(DemandConfig("poisson", mean=6.0), 0)
    stock = Stock("shop", "tea", holding_cost=0.05, lost_sale_cost=20.0, p_wait=0.0, demand=demand)
    lane = Lane("supplier", "shop", "tea", LeadTime(2), unit_cost=2.0, order_multiple=1.0)
    network = SupplyNetwork((Node("shop", "shop"),), (Sku("tea", 2.0),), (stock,), (lane,))
    rule: dict[str, Any] = {"base_policy": "forecast_base_stock", "smoothing": 0.2}
    scenario = Scenario("shop", network, horizon=42, **rule)
    return Recommender(write_artifact(tmp_path_factory.mktemp("shop") / "policy", scenario))


def ordered(shop: Recommender, quantities: list[Any], **marks: Any) -> float:
    """Units that the rule orders on an empty shelf."""
    sales = [{"location": "shop", "item": "tea", "quantities": quantities, **marks}]
    asked = request(stock=EMPTY, recent_sales=sales, policy="classical", include_zero=True)
    [line] = shop.recommend(asked).lines
    return line.quantity


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    """The shop of the report, with the safety factor that a quick training finds."""
    scenario = build_scenario(scenario_from_file(NETWORK))
    tuned = tune_policy(scenario, "forecast_base_stock", QUICK, SilentProgress())
    scenario = replace(scenario, policy_params={"forecast_base_stock": tuned.parameters})
    return Recommender(write_artifact(tmp_path_factory.mktemp("report") / "policy", scenario))


def test_as_reported(reported: Recommender) -> None:
    """22, as with 6 a day throughout; what empty shelves would tell is 24
    (third-culture-software/bhima#4346, OCA/stock-logistics-orderpoint#66)."""
    assert ordered(reported, [6] * 14) == 22
    assert ordered(reported, [6] * 7 + [0] * 7, stockout=[False] * 7 + [True] * 7) == 22
    assert ordered(reported, [6] * 7 + [0] * 7) == 24


DAYS: list[tuple[list[Any], dict[str, Any]]] = [
    ([6] * 7 + [0] * 7, {"stockout": [False] * 7 + [True] * 7}),
    ([6, 0] * 7, {"stockout": [False, True] * 7}),
    ([0] * 7 + [6] * 7, {"stockout": [True] * 7 + [False] * 7}),
]


@pytest.mark.parametrize(("quantities", "marks"), DAYS)
def test_days_without_stock_leave_the_averages(
    shop: Recommender, quantities: list[Any], marks: dict[str, Any]
) -> None:
    """As much is ordered as with 6 a day throughout, and not what empty shelves would tell."""
    assert ordered(shop, quantities, **marks) == ordered(shop, [6] * 14)
    assert ordered(shop, quantities) != ordered(shop, [6] * 14)


def test_what_is_not_known_is_not_learned_from(shop: Recommender) -> None:
    """null is a day that nobody tells of."""
    assert ordered(shop, [6] * 7 + [None] * 7) == ordered(shop, [6] * 7)


def test_a_row_can_be_without_stock_throughout(shop: Recommender) -> None:
    """Then training's belief stays, as where no row is given."""
    [line] = shop.recommend(request(stock=EMPTY, policy="classical")).lines
    assert ordered(shop, [0] * 14, stockout=True) == line.quantity


def test_marks_are_one_for_each_period() -> None:
    with pytest.raises(ValidationError, match="stockout has 2 marks; expected 3"):
        request(recent_sales=[{"location": "a", "item": "b", "quantities": [1, 2, 3],
                               "stockout": [True, False]}])  # fmt: skip
