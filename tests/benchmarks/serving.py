"""How long does a request take, and how long is its answer? `python -m tests.benchmarks.serving`.

`scale_1000` (19,440 pairs) with random weights, without the web server: from the request's JSON to
the answer's. Process CPU time of one core, the best of repeats. The last line is one JSON object.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from conf.compose import compose
from envs.scenarios import build_scenario
from evaluation.commands.evaluate import EvaluateCommand
from evaluation.recommendation.recommender import Recommender
from evaluation.recommendation.schemas import RecommendationRequest
from tests.evaluation.recommendation.artifacts import write_artifact

__all__ = ["main"]

REPEATS = 5


def main() -> None:
    """Print the table, then the numbers as JSON."""
    scenario = build_scenario(compose(EvaluateCommand, ["scenario=scale_1000"]).command.scenario)
    with tempfile.TemporaryDirectory() as folder:
        recommender = Recommender(write_artifact(Path(folder) / "policy", scenario))
    pairs = [{"location": s.node, "item": s.sku} for s in scenario.network.stocks]
    sold = [p for p, s in zip(pairs, scenario.network.stocks, strict=True) if s.demand is not None]
    everything: dict[str, Any] = {
        "stock": [{**pair, "on_hand": 3} for pair in pairs],
        "recent_sales": [{**pair, "quantities": [4, 6, 5, 7]} for pair in sold],
    }
    one = {"locations": [pairs[0]["location"]], "items": [pairs[0]["item"]]}
    requests = {
        "one row posted": {"stock": everything["stock"][:1]},
        "all posted, one row asked": {**everything, "scope": one},
        "all posted and asked": everything,
    }
    numbers: dict[str, dict[str, float]] = {}
    print(f"{'':<26} {'CPU s':>6} {'request kB':>11} {'answer kB':>10} {'lines':>6}")
    for name, body in requests.items():
        text, best = json.dumps(body), float("inf")
        for _ in range(REPEATS):
            start = time.process_time()
            answer = recommender.recommend(RecommendationRequest.model_validate_json(text))
            written = answer.model_dump_json()
            best = min(best, time.process_time() - start)
        row = {"cpu_s": best, "request_kb": len(text) / 1e3, "answer_kb": len(written) / 1e3}
        numbers[name] = {**row, "lines": len(answer.lines)}
        print(f"{name:<26} {best:>6.2f} {len(text) / 1e3:>11.1f} {len(written) / 1e3:>10.1f} "
              f"{len(answer.lines):>6}")  # fmt: skip
    print(json.dumps(numbers))


if __name__ == "__main__":
    main()
