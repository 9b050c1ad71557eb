"""The batch's lines are the endpoint's, line by line, whatever form the tables have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from conf.compose import compose
from echelon import main
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.artifact.artifact import load_artifact
from evaluation.recommendation.recommender import Recommender
from evaluation.recommendation.schemas import Line, RecommendationRequest
from tests.evaluation.batch.folders import CHAIN, played, write_tables
from tests.evaluation.recommendation.artifacts import write_artifact
from training.commands.train import TrainCommand


def answered(artifact: Path, request: dict[str, Any]) -> list[Line]:
    """Lines of a request that has gone through JSON."""
    body = json.dumps({"scope": {}, "include_zero": True, **request}, default=str)
    recommender = Recommender(load_artifact(artifact))
    return recommender.recommend(RecommendationRequest.model_validate_json(body)).lines


def batch(artifact: Path, folder: Path, out: Path, *options: str) -> None:
    arguments = [f"data={folder}", f"out={out}", f"artifact={artifact}", "include_zero=true"]
    assert main(["recommend", *arguments, *options]) == 0


def read_lines(out: Path) -> list[Line]:
    rows = pd.read_parquet(out).drop(columns="network").to_dict("records")
    return [Line.model_validate(json.loads(json.dumps(row, default=list))) for row in rows]


def compare(scenario: Scenario, request: dict[str, Any], folder: Path) -> list[Line]:
    """From both kinds of tables the same lines as from the request."""
    write_artifact(folder / "policy", scenario, size=0.3)
    last = int(scenario.compiled.arrays.switches.demand_first) - 1
    expected = answered(folder / "policy", request)
    as_of = [f"as_of={request['as_of']}"] if "as_of" in request else []
    for ending in (".csv", ".parquet"):
        write_tables(folder / ending, request, ending, last)
        out = folder / f"lines{ending}.parquet"
        batch(folder / "policy", folder / ending, out, *as_of)
        assert read_lines(out) == expected
    return expected


def test_lines_are_those_of_the_endpoint(chain: Scenario, tmp_path: Path) -> None:
    """With stock-outs, unknown sales, lanes by name and by their ends."""
    lines = compare(chain, CHAIN, tmp_path)
    assert len(lines) == 8
    assert any(line.guardrails for line in lines)
    assert any(line.delta for line in lines)


def smoke(name: str) -> Scenario:
    composed = compose(TrainCommand, [f"scenario={name}", "smoke=true"])
    return replace(build_scenario(composed.command.scenario), warm_up=0)


@pytest.mark.nightly
@pytest.mark.parametrize("path", sorted(Path("conf/scenario").glob("*.yaml")), ids=lambda p: p.stem)
def test_lines_of_every_scenario(path: Path, tmp_path: Path) -> None:
    """Dates, receipts, statuses, forecasts and prices of a run of 12 periods."""
    scenario = smoke(path.stem)
    assert compare(scenario, played(scenario, 12), tmp_path)


def test_a_csv_of_lines_holds_no_formula(tmp_path: Path, chain: Scenario) -> None:
    """Names are as in the network, but for what a spreadsheet would run; numbers are numbers."""
    network = chain.network
    evil = {"store_000": '=HYPERLINK("http://x")', "warehouse": "@sum"}

    def renamed(part: Any, field: str = "node") -> Any:
        return replace(part, **{field: evil.get(getattr(part, field), getattr(part, field))})

    lanes = tuple(
        replace(renamed(lane), inputs=tuple(renamed(use) for use in lane.inputs))
        for lane in network.lanes
    )
    network = replace(
        network,
        nodes=tuple(renamed(node, "id") for node in network.nodes),
        stocks=tuple(renamed(stock) for stock in network.stocks),
        lanes=lanes,
    )
    write_artifact(tmp_path / "policy", replace(chain, network=network))
    stock = [{"location": f"'{evil['store_000']}", "item": "item_00", "on_hand": 3}]
    write_tables(tmp_path / "tables", {"stock": stock}, ".csv")
    out = tmp_path / "lines.csv"
    batch(tmp_path / "policy", tmp_path / "tables", out)
    lines = pd.read_csv(out)
    assert set(lines["location"]) == {"'@sum", "'" + evil["store_000"], "store_001", "store_002"}
    texts = lines.select_dtypes(object).fillna("").to_numpy().ravel().tolist()
    assert not [text for text in texts if text.startswith(tuple("=+-@"))]
    assert "'@sum" in set(lines["source"].dropna())
    assert lines["delta"].dtype.kind in "fi"
    assert lines["guardrails"].dropna().str.fullmatch(r"\w+: [\d.e+-]+ > [\d.e+-]+.*").all()
