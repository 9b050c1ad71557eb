"""The front before the real interface: who gets in, what is refused, what is told of it."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.api import build_api
from serving.front.body import BodyReader
from serving.front.front import Front
from serving.front.keys import Keys, new_key
from serving.front.settings import FrontSettings
from serving.live import LivePolicy
from serving.schemas import ErrorAnswer
from serving.source import Source

URL = "/v1/recommendations"
ROLES = ("read", "recommend", "decide", "operate")
KEYS = {role: new_key(role, role) for role in ROLES}
BODY: dict[str, Any] = {"stock": [{"location": "store_000", "item": "item_00", "on_hand": 3}]}


@pytest.fixture(scope="module")
def live(artifact_folder: Path) -> LivePolicy:
    return LivePolicy(Source(artifact=str(artifact_folder)))


def front(live: LivePolicy, with_keys: bool = False, **settings: Any) -> TestClient:
    keys = Keys("\n".join(line for _, line in KEYS.values())) if with_keys else None
    bodies = BodyReader(limit=settings.pop("max_body", 2**20), held=settings.pop("held", 2**22))
    app = Front(build_api(live), FrontSettings(**settings), keys, bodies)
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def locked(live: LivePolicy) -> TestClient:
    return front(live, with_keys=True)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        bearer("wrong"),
        bearer(KEYS["operate"][1].split()[2]),  # its hash
        {"Authorization": f"Basic {KEYS['operate'][0]}"},
        {"Authorization": f"Bearer {KEYS['operate'][0]}, Bearer x"},
        {"X-API-Key": KEYS["operate"][0]},
    ],
)
def test_without_a_valid_key_nothing_is_told(locked: TestClient, headers: dict[str, str]) -> None:
    """401 for every path, unknown ones too, but for whether the process lives and is ready."""
    for method, path in [
        ("POST", URL), ("GET", "/v1/health"), ("GET", "/v1/policies"), ("GET", "/v1/metrics"),
        ("GET", "/openapi.json"), ("GET", "/docs"), ("GET", "/-/routes"), ("PUT", "/v1/nothing"),
        ("POST", "/v1/policies/1/promote"), ("GET", "/v1/health/../metrics"),
        ("GET", "//v1/metrics"), ("GET", "/v1/health/live/"),
        ("GET", "/v1/health/live/../../metrics"),
    ]:  # fmt: skip
        got = locked.request(method, path, headers=headers)
        assert got.status_code == 401, path
        assert got.headers["www-authenticate"] == "Bearer"
        ErrorAnswer.model_validate_json(got.content)
    for path in ("/v1/health/live", "/v1/health/ready"):
        assert locked.get(path, headers=headers).json() == {"status": "ok"}


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_do_its_own(locked: TestClient, role: str) -> None:
    """All may read; the description of the interface is off where there are keys."""
    key = bearer(KEYS[role][0])
    assert locked.get("/v1/health", headers=key).status_code == 200
    assert locked.get("/v1/metrics", headers=key).status_code == 200
    assert locked.get("/openapi.json", headers=key).status_code == 404
    asked = locked.post(URL, json=BODY, headers=key)
    assert asked.status_code == (200 if role == "recommend" else 403)
    operated = locked.post("/v1/policies/1/promote", json={}, headers=key)
    assert (operated.status_code == 403) == (role != "operate")


def test_without_keys_nobody_operates(live: LivePolicy) -> None:
    got = front(live).post("/v1/policies/1/promote", json={})
    assert got.status_code == 403


def test_a_key_has_a_rate_of_its_own(live: LivePolicy) -> None:
    """Twice the rate in a burst; another key isn't held up."""
    client = front(live, with_keys=True, rate=1.0)
    one, other = bearer(KEYS["read"][0]), bearer(KEYS["operate"][0])
    got = [client.get("/v1/nothing", headers=one) for _ in range(6)]
    assert [answer.status_code for answer in got[:2]] == [404, 404]
    assert got[-1].status_code == 429
    assert got[-1].headers["retry-after"] == "1"
    assert client.get("/v1/health", headers=other).status_code == 200


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("application/json", 200), ("Application/JSON; charset=utf-8", 200), ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415), ("application/jsonx", 415), ("", 415),
    ],
)  # fmt: skip
def test_a_body_has_to_be_declared_as_json(live: LivePolicy, media: str, status: int) -> None:
    headers = {"Content-Type": media} if media else {}
    got = front(live).post(URL, content=json.dumps(BODY), headers=headers)
    assert got.status_code == status


def test_a_large_body_is_refused(live: LivePolicy) -> None:
    """Announced or not: beyond the limit nothing is read on; nor where too many come at once."""
    client, media = front(live, max_body=1000), {"Content-Type": "application/json"}
    for content in (b"x" * 1001, (b"x" * 100 for _ in range(20))):
        got = client.post(URL, content=content, headers=media)
        assert got.status_code == 413
        assert got.headers["connection"] == "close"
    assert client.post(URL, content=b"x" * 1000, headers=media).status_code == 400
    crowded = front(live, held=500)
    got = crowded.post(URL, content=b"x" * 501, headers=media)
    assert (got.status_code, got.headers["retry-after"]) == (503, "1")
    assert crowded.post(URL, content=b"x" * 500, headers=media).status_code == 400


def test_beyond_its_room_a_request_is_refused_at_once() -> None:
    """While the others are still being answered, and with JSON that says when to come back."""

    async def play() -> None:
        may_end, begun = asyncio.Event(), 0

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            nonlocal begun
            begun += 1
            await may_end.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        app = Front(slow, FrontSettings(at_once=2))
        held = [asyncio.create_task(ask(app)) for _ in range(2)]
        while begun < 2:
            await asyncio.sleep(0)
        refused = await ask(app)
        assert refused["status"] == 503
        assert refused["headers"][b"retry-after"] == b"1"
        assert ErrorAnswer.model_validate_json(refused["body"])
        may_end.set()
        assert [(await task)["status"] for task in held] == [200, 200]
        assert (await ask(app))["status"] == 200

    asyncio.run(play())


async def ask(app: Front, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """POST an empty object, below HTTP."""
    sent: dict[str, Any] = {"body": b""}
    all_headers = {"content-type": "application/json", **(headers or {})}
    scope = {
        "type": "http", "method": "POST", "path": URL, "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in all_headers.items()],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            sent.update(status=message["status"], headers=dict(message["headers"]))
        sent["body"] += message.get("body", b"")

    await app(scope, receive, send)
    return sent


@pytest.mark.parametrize(
    ("status", "answered"), [(503, 503), (408, 504), (404, 503), (500, 503), (None, 503)]
)
def test_what_ray_serve_says_itself_becomes_json(status: int | None, answered: int) -> None:
    """Its texts, or, where a replica is lost, nothing at all."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if status is not None:
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b"a text"})

    got = asyncio.run(ask(Front(serve, FrontSettings())))
    assert got["status"] == answered
    ErrorAnswer.model_validate_json(got["body"])
    assert (b"retry-after" in got["headers"]) == (answered == 503)


def test_a_caller_cannot_steer_ray_serve() -> None:
    """Its own headers, and the key, end at the front."""
    seen: dict[bytes, bytes] = {}

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope["headers"])

    headers = {
        "x-request-timeout-seconds": "-1", "serve_multiplexed_model_id": "a",
        "x-request-disconnect-disabled": "?1", "authorization": "Bearer x", "x-request-id": "r1",
    }  # fmt: skip
    asyncio.run(ask(Front(serve, FrontSettings()), headers))
    assert set(seen) == {b"content-type", b"content-length", b"x-request-id"}
    assert seen[b"x-request-id"] == b"r1"


def test_a_request_is_told_of_in_log_and_metrics(live: LivePolicy, tmp_path: Path) -> None:
    """By its id, which comes back; without key, header or body."""
    path = tmp_path / "log" / "access.jsonl"
    client = front(live, with_keys=True, access_log=str(path))
    key = KEYS["recommend"][0]
    got = client.post(URL, json=BODY, headers={**bearer(key), "X-Request-ID": "night-7"})
    assert got.headers["x-request-id"] == "night-7"
    assert "x-echelon-counts" not in got.headers
    odd = client.get("/v1/health", headers={"X-Request-ID": "a b\x01"})
    assert re.fullmatch("[0-9a-f]{32}", odd.headers["x-request-id"])
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert (first["request_id"], first["status"], first["key"]) == ("night-7", 200, "recommend")
    assert first["model"] == "echelon None"
    assert (second["status"], second["reason"], second["key"]) == (401, "key", None)
    assert key not in path.read_text()
    assert "store_000" not in path.read_text()
    metrics = client.get("/v1/metrics", headers=bearer(key)).text
    lines = len(got.json()["lines"])
    assert f'echelon_lines_total{{model="echelon",version="None"}} {float(lines)}' in metrics
    assert 'echelon_requests_total{path="/v1/recommendations",status="200"} 1.0' in metrics
    assert 'echelon_refused_total{reason="key"} 1.0' in metrics
    assert "echelon_ready 1.0" in metrics


def test_readiness_and_metrics_without_a_replica() -> None:
    """The process lives, but isn't ready; a scrape is answered all the same."""

    async def nothing(scope: Any, receive: Any, send: Any) -> None:
        return

    client = TestClient(Front(nothing, FrontSettings()))
    assert client.get("/v1/health/live").status_code == 200
    ready = client.get("/v1/health/ready")
    assert (ready.status_code, ready.headers["retry-after"]) == (503, "1")
    assert "echelon_ready 0.0" in client.get("/v1/metrics").text
