"""What does the nightly batch take? `python -m tests.benchmarks.recommend [smoke=true]`.

`echelon recommend` on two networks of `scale_1000` (19,440 pairs, 51,292 lanes each) with random
weights, every line asked for: stock of all pairs and 28 periods of sales, as Parquet. The lines of
one are compared with the answer to the same as one request. CPU seconds of one core, and the
largest memory of the process. The last line is one JSON object.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from conf.compose import compose
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.artifact.artifact import load_artifact
from evaluation.commands.evaluate import EvaluateCommand
from evaluation.recommendation.recommender import Recommender
from evaluation.recommendation.schemas import RecentSales, RecommendationRequest, Scope, StockLevel
from tests.evaluation.recommendation.artifacts import write_artifact

__all__ = ["main"]

NETWORKS = ("north", "south")
PERIODS = 28


def main(*arguments: str) -> None:
    """Print the table, then the numbers as JSON. arguments: of the scenario."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = compose(EvaluateCommand, ["scenario=scale_1000", *arguments]).command.scenario
        scenario = build_scenario(chosen)
        for seed, network in enumerate(NETWORKS):
            write_artifact(folder / "policies" / network, scenario, seed=seed)
            _write_tables(folder / "data" / network, scenario, seed)
        numbers = _run(folder)
        lines = parquet.read_table(folder / "lines.parquet")
        numbers["lines"] = lines.num_rows
        print("lines  CPU s  memory MB")
        print(f"{lines.num_rows:,} {numbers['cpu_s']:.1f} {numbers['memory_mb']:.0f}")
        _compare(folder, lines.filter(pc.equal(lines["network"], NETWORKS[1])))
    print(json.dumps(numbers))


def _write_tables(folder: Path, scenario: Scenario, seed: int) -> None:
    folder.mkdir(parents=True)
    chance, stocks = np.random.default_rng(seed), scenario.network.stocks
    names = {"location": [s.node for s in stocks], "item": [s.sku for s in stocks]}
    on_hand = chance.integers(0, 30, len(stocks)).astype(float)
    parquet.write_table(pa.table({**names, "on_hand": on_hand}), folder / "stock.parquet")
    sold = [s for s in stocks if s.demand is not None]
    columns: dict[str, Any] = {
        "location": np.repeat([s.node for s in sold], PERIODS),
        "item": np.repeat([s.sku for s in sold], PERIODS),
        "date": np.tile(np.arange(-PERIODS, 0), len(sold)),
        "quantity": chance.poisson(4.0, PERIODS * len(sold)).astype(float),
    }
    parquet.write_table(pa.table(columns), folder / "recent_sales.parquet")


def _run(folder: Path) -> dict[str, float]:
    command = [
        sys.executable, "-m", "echelon", "recommend", f"data={folder / 'data'}",
        f"artifact={folder / 'policies'}", f"out={folder / 'lines.parquet'}", "include_zero=true",
    ]  # fmt: skip
    one = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    numbers: dict[str, float] = {}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    subprocess.run(command, check=True, env={**os.environ, **one})
    numbers["wall_s"] = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    numbers["cpu_s"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    numbers["memory_mb"] = after.ru_maxrss / 1e3
    return numbers


def _compare(folder: Path, lines: pa.Table) -> None:
    """Raise AssertionError where a line of the last network is another than the endpoint's."""
    data, policy = folder / "data" / NETWORKS[1], folder / "policies" / NETWORKS[1]
    stock = parquet.read_table(data / "stock.parquet").to_pylist()
    sales = parquet.read_table(data / "recent_sales.parquet").to_pylist()
    answer = Recommender(load_artifact(policy)).recommend(RecommendationRequest(
        stock=[StockLevel(**row) for row in stock],
        recent_sales=[
            RecentSales(
                location=sales[k]["location"],
                item=sales[k]["item"],
                quantities=[row["quantity"] for row in sales[k : k + PERIODS]],
            )
            for k in range(0, len(sales), PERIODS)
        ],
        scope=Scope(),
        include_zero=True,
    ))  # fmt: skip
    names = [name for name in lines.column_names if name != "network"]
    expected = [line.model_dump() for line in answer.lines]
    assert lines.select(names).to_pylist() == expected
    print(f"{len(expected):,} lines of {NETWORKS[1]} are the endpoint's.")


if __name__ == "__main__":
    main(*sys.argv[1:])
