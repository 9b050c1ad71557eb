"""The dashboard, the alerts and their pages are of the metrics that the endpoint has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from serving.api import build_api
from serving.front.front import Front
from serving.front.settings import FrontSettings
from serving.live import LivePolicy
from serving.source import Source

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "operations"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]


def expressions() -> list[str]:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return shown + [rule["expr"] for rule in RULES]


@pytest.fixture(scope="module")
def scraped(artifact_folder: Path) -> dict[str, set[str]]:
    """Names of samples, with their labels' names, after a request and a refusal."""
    live = LivePolicy(Source(artifact=str(artifact_folder)))
    live._last_poll = "2026-11-22T00:00:00+00:00"  # as where an alias is served
    client = TestClient(Front(build_api(live), FrontSettings()))
    client.post("/v1/recommendations", json={"stock": [], "scope": {}})
    client.post("/v1/recommendations", content=b"")
    families = text_string_to_metric_families(client.get("/v1/metrics").text)
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def test_every_metric_that_is_asked_for_is_in_a_scrape(scraped: dict[str, set[str]]) -> None:
    """With the labels it is asked by."""
    for expression in expressions():
        names = re.findall(r"echelon_\w+", expression)
        assert names
        for name in names:
            assert name in scraped, f"{name} in {expression}"
        for labels in re.findall(r"by \(([^)]*)\)", expression):
            for label in labels.split(","):
                assert label.strip() in scraped[names[0]] | {"instance"}, expression
        for name, label in re.findall(r"(echelon_\w+)\{(\w+)=", expression):
            assert label in scraped[name], expression


def test_every_metric_is_shown(scraped: dict[str, set[str]]) -> None:
    """But for what Prometheus' client adds."""
    asked = " ".join(expressions())
    added = ("_created", "_sum", "_count")
    assert [n for n in scraped if not n.endswith(added) and n not in asked] == []


def test_every_alert_has_its_page() -> None:
    """Which names it, its rule and what to do; and no page is of an alert that is gone."""
    pages = {page.name: page.read_text() for page in (FOLDER / "runbooks").iterdir()}
    assert set(pages) == {f"{rule['alert']}.md" for rule in RULES}
    listed = (FOLDER / "README.md").read_text()
    for rule in RULES:
        page = pages[f"{rule['alert']}.md"]
        assert rule["annotations"]["runbook_url"] == f"docs/operations/runbooks/{rule['alert']}.md"
        assert page.startswith(f"# {rule['alert']}: ")
        assert f"`{rule['expr']}` for {rule['for']}" in page
        assert "\n1. " in page
        assert f"runbooks/{rule['alert']}.md" in listed
