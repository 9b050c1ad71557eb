"""The Python client against the HTTP interface, behind a front that is busy, gone or in the way."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from envs.errors import ServiceError
from envs.scenario import Scenario
from evaluation.artifact.artifact import load_artifact
from evaluation.recommendation.recommender import Recommender
from evaluation.recommendation.schemas import OpenOrder, RecommendationRequest, StockLevel
from serving.api import build_api
from serving.client import EchelonClient
from serving.front.front import Front
from serving.front.keys import Keys, new_key
from serving.front.settings import FrontSettings
from serving.live import LivePolicy
from serving.source import Source
from tests.evaluation.recommendation.artifacts import write_artifact
from tests.serving.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
STOCK = StockLevel(location="store_000", item="item_00", on_hand=3.0)
REQUEST = RecommendationRequest(
    stock=[STOCK],
    open_orders=[OpenOrder(source="warehouse", to="store_001", item="item_00", quantity=2.0)],
)


class Passage(ThreadingHTTPServer):
    """Hands requests on, but for the first ones: each meets the next fate."""

    daemon_threads = True

    def __init__(self, api: TestClient) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api, self.fates, self.seen = api, list[str](), list[tuple[bytes, dict[str, str]]]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Passage

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((body, {k.lower(): v for k, v in self.headers.items()}))
        fate, _, retry_after = (self.server.fates or ["well"]).pop(0).partition(" ")
        status, headers, content = int(fate) if fate.isdecimal() else 200, {}, b"<h1>Busy</h1>"
        if retry_after:
            headers["Retry-After"] = retry_after
        if fate == "well":
            got = self.server.api.request(method, self.path, content=body)
            status, content = got.status_code, got.content
        if fate == "gone":
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) + 100 * (fate == "cut")))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def api(artifact_folder: Path) -> Iterator[TestClient]:
    with TestClient(build_api(LivePolicy(Source(artifact=str(artifact_folder))))) as api:
        yield api


@pytest.fixture
def front(api: TestClient) -> Iterator[Passage]:
    with Passage(api) as front:
        thread = threading.Thread(target=front.serve_forever, args=(0.01,))
        thread.start()
        yield front
        front.shutdown()
        thread.join()


def asking(front: Passage, **options: Any) -> EchelonClient:
    return EchelonClient(front.url, **{"first_pause": 0.001, **options})


def test_the_answers_have_their_types(front: Passage, artifact_folder: Path) -> None:
    """Lines as the recommender gives them; health and policies of the same model."""
    with asking(front) as client:
        answer = client.recommend(REQUEST)
        health, policies = client.health(), client.policies()
    expected = Recommender(load_artifact(artifact_folder)).recommend(REQUEST)
    assert answer.lines == expected.lines
    assert answer.summary == expected.summary
    assert answer.model == health.model == policies.champion
    assert health.status == "ok"


@pytest.mark.parametrize(
    "fates",
    [
        ["503 0", "429", "504"],
        ["gone", "cut"],
        ["502", "503 Sun, 29 Nov 2026 08:00:00 GMT"],  # a date, which is over
        ["503 soon"],
    ],
    ids=str,
)
def test_a_request_is_repeated_until_it_is_answered(front: Passage, fates: list[str]) -> None:
    """The same body each time, request id included."""
    front.fates = list(fates)
    with asking(front) as client:
        answer = client.recommend(REQUEST)
    assert answer.lines
    assert len(front.seen) == len(fates) + 1
    assert len({body for body, _ in front.seen}) == 1
    assert len(answer.request_id or "") == 32
    assert len({headers["x-request-id"] for _, headers in front.seen}) == 1


def test_it_waits_as_long_as_the_service_says(front: Passage) -> None:
    """Longer than it would wait for an answer at all: no second try."""
    front.fates = ["503 3600"]
    with (
        asking(front) as client,
        pytest.raises(ServiceError, match="answers 503: Service Unavailable") as caught,
    ):
        client.health()
    assert caught.value.status == 503
    assert len(front.seen) == 1


def test_a_promotion_is_never_repeated(front: Passage) -> None:
    """It may have been done where the answer is lost."""
    for fate in ("gone", "503 0"):
        front.fates = [fate]
        with asking(front) as client, pytest.raises(ServiceError):
            client.promote("7", "better")
    assert len(front.seen) == 2


def test_what_is_wrong_with_a_request_is_told_at_once(front: Passage) -> None:
    """No second try; every field and message is there."""
    wrong = RecommendationRequest(stock=[STOCK.model_copy(update={"location": "mars"}), STOCK])
    with asking(front) as client, pytest.raises(ServiceError) as caught:
        client.recommend(wrong)
    assert "/v1/recommendations answers 422: stock[0].location: location 'mars'" in str(
        caught.value
    )
    [(field, message)] = caught.value.errors
    assert (field, caught.value.status) == ("stock[0].location", 422)
    assert message.startswith("location 'mars' is unknown")
    assert f"(request {front.seen[0][1]['x-request-id']} in" in str(caught.value)
    assert len(front.seen) == 1


@pytest.mark.parametrize(
    ("fate", "message"),
    [
        ("401", "answers 401: Unauthorized Give key=..., or set ECHELON_API_KEY."),
        ("403", "answers 403: Forbidden Use a key whose role may do this."),
        ("500", "answers 500: Internal Server Error"),
        ("200", "answers 200, but not as Echelon does"),
    ],
)
def test_other_answers_say_what_to_do(front: Passage, fate: str, message: str) -> None:
    """None of them is asked for again."""
    front.fates = [fate]
    with asking(front) as client, pytest.raises(ServiceError) as caught:
        client.health()
    assert message in str(caught.value)
    assert len(front.seen) == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:9", "gave no answer in 1 tries (ConnectError"),
        ("localhost:8000", "can't be asked"),
        ("http://", "can't be asked"),
        ("http://ann:s3cret@127.0.0.1:9", "http://***@127.0.0.1:9"),
    ],
)
def test_no_service_there(url: str, message: str) -> None:
    with EchelonClient(url, retry_for=0.0) as client, pytest.raises(ServiceError) as caught:
        client.health()
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.status is None


def test_the_key_goes_into_the_header_alone(
    front: Passage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the argument, else the environment; never into a message."""
    monkeypatch.setenv("ECHELON_API_KEY", "of-environment")
    front.fates = ["200", "401", "401"]
    with asking(front) as one, asking(front, key="given") as other, asking(front, key="") as none:
        for client in (one, other, none):
            with pytest.raises(ServiceError) as caught:
                client.health()
            assert "given" not in str(caught.value)
            assert "of-environment" not in str(caught.value)
    keys = [headers.get("authorization") for _, headers in front.seen]
    assert keys == ["Bearer of-environment", "Bearer given", None]


@pytest.mark.nightly  # the gate plays, in processes of their own
def test_an_operator_moves_a_network(
    registry: Registry, artifact_folder: Path, chain: Scenario
) -> None:
    """To its base policy, another version, and back; a key that may not is told so."""
    registry.register(artifact_folder)
    source = Source(model="echelon", tracking_uri=registry.uri, cache=str(registry.folder / "c"))
    operator, operators = new_key("ann", "operate")
    reader, readers = new_key("bob", "read")
    front = Front(build_api(LivePolicy(source)), FrontSettings(), Keys(f"{operators}\n{readers}"))
    http = TestClient(front)
    with EchelonClient("http://testserver", key=operator, http=http) as client:
        switched = client.use_classical("it orders too much")
        assert switched.classical_only is not None
        assert (switched.policy, switched.classical_only.who) == ("classical", "ann")
        assert client.health().classical_only == switched.classical_only
        assert client.use_champion("mended", network="echelon").policy == "champion"
        assert client.policies("echelon").champion == client.health().model
    write_artifact(registry.folder / "next", chain, seed=9)
    second = registry.register(registry.folder / "next", alias=None)
    with EchelonClient("http://testserver", key=operator, http=http) as client:
        assert client.promote(second, "better", force=True).champion == second
        assert client.health().model.version == second
        assert client.rollback(second, "worse after all").champion == "1"
        with pytest.raises(ServiceError, match=f"/{second}/rollback answers 4"):
            client.rollback(second, "again")
    with (
        EchelonClient("http://testserver", key=reader, http=http) as client,
        pytest.raises(ServiceError, match=r"403: .*operate.* Use a key whose role may do this"),
    ):
        client.use_classical("no")


def test_the_client_is_light() -> None:
    """In a process of its own it loads none of what computes orders."""
    code = """
import sys, serving.client
heavy = {"ray", "torch", "mlflow", "numpy", "numba", "fastapi", "starlette", "hydra", "pandas"}
print(*heavy & {name.partition(".")[0] for name in sys.modules})
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "\n"
