"""Periods without stock: what was sold then says nothing of demand."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.scenario import Scenario
from evaluation.recommendation.recommender import Recommender
from tests.evaluation.recommendation.artifacts import request, write_artifact

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
