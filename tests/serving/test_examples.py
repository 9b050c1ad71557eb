"""The examples of docs/how_to/client.md as they stand there, and the nightly batch, beside a real
`echelon serve`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from echelon import main
from envs.scenario import Scenario
from evaluation.recommendation.schemas import RecommendationRequest
from serving.client import EchelonClient
from tests.evaluation.batch.folders import CHAIN, write_tables
from tests.evaluation.batch.test_lines import read_lines
from tests.evaluation.recommendation.artifacts import write_artifact
from tests.serving.registry import Registry
from tests.serving.test_cli import serving

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how_to" / "client.md"

pytestmark = pytest.mark.nightly  # Ray Serve starts


def test_the_examples_run_and_the_batch_agrees(
    registry: Registry, chain: Scenario, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every block, in one namespace for Python; the same lines from tables as from the service."""
    write_artifact(tmp_path / "policy", chain)
    registry.register(tmp_path / "policy")
    with serving(registry) as server:
        printed = [shell(block) for block in blocks("sh", server.url)]
        names: dict[str, Any] = {"__name__": "page"}
        for number, block in enumerate(blocks("python", server.url), 1):
            exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
        with EchelonClient(server.url) as client:
            body = json.dumps({**CHAIN, "scope": {}, "include_zero": True})
            answer = client.recommend(RecommendationRequest.model_validate_json(body))
    orders, health, policies = map(json.loads, printed)
    assert orders["lines"] == [line.model_dump() for line in names["answer"].lines]
    assert health["model"] == orders["model"] == policies["champion"]
    output = capsys.readouterr().out
    assert re.search(r"item_00 to store_000: \d+ by warehouse > store_000 item_00", output)
    assert "echelon 1 forecast_base_stock" in output
    [last] = [text for kind, text in fenced() if not kind and text.startswith("422")]
    assert output.endswith(last)

    write_tables(tmp_path / "tables", CHAIN, ".parquet")
    options = ["model=echelon", f"tracking.uri={registry.uri}", "include_zero=true"]
    out = tmp_path / "lines.parquet"
    assert main(["recommend", f"data={tmp_path / 'tables'}", f"out={out}", *options]) == 0
    assert read_lines(out) == answer.lines


def fenced() -> list[tuple[str, str]]:
    """Language and text of every block of the page."""
    return re.findall(r"^```(\w*)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def blocks(kind: str, url: str) -> list[str]:
    """Those of a language, which ask the service at the URL."""
    found = [text.replace("http://127.0.0.1:8000", url) for k, text in fenced() if k == kind]
    assert len(found) == 3
    return found


def shell(block: str) -> str:
    """Run curl, a package of Debian that is installed where it is missing."""
    if shutil.which("curl") is None:
        subprocess.run(["apt-get", "update"], check=True)
        subprocess.run(["apt-get", "install", "--yes", "curl"], check=True)
    done = subprocess.run(["bash", "-ec", block], capture_output=True, text=True)
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done.stdout
