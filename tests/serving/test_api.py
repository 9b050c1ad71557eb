"""The HTTP interface in process: what is answered, and that nothing bad is ever a 5xx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from evaluation.recommendation.schemas import RecommendationRequest, RecommendationResponse
from serving.api import build_api
from serving.front.front import Front
from serving.front.settings import FrontSettings
from serving.live import LivePolicy
from serving.schemas import ErrorAnswer
from serving.source import Source

URL = "/v1/recommendations"
JSON = {"Content-Type": "application/json"}
STOCK: dict[str, Any] = {"location": "store_000", "item": "item_00", "on_hand": 3}
GOOD: dict[str, Any] = {
    "request_id": "r-1",
    "as_of": "2026-11-22",
    "stock": [STOCK],
    "open_orders": [
        {"to": "store_000", "item": "item_00", "quantity": 4, "eta": "2026-11-23"},
        {"lane": "supplier > warehouse item_00", "quantity": 10.5, "due_in_periods": 2},
        {"from": "warehouse", "to": "store_001", "item": "item_01", "quantity": 1},
    ],
    "recent_sales": [{"location": "store_000", "item": "item_00", "quantities": [4, 6.5, 3]}],
}


@pytest.fixture(scope="module")
def client(artifact_folder: Path) -> Iterator[TestClient]:
    live = LivePolicy(Source(artifact=str(artifact_folder)))
    front = Front(build_api(live), FrontSettings())
    with TestClient(front, raise_server_exceptions=False) as client:
        yield client


def post(client: TestClient, body: Any) -> Any:
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    return client.post(URL, content=content, headers=JSON)


def test_a_snapshot_is_answered_with_orders(client: TestClient) -> None:
    """Model, lines, summary and what was assumed, in the documented form."""
    got = post(client, GOOD)
    assert got.status_code == 200
    answer = RecommendationResponse.model_validate_json(got.content)
    assert answer.request_id == "r-1"
    assert answer.model.scenario == "chain"
    assert answer.model.version is None
    assert len(answer.model.network_hash) == 64
    assert not answer.fallback.used
    assert {w.code for w in answer.warnings} == {"MISSING_STOCK", "MISSING_SALES"}
    assert answer.lines
    assert all(line.quantity > 0 or line.delta != 0 for line in answer.lines)
    every = post(client, {**GOOD, "include_zero": True, "scope": {}}).json()["lines"]
    assert len(every) == 8


def test_health_and_policies(client: TestClient) -> None:
    health = client.get("/v1/health").json()
    assert health["status"] == "ok"
    assert health["last_load_error"] is None
    assert health["uptime_seconds"] >= 0
    policies = client.get("/v1/policies").json()
    assert policies["champion"] == health["model"]
    assert policies["classical"] == {"name": "forecast_base_stock", "parameters": {}}


def test_the_interface_describes_itself(client: TestClient) -> None:
    """Paths, the request with its parts, and errors; every reference leads somewhere."""
    document = client.get("/openapi.json").json()
    switches = {
        f"/v1/policies/{rest}"
        for rest in ("classical", "champion", "{version}/promote", "{version}/rollback")
    }
    assert set(document["paths"]) == {URL, "/v1/health", "/v1/policies"} | switches
    body = document["paths"][URL]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/RecommendationRequest"}
    known = document["components"]["schemas"]
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in known
    for path, operations in document["paths"].items():
        for operation in operations.values():
            answers = operation["responses"]
            of_body = {"400", "408", "413", "415", "422"} if "post" in operations else set()
            of_all = {"200", "401", "403", "405", "429", "500", "503", "504"}
            own = {"422"} if path == "/v1/policies" else {"409"} if path in switches else set()
            assert set(answers) - {"202"} == of_all | of_body | own
            for status in set(answers) - {"200", "202"}:
                assert all("example" in kind for kind in answers[status]["content"].values())
    assert client.get("/docs").status_code == 404


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref":
                yield item
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def with_stock(**fields: Any) -> dict[str, Any]:
    return {"stock": [{**STOCK, **fields}]}


def with_order(**fields: Any) -> dict[str, Any]:
    return {"stock": [], "open_orders": [{"quantity": 1, **fields}]}


def with_sales(**fields: Any) -> dict[str, Any]:
    row = {"location": "store_000", "item": "item_00", "quantities": [1], **fields}
    return {"stock": [], "recent_sales": [row]}


TO = {"to": "store_000", "item": "item_00"}


@pytest.mark.parametrize(
    ("body", "status", "field", "message"),
    [
        ("", 400, "", "JSON"),
        ("{", 400, "", "JSON"),
        (b"\xff\xfe", 400, "", "JSON"),
        ("[" * 100_000, 400, "", "JSON"),
        ('{"stock": [], "request_id": "\\ud800"}', 400, "", "JSON"),
        ("null", 422, "", "object"),
        ("[]", 422, "", "object"),
        ("{}", 422, "stock", "required"),
        ({"stock": {}}, 422, "stock", "array"),
        ({"stock": [], "stcok": []}, 422, "stcok", "unknown field"),
        ({"stock": [], "policy": "magic"}, 422, "policy", "champion"),
        ({"stock": [], "as_of": 20260101}, 422, "as_of", "date"),
        ({"stock": [], "as_of": "tomorrow"}, 422, "as_of", "date"),
        ({"stock": [], "include_zero": 1}, 422, "include_zero", "boolean"),
        ({"stock": [], "request_id": "x" * 300}, 422, "request_id", "200"),
        (with_stock(on_hand=-1), 422, "stock[0].on_hand", "greater than or equal"),
        (with_stock(on_hand="3"), 422, "stock[0].on_hand", "number"),
        (with_stock(on_hand=True), 422, "stock[0].on_hand", "number"),
        (with_stock(on_hand=None), 422, "stock[0].on_hand", "number"),
        (with_stock(on_hand=float("nan")), 422, "stock[0].on_hand", "finite"),
        (with_stock(on_hand=2e9), 422, "stock[0].on_hand", "less than"),
        (with_stock(on_hand=10**400), 422, "stock[0].on_hand", ""),
        (with_stock(lots=[]), 422, "stock[0].lots", "unknown field"),
        (with_stock(location="mars"), 422, "stock[0].location", "'mars' is unknown"),
        (with_stock(location="warehous"), 422, "stock[0].location", "Did you mean 'warehouse'?"),
        (with_stock(item="tea"), 422, "stock[0].item", "'tea' is unknown"),
        (with_stock(location="warehouse", backorders=1), 422, "stock[0].backorders", "customers"),
        ({"stock": [STOCK, STOCK]}, 422, "stock[1]", "given twice"),
        (with_order(), 422, "open_orders[0]", "give lane, or to and item"),
        (with_order(to="store_000"), 422, "open_orders[0]", "give lane, or to and item"),
        (with_order(lane="x", **TO), 422, "open_orders[0]", "not both"),
        (with_order(lane="x"), 422, "open_orders[0].lane", "'x' is unknown"),
        (with_order(to="mars", item="item_00"), 422, "open_orders[0].to", "'mars' is unknown"),
        (with_order(to="store_000", item="x"), 422, "open_orders[0].item", "'x' is unknown"),
        (with_order(**{"from": "mars"}, **TO), 422, "open_orders[0].from", "'mars'"),
        (with_order(**TO, eta="2026-01-01"), 422, "open_orders[0].eta", "as_of is missing"),
        (with_order(**TO, due_in_periods=-1), 422, "open_orders[0].due_in_periods", "greater"),
        (with_order(**TO, due_in_periods=1.5), 422, "open_orders[0].due_in_periods", "integer"),
        (with_order(**{**TO, "quantity": 0}), 422, "open_orders[0].quantity", "greater than"),
        (
            with_order(**TO, eta="2026-01-01", due_in_periods=1),
            422,
            "open_orders[0]",
            "give eta or due_in_periods",
        ),
        (with_sales(quantities=[]), 422, "recent_sales[0].quantities", "at least 1"),
        (with_sales(quantities=[1, -2]), 422, "recent_sales[0].quantities[1]", "greater"),
        (with_sales(quantities=[0] * 1001), 422, "recent_sales[0].quantities", "1000"),
        (with_sales(location="x"), 422, "recent_sales[0].location", "'x' is unknown"),
    ],
)
def test_what_is_wrong_is_named(
    client: TestClient, body: Any, status: int, field: str, message: str
) -> None:
    """Short JSON with the path of the field; never an order."""
    got = post(client, body)
    assert got.status_code == status, got.text
    first = ErrorAnswer.model_validate_json(got.content).errors[0]
    assert first.field == field
    assert message in first.message
    assert len(got.content) < 1000


def test_a_number_too_large_for_a_float_is_refused(client: TestClient) -> None:
    got = post(
        client, '{"stock": [{"location": "store_000", "item": "item_00", "on_hand": 1e400}]}'
    )
    assert got.status_code == 422
    assert got.json()["errors"][0]["field"] == "stock[0].on_hand"


def test_many_mistakes_are_told_up_to_a_limit(client: TestClient) -> None:
    got = post(client, {"stock": [{**STOCK, "location": f"x{i}"} for i in range(500)]})
    assert got.status_code == 422
    assert len(got.json()["errors"]) == 20


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", URL, 405), ("GET", "/", 404), ("PUT", "/v1/health", 405), ("GET", "/v1/secret", 404)],
)
def test_unknown_paths_are_answered_in_the_same_form(
    client: TestClient, method: str, path: str, status: int
) -> None:
    got = client.request(method, path)
    assert got.status_code == status
    ErrorAnswer.model_validate_json(got.content)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["store_000", "item_00", "warehouse", "2026-01-01", 1e308, -0.0]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
NOT_JSON = st.binary(max_size=60).filter(lambda b: not b.strip().startswith(b"{"))


@st.composite
def spoiled(draw: Any) -> Any:
    """The good request with one value, somewhere, replaced, or one key added."""
    body = json.loads(json.dumps(GOOD))
    place = body
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if isinstance(place, dict) and draw(st.integers(0, 5)) == 0:
            place[draw(st.text(min_size=1, max_size=10))] = draw(PLAIN)
            return body
        key = draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
            place = place[key]
            continue
        place[key] = draw(PLAIN)
        return body


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spoiled())
def test_a_spoiled_request_is_answered_or_refused(client: TestClient, body: Any) -> None:
    """Where the request still holds, an answer without NaN; else a 4xx with a field."""
    check(post(client, json.dumps(body)), json.dumps(body))


@settings(max_examples=150, deadline=None)
@given(NOT_JSON | PLAIN.map(lambda value: json.dumps(value).encode()))
def test_anything_at_all_is_refused(client: TestClient, body: bytes) -> None:
    """No body that isn't a request gets an order."""
    got = post(client, body)
    assert 400 <= got.status_code < 500
    check(got, body)


def check(got: Any, body: str | bytes) -> None:
    assert got.status_code in (200, 400, 413, 422), got.text
    json.loads(got.content, parse_constant=no_constant)
    if got.status_code == 200:
        RecommendationRequest.model_validate_json(body)
        RecommendationResponse.model_validate_json(got.content)
    else:
        assert ErrorAnswer.model_validate_json(got.content).errors


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} in an answer")
