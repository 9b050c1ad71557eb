"""Several networks on one endpoint; one that is classical only; the challenger in the shadow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from envs.errors import ConfigError
from envs.scenario import Scenario
from evaluation.artifact.registry import current_version
from evaluation.gate.ledger import Ledger
from serving import promotion
from serving.api import build_api
from serving.front.front import Front
from serving.front.keys import Keys, new_key
from serving.front.settings import FrontSettings
from serving.live import LivePolicy
from serving.service import Service
from serving.source import Source
from tests.evaluation.recommendation.artifacts import write_artifact
from tests.serving.registry import Registry, spoil_weights
from tests.waiting import wait_for

URL = "/v1/recommendations"
BODY: dict[str, Any] = {"stock": [], "scope": {}, "request_id": "r-1"}
KEY, LINE = new_key("ann", "recommend,operate")
HEADERS = {"Authorization": f"Bearer {KEY}"}


def source(registry: Registry, model: str = "echelon", **fields: Any) -> Source:
    return Source(
        model=model,
        tracking_uri=registry.uri,
        poll_seconds=fields.pop("poll_seconds", 60.0),
        cache=str(registry.folder / "cache"),
        **fields,
    )


def client(*lives: LivePolicy) -> TestClient:
    front = Front(build_api(*lives), FrontSettings(), Keys(LINE))
    return TestClient(front, raise_server_exceptions=False, headers=HEADERS)


def quantities(answer: Any) -> dict[str, float]:
    return {line["lane"]: line["quantity"] for line in answer.json()["lines"]}


def test_a_request_names_its_network(registry: Registry, chain: Scenario, tmp_path: Path) -> None:
    """By its name or its model's; each has its own policy, and one may not be left out."""
    for seed, model in enumerate(("echelon-one", "echelon-two")):
        write_artifact(tmp_path / model, chain, seed=seed)
        registry.register(tmp_path / model, model=model)
    one, two = (LivePolicy(source(registry, f"echelon-{name}")) for name in ("one", "two"))
    both = client(one, two)
    got = {name: both.post(URL, json={**BODY, "network": name}) for name in ("one", "two")}
    for name, answer in got.items():
        assert answer.json()["model"]["name"] == f"echelon-{name}"
        alone = client({"one": one, "two": two}[name]).post(URL, json=BODY)
        assert quantities(alone) == quantities(answer)
        by_model = both.post(URL, json={**BODY, "network": f"echelon-{name}"})
        assert quantities(by_model) == quantities(answer)
    assert quantities(got["one"]) != quantities(got["two"])
    for body, message in [
        (BODY, "is missing; give one of one, two"),
        ({**BODY, "network": "tow"}, "Did you mean 'two'?"),
    ]:
        wrong = both.post(URL, json=body)
        assert wrong.status_code == 422
        assert wrong.json()["errors"][0]["field"] == "network"
        assert message in wrong.json()["errors"][0]["message"]
    health = both.get("/v1/health").json()
    assert {name: h["model"]["name"] for name, h in health["networks"].items()} == {
        "one": "echelon-one", "two": "echelon-two",
    }  # fmt: skip
    policies = both.get("/v1/policies", params={"network": "two"}).json()
    assert policies["champion"]["name"] == "echelon-two"
    assert 'echelon_model{model="echelon-two",version="1"} 1.0' in both.get("/v1/metrics").text


def test_one_call_makes_a_network_classical_only(
    registry: Registry, chain: Scenario, tmp_path: Path
) -> None:
    """On every replica after its next look, on those started later, and without the registry."""
    write_artifact(tmp_path / "policy", chain, seed=1)
    registry.register(tmp_path / "policy")
    here, elsewhere = LivePolicy(source(registry)), LivePolicy(source(registry))
    api = client(here)
    champion = api.post(URL, json=BODY)
    classical = api.post(URL, json={**BODY, "policy": "classical"})
    assert quantities(champion) != quantities(classical)

    got = api.post("/v1/policies/classical", json={"reason": "it orders too much"})
    assert got.status_code == 200, got.text
    assert got.json()["policy"] == "classical"
    assert got.json()["classical_only"]["who"] == "ann"
    elsewhere.poll()
    later = LivePolicy(source(registry))
    (registry.folder / "mlflow.db").rename(tmp_path / "gone.db")
    without = LivePolicy(source(registry))
    (tmp_path / "gone.db").rename(registry.folder / "mlflow.db")
    for live in (here, elsewhere, later, without):
        answer = client(live).post(URL, json=BODY)
        assert answer.json()["policy"] == "classical"
        assert answer.json()["warnings"][0]["code"] == "CLASSICAL_ONLY"
        assert quantities(answer) == quantities(classical)
        health = client(live).get("/v1/health").json()
        assert health["classical_only"]["why"] == "it orders too much"
    assert "echelon_classical_only" in api.get("/v1/metrics").text

    assert api.post("/v1/policies/champion", json={"reason": "mended"}).status_code == 200
    elsewhere.poll()
    for live in (here, elsewhere):
        assert quantities(client(live).post(URL, json=BODY)) == quantities(champion)


@pytest.mark.nightly
def test_versions_are_promoted_and_taken_back_by_callers(
    registry: Registry, chain: Scenario, tmp_path: Path
) -> None:
    """As by `echelon promote` and `rollback`; they note the key's name, and their no is told."""
    write_artifact(tmp_path / "policy", chain, seed=1)
    for alias in ("champion", "challenger"):
        registry.register(tmp_path / "policy", alias=alias)
    live = LivePolicy(source(registry))
    api, why = client(live), "it's 'asked', \\ for"

    def move(path: str, **fields: Any) -> str | None:
        """Returns who is served when it is done."""
        got = api.post(f"/v1/policies/{path}", json={"reason": why, **fields})
        assert got.status_code in (200, 202), got.text
        wait_for(lambda: not promotion._busy.locked())
        live.poll()
        assert current_version("echelon", "champion", registry.uri) == (
            live.recommender.info.version
        )
        return live.recommender.info.version

    assert move("challenger/promote") == "1"  # it is no better: it's the same
    assert move("2/promote", force=True) == "2"
    refused = api.post("/v1/policies/1/rollback", json={"reason": why})
    assert refused.status_code == 409
    assert "isn't the champion" in refused.json()["errors"][0]["message"]
    assert move("2/rollback") == "1"
    moves = Ledger("echelon", registry.uri).moves()
    assert [(m.how, m.version, m.who, m.why) for m in moves[-2:]] == [
        ("force", "2", "ann", why), ("rollback", "1", "ann", why),
    ]  # fmt: skip


@pytest.mark.parametrize("version", ["9 force=true", "latest", "%2e%2e", "-1"])
def test_no_version_is_a_conflict(
    registry: Registry, chain: Scenario, tmp_path: Path, version: str
) -> None:
    """Before anything is started."""
    write_artifact(tmp_path / "policy", chain)
    registry.register(tmp_path / "policy")
    api = client(LivePolicy(source(registry)))
    for move in ("promote", "rollback"):
        got = api.post(f"/v1/policies/{version}/{move}", json={"reason": "x"})
        assert got.status_code == 409, got.text


def test_a_folder_cannot_be_switched(artifact_folder: Path) -> None:
    """Nobody would remember it; a body without a reason is refused too."""
    api = client(LivePolicy(Source(artifact=str(artifact_folder))))
    got = api.post("/v1/policies/classical", json={"reason": "x"})
    assert got.status_code == 409
    assert "serve.artifact=champion" in got.json()["errors"][0]["message"]
    assert api.post("/v1/policies/classical", json={}).status_code == 422


def test_the_challenger_answers_into_a_file(
    registry: Registry, chain: Scenario, tmp_path: Path
) -> None:
    """Beside the champion's answers, whose numbers don't change; with what a replay needs."""
    for seed in (1, 2):
        write_artifact(tmp_path / f"policy_{seed}", chain, seed=seed)
    registry.register(tmp_path / "policy_1")
    shadow = registry.folder / "shadow"
    live = LivePolicy(source(registry, shadow=str(shadow), poll_seconds=0.1))

    def rows() -> list[Any]:
        files = list(shadow.glob("echelon-*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    with client(live) as api:
        champion = quantities(api.post(URL, json=BODY))
        registry.register(tmp_path / "policy_2", alias="challenger")

        def ask() -> bool:
            assert quantities(api.post(URL, json=BODY)) == champion
            return bool(rows())

        wait_for(ask)
    row = rows()[0]
    assert (row["champion"], row["challenger"], row["request_id"]) == ("1", "2", "r-1")
    assert row["request"]["stock"] == []
    assert {line["lane"]: line["champion"] for line in row["lines"] if "champion" in line} == (
        champion
    )
    alone = LivePolicy(source(registry, artifact="challenger"))
    challenger = quantities(client(alone).post(URL, json=BODY))
    assert {line["lane"]: line["challenger"] for line in row["lines"] if "challenger" in line} == (
        challenger
    )


def test_a_broken_challenger_harms_nobody(
    registry: Registry, chain: Scenario, tmp_path: Path
) -> None:
    for seed in (1, 2):
        write_artifact(tmp_path / f"policy_{seed}", chain, seed=seed)
    registry.register(tmp_path / "policy_1")
    spoil_weights(registry.files_of(registry.register(tmp_path / "policy_2", alias="challenger")))
    live = LivePolicy(source(registry, shadow=str(registry.folder / "shadow"), poll_seconds=0.1))
    with client(live) as api:
        assert {api.post(URL, json=BODY).status_code for _ in range(5)} == {200}
    assert list((registry.folder / "shadow").iterdir()) == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "args.models is no list"),
        ({"models": "echelon-retail"}, "args.models is no list"),
        ({"models": []}, "expected one or more"),
        ({"models": ["a", "a"]}, "each once"),
        ({"models": ["a/b"]}, "'a/b' is none"),
        ({"models": ["a"], "max_replica": 2}, "Did you mean 'max_replicas'?"),
        ({"models": ["a"], "min_replicas": 2}, "min_replicas is 2 and max_replicas 1"),
        ({"models": ["a", "b"], "artifact": "7"}, "expected champion or challenger"),
    ],
)
def test_a_service_that_cannot_be_is_refused(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        Service.from_plain(args)


def test_the_registry_may_be_named_where_the_replica_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address may hold a password, which belongs into no file."""
    service = Service.from_plain({"models": ["echelon-a"]})
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI"):
        service.sources()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow")
    [one] = service.sources()
    assert (one.tracking_uri, one.network) == ("http://mlflow", "a")
