"""What a request says of suppliers, weather, machines, prices and receipts, and what it doesn't."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.network.lane import Lane
from envs.network.lead_time import LeadTime
from envs.network.regime import MarkovChain, Regime, RegimeState
from envs.scenario import Scenario
from evaluation.recommendation.findings import RequestError
from evaluation.recommendation.recommender import Recommender
from evaluation.recommendation.schemas import RecommendationRequest, RecommendationResponse
from tests.evaluation.recommendation.artifacts import request, write_artifact
from tests.evaluation.recommendation.simulated import smoke

SHELF = {"stock": [{"location": "shop", "item": "tea", "on_hand": 1}]}
CHAIN = MarkovChain(((0.75, 0.25), (0.75, 0.25)))


@pytest.fixture(scope="module")
def routed() -> Scenario:
    """A shop with a near supplier that can fail and be dear, and a far one."""
    from tests.evaluation.recommendation.test_dates import weekly

    scenario = weekly("")
    up = RegimeState("up")
    network = replace(
        scenario.network,
        lanes=(
            Lane("near", "shop", "tea", LeadTime(1, 1.0, 1.0), unit_cost=2.0,
                 regimes=("mill", "market", "hidden"), order_multiple=1.0),
            Lane("far", "shop", "tea", LeadTime(3), unit_cost=1.0, base_share=0.0,
                 regimes=("storm",), order_multiple=1.0),
        ),
        regimes=(
            Regime("mill", (up, RegimeState("down", availability=0.0)), CHAIN, seen_after=0),
            Regime("market", (up, RegimeState("dear", cost=3.0)), CHAIN, seen_after=0),
            Regime("hidden", (up, RegimeState("strike", ordering=0.0)), CHAIN),
            Regime("storm", (up, RegimeState("down", lead_time=4.0)), CHAIN, seen_after=0,
                   forecast_accuracy=(0.9,)),
        ),
    )  # fmt: skip
    return replace(scenario, network=network, base_policy="status_aware_base_stock")


@pytest.fixture(scope="module")
def router(routed: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender(write_artifact(tmp_path_factory.mktemp("routed") / "policy", routed))


def seen(recommender: Recommender, **fields: Any) -> dict[str, float]:
    """What the policy sees of its first row, by feature."""
    env = recommender._env
    recommender.recommend(request(**{**SHELF, **fields}))
    return dict(zip(env.feature_names, env.observe()[0, :, 0].tolist(), strict=True))


def by_lane(answer: RecommendationResponse) -> dict[str, float]:
    return {line.lane: line.quantity for line in answer.lines}


def test_nothing_is_drawn_at_start_up(tmp_path: Path) -> None:
    """The weather of a request is the request's: other draws at start-up, the same lines."""
    artifact = write_artifact(tmp_path / "policy", smoke("weather_routing"))
    stock = artifact.network["network"]["stocks"][-1]  # type: ignore[index]
    body = {"stock": [{"location": stock["node"], "item": stock["sku"], "on_hand": 0}]}
    answers = []
    for draw in range(5):
        recommender = Recommender(artifact)
        recommender._env.simulator.reset(draw)
        answers.append(recommender.recommend(request(**body)))
    assert all(answer.lines == answers[0].lines for answer in answers)
    codes = {w.code: w.where for w in answers[0].warnings}
    assert codes["MISSING_STATUS"] == codes["MISSING_FORECASTS"]
    assert len(codes["MISSING_STATUS"]) == 4


def test_what_is_unknown_is_its_long_run_mean(router: Recommender) -> None:
    """0.75 of orders go through the near lane; what isn't told is warned of by name."""
    features = seen(router)
    assert features["lane_0_usable_as_seen"] == pytest.approx(0.75)
    assert features["lane_1_speed_in_1"] == pytest.approx(0.75 + 0.25 / 4.0)
    usual = 0.75 * 2.0 + 0.25 * 6.0
    assert features["lane_0_price"] == pytest.approx(usual / 1.0 - 1.0)
    notices = {w.code: w.where for w in router.recommend(request(**SHELF)).warnings}
    assert notices["MISSING_STATUS"] == ["mill", "market", "storm"]
    assert notices["MISSING_FORECASTS"] == ["storm"]
    assert notices["MISSING_PRICES"] == ["near"]
    assert notices["MISSING_RECEIPTS"] == ["near", "far"]


def test_what_is_told_is_seen(router: Recommender) -> None:
    """By lane where only one regime of it has that status; forecasts by target; prices."""
    told = {
        "lane_status": [{"lane": "near", "status": "down", "note": "fire"}],
        "node_status": [{"regime": "market", "location": "shop", "status": "dear"}],
        "forecasts": [{"lane": "far", "target_date": 1, "status": "down"}],
        "prices": [{"lane": "near", "unit_price": 5.0}],
    }
    features = seen(router, **told)
    assert features["lane_0_usable_as_seen"] == 0.0
    assert features["lane_1_speed_in_1"] == 0.25
    assert features["lane_0_price"] == 4.0
    answer = router.recommend(request(**SHELF, **told, policy="classical"))
    assert set(by_lane(answer)) == {"far"}  # around the supplier that is down
    assert answer.summary.order_cost == pytest.approx(by_lane(answer)["far"])


def test_a_status_holds_until_the_next_one(router: Recommender) -> None:
    rows = [{"lane": "near", "status": "down", "date": -5}]
    assert seen(router, lane_status=rows)["lane_0_usable_as_seen"] == 0.0
    rows.append({"lane": "near", "status": "up", "date": -1, "regime": "mill"})
    assert seen(router, lane_status=rows)["lane_0_usable_as_seen"] == 1.0
    days = [{"lane": "near", "status": "down", "date": "2024-03-01"}]
    assert seen(router, lane_status=days, as_of="2024-03-04")["lane_0_usable_as_seen"] == 0.0


def test_a_hidden_strike_stops_orders_but_is_not_shown(router: Recommender) -> None:
    rows = [{"regime": "hidden", "status": "strike"}, {"regime": "mill", "status": "up"}]
    answer = router.recommend(request(**SHELF, lane_status=rows, include_zero=True))
    assert by_lane(answer)["near"] == 0.0
    assert {w.code for w in answer.warnings} >= {"STATUS_HIDDEN"}
    assert seen(router, lane_status=rows)["lane_0_usable_as_seen"] == 1.0


def test_receipts_become_beliefs(router: Recommender) -> None:
    """A supplier whose deliveries become late and incomplete is believed to be so."""

    def rows(late: int) -> list[dict[str, Any]]:
        return [
            {"lane": "near", "ordered": -t - late, "promised": -t, "received": -t, "quantity": 8}
            for t in range(1, 25)
        ]

    good, bad = seen(router, receipts=rows(2)), seen(router, receipts=rows(9))
    assert bad["lane_0_lead_time"] > good["lane_0_lead_time"] + 1.0
    assert bad["lane_0_on_time"] < 0.1 < good["lane_0_on_time"]
    dated = [{"lane": "near", "ordered": "2024-03-01", "received": "2024-03-11", "quantity": 8}]
    counted = [{"lane": "near", "ordered": -14, "received": -4, "quantity": 8}]
    assert seen(router, receipts=dated, as_of="2024-03-15") == seen(router, receipts=counted)
    assert seen(router, receipts=counted)["lane_0_lead_time"] > seen(router)["lane_0_lead_time"]


def test_what_receipts_cannot_say_is_told(router: Recommender, recommender: Recommender) -> None:
    """On time is measured by the promise that the policy learned with; lanes that always take as
    long teach nothing."""
    [usual] = router._env.net.arrays.beliefs.promised[:1].tolist()

    def codes(**fields: Any) -> set[str]:
        row = {"lane": "near", "ordered": -9, "received": -7, "quantity": 8, **fields}
        return {w.code for w in router.recommend(request(**SHELF, receipts=[row])).warnings}

    assert "PROMISE_UNUSED" not in codes() | codes(promised=usual - 9)
    assert "PROMISE_UNUSED" in codes(promised=usual - 8)
    with pytest.raises(RequestError, match=r"receipts\[0\].promised: is before ordered"):
        codes(promised=-10)
    row = {"to": "warehouse", "item": "item_00", "ordered": -3, "received": -1, "quantity": 5}
    assert "RECEIPTS_UNUSED" in {
        w.code for w in recommender.recommend(request(receipts=[row])).warnings
    }


def test_what_is_overdue_and_cancelled(router: Recommender) -> None:
    """Open orders have dates, too; what is cancelled is no longer waited for."""
    order = {"lane": "near", "quantity": 30, "ordered": -9}
    assert seen(router, open_orders=[order])["lane_0_overdue"] > 0.0
    receipt = {"lane": "near", "ordered": -3, "received": -1, "quantity": 1}
    assert seen(router, open_orders=[order], receipts=[receipt])["lane_0_overdue"] > 0.0
    dropped = {"lane": "near", "ordered": -9, "cancelled": 30}
    assert seen(router, receipts=[receipt, dropped])["lane_0_overdue"] == 0.0


def test_work_in_progress_arrives(router: Recommender) -> None:
    """Begun, so it doesn't wait at the sender."""
    row = {"lane": "near", "quantity": 9}
    router.recommend(request(**SHELF, wip=[row]))
    assert router._env.state.owed[0, 0] == 0.0
    assert router._env.state.in_transit_total[0, 0] == 9.0
    router.recommend(request(**SHELF, open_orders=[row]))
    assert router._env.state.owed[0, 0] == 9.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lane_status": [{"lane": "nar", "status": "up"}]}, "lane_status[0].lane: lane 'nar' is"),
        ({"lane_status": [{"lane": "near", "status": "up"}]}, "fits 3 regimes"),
        ({"lane_status": [{"lane": "near", "status": "dwn"}]}, "Did you mean 'down'?"),
        ({"lane_status": [{"regime": "mill", "status": "up", "date": 2}]}, "after as_of"),
        (
            {"lane_status": [{"regime": "mill", "status": s} for s in ("up", "down")]},
            "'mill' is 'up' by a row before",
        ),
        ({"forecasts": [{"regime": "storm", "status": "up", "target_date": 0}]}, "after as_of"),
        ({"prices": [{"lane": "x", "unit_price": 1}]}, "prices[0].lane: lane 'x' is unknown"),
        ({"prices": [{"lane": "near", "unit_price": 1}] * 2}, "given twice"),
        ({"receipts": [{"lane": "near", "ordered": -2, "received": -4, "quantity": 1}]}, "before"),
        ({"receipts": [{"lane": "near", "ordered": "2024-01-01"}]}, "as_of is missing"),
        ({"scope": {"locations": ["shp"]}}, "scope.locations[0]: location 'shp' is unknown"),
    ],
)
def test_what_does_not_fit_is_named(
    router: Recommender, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError) as refused:
        router.recommend(request(**{**SHELF, **fields}))
    assert message in str(refused.value)


def test_only_what_is_asked_for_is_answered(recommender: Recommender) -> None:
    """A row of stock gives its lines; scope names more, by place, item and supplier."""
    row = {"location": "store_001", "item": "item_00", "on_hand": 3}
    body = {"stock": [row], "include_zero": True}

    def lanes(**scope: Any) -> set[str]:
        answer = recommender.recommend(request(**body, scope=scope))
        assert answer.summary.lines <= len(answer.lines)
        return {line.lane for line in answer.lines}

    alone = recommender.recommend(request(**body, scope=None))
    assert [line.lane for line in alone.lines] == ["warehouse > store_001 item_00"]
    assert alone.summary.units == alone.lines[0].quantity
    every = {"locations": None, "items": None, "suppliers": None}
    assert len(lanes(**every)) == len(lanes()) == 8
    assert lanes(locations=["store_000"]) == {f"warehouse > store_000 item_0{i}" for i in (0, 1)}
    assert len(lanes(items=["item_01"])) == 4
    assert len(lanes(suppliers=["warehouse"])) == 6
    assert lanes(suppliers=["warehouse"], items=["item_01"], locations=["warehouse"]) == set()
    whole = recommender.recommend(request(**body))
    assert alone.lines[0] in whole.lines


def test_stale_stock_falls_back_and_old_stock_is_refused(recommender: Recommender) -> None:
    rows = [
        {"location": "store_000", "item": "item_00", "on_hand": 3, "date": "2026-11-18"},
        {"location": "store_001", "item": "item_00", "on_hand": 3, "date": -2},
    ]
    answer = recommender.recommend(request(stock=rows, as_of="2026-11-21", include_zero=True))
    [stale] = [line for line in answer.lines if line.fallback]
    assert stale.location == "store_000"
    assert stale.quantity == stale.classical
    assert answer.summary.changed_lines > 0  # the others are the model's
    assert answer.fallback.used
    assert answer.fallback.share_lines == pytest.approx(1 / 8)
    notice = next(w for w in answer.warnings if w.code == "STALE_STOCK")
    assert notice.where == ["item_00@store_000"]
    with pytest.raises(RequestError, match="counted 20 days before as_of; expected at most 14"):
        recommender.recommend(request(stock=rows, as_of="2026-12-08"))
    with pytest.raises(RequestError, match="as_of is missing"):
        recommender.recommend(request(stock=rows))


def test_answers_may_grow() -> None:
    """A client that was written before reads answers with new fields; requests stay strict."""
    answer = RecommendationResponse.model_json_schema(mode="serialization")
    parts = [answer, *answer["$defs"].values()]
    assert not any("additionalProperties" in part and part["additionalProperties"] is False
                   for part in parts)  # fmt: skip
    request_schema = RecommendationRequest.model_json_schema()
    assert request_schema["additionalProperties"] is False


def test_transfers_are_what_lanes_asked_of_a_place_with_customers(
    recommender: Recommender,
) -> None:
    row = {"location": "warehouse", "item": "item_00", "quantities": [4.0], "transfers": [1.0]}
    with pytest.raises(RequestError, match="has no customers"):
        recommender.recommend(request(recent_sales=[row]))
    assert np.isnan(recommender._reader.read(request(recent_sales=[])).snapshot.asked).all()
