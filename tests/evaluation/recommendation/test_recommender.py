"""What is asked for is computed, with what it rests on."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.environment.batched_env import BatchedEnv
from envs.errors import ArtifactError
from envs.network.lane import Limits, Resource, ResourceUse
from envs.scenario import Scenario
from evaluation.artifact.artifact import load_artifact
from evaluation.recommendation.recommender import Recommender
from evaluation.recommendation.schemas import RecommendationRequest, RecommendationResponse
from tests.evaluation.recommendation.artifacts import request, write_artifact

ROOT = Path(__file__).resolve().parents[3]


def test_orders_need_no_server(artifact_folder: Path) -> None:
    """An artifact is loaded and asked in a process that imports nothing of serving."""
    code = """
import sys
from pathlib import Path
from evaluation.artifact.artifact import load_artifact
from evaluation.recommendation.recommender import Recommender
from evaluation.recommendation.schemas import RecommendationRequest, Scope
request = RecommendationRequest(stock=[], scope=Scope())
answer = Recommender(load_artifact(Path(sys.argv[1]))).recommend(request)
assert answer.lines
packages = {name.partition(".")[0] for name in sys.modules}
print(*packages & {"serving", "training", "conf", "ray", "fastapi", "starlette", "mlflow", "hydra"})
"""
    command = [sys.executable, "-c", code, str(artifact_folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "\n"


def test_the_base_policy_alone_is_the_column_classical(
    recommender: Recommender, chain: Scenario
) -> None:
    """`policy: classical` answers what the champion's answer calls classical."""
    body = {"stock": [{"location": "store_000", "item": "item_00", "on_hand": 3}]}
    learned = recommender.recommend(request(**body, include_zero=True))
    classical = recommender.recommend(request(**body, include_zero=True, policy="classical"))
    assert [n.classical for n in learned.lines] == [n.quantity for n in classical.lines]
    assert any(n.delta for n in learned.lines)
    assert all(n.delta == n.quantity - n.classical for n in learned.lines)
    assert not any(n.delta for n in classical.lines)
    assert classical.policy == "classical"
    assert learned.summary.changed_lines == sum(n.delta != 0 for n in learned.lines)
    assert learned.summary.units == sum(n.quantity for n in learned.lines)


def test_without_a_correction_nothing_differs_from_the_base_policy(
    chain: Scenario, tmp_path: Path
) -> None:
    """Networks that answer 0 order exactly what the base policy does, whatever the snapshot."""
    recommender = Recommender(write_artifact(tmp_path / "zero", chain, size=0.0))
    rng = np.random.default_rng(0)
    for _ in range(20):
        answer = recommender.recommend(random_request(chain, rng))
        assert answer.summary.changed_lines == 0
        assert all(line.delta == 0.0 for line in answer.lines)


def random_request(chain: Scenario, rng: np.random.Generator) -> RecommendationRequest:
    pairs = [{"location": s.node, "item": s.sku} for s in chain.network.stocks]
    return request(
        stock=[{**pair, "on_hand": float(rng.integers(0, 40))} for pair in pairs],
        recent_sales=[
            {**pair, "quantities": rng.poisson(5, 4).astype(float).tolist()} for pair in pairs
        ],
        open_orders=[
            {"to": pair["location"], "item": pair["item"], "quantity": 4.0, "due_in_periods": 1}
            for pair in pairs
        ],
        include_zero=True,
    )


def test_the_same_request_gets_the_same_answer_from_any_thread(
    recommender: Recommender, chain: Scenario
) -> None:
    """No request leaves anything behind for the next one."""
    rng = np.random.default_rng(1)
    requests = [random_request(chain, rng) for _ in range(6)]
    alone = [recommender.recommend(r) for r in requests]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(recommender.recommend, requests * 5))
    assert together == alone * 5
    assert len({answer.model_dump_json() for answer in alone}) == 6


def test_what_is_left_out_is_assumed_and_told(recommender: Recommender) -> None:
    """No stock row: empty shelf. No sales: what training believed."""
    answer = recommender.recommend(request())
    notices = {w.code: w for w in answer.warnings}
    assert notices["MISSING_STOCK"].rows == 8
    assert notices["MISSING_STOCK"].where[0] == "item_00@warehouse"
    assert notices["MISSING_SALES"].rows == 6  # the stores'
    assert answer.lines


def test_only_told_sales_change_what_is_believed(recommender: Recommender) -> None:
    """A pair without sales keeps the prior, also beside one with sales."""
    quiet = recommender.recommend(request(include_zero=True, policy="classical"))
    sales = [{"location": "store_001", "item": "item_01", "quantities": [40.0, 50.0]}]
    loud = recommender.recommend(request(include_zero=True, policy="classical", recent_sales=sales))
    changed = {
        (b.location, b.item)
        for a, b in zip(quiet.lines, loud.lines, strict=True)
        if a.quantity != b.quantity
    }
    assert changed == {("store_001", "item_01"), ("warehouse", "item_01")}


def test_what_was_asked_of_a_warehouse_is_what_was_sold_below_it(
    recommender: Recommender, chain: Scenario
) -> None:
    """Summed over the last period, where all of it is told; else nothing is learned."""

    def believed(*sales: list[float]) -> float:
        rows = [
            {"location": f"store_00{i}", "item": "item_00", "quantities": quantities}
            for i, quantities in enumerate(sales)
        ]
        recommender.recommend(request(recent_sales=rows))
        return float(recommender._env.state.incoming[0, 0])

    assert chain.compiled.network.stocks[0].label == "item_00@warehouse"
    assert believed([1.0, 2.0, 3.0], [4.0], [5.0]) == 12.0
    assert believed([1.0, 2.0, 3.0], [4.0]) == 15.0
    assert believed() == 15.0


def test_asking_leaves_the_snapshot_as_it_was(recommender: Recommender) -> None:
    """The period is played to get orders, and undone."""
    stock = [{"location": "store_002", "item": "item_01", "on_hand": 17.0}]
    order = {"to": "store_002", "item": "item_01", "quantity": 4.0}
    recommender.recommend(request(stock=stock, open_orders=[order]))
    state = recommender._env.state
    assert state.on_hand.sum() == 17.0
    assert state.owed.sum() == 4.0


def test_open_orders_without_a_date(recommender: Recommender) -> None:
    """From inside the network: the sender owes them. From outside: due after the lead time."""
    body = {"item": "item_00", "quantity": 7.0}
    inside = recommender.recommend(request(open_orders=[{**body, "to": "store_000"}]))
    outside = recommender.recommend(request(open_orders=[{**body, "to": "warehouse"}]))
    assert "ETA_ASSUMED" not in {w.code for w in inside.warnings}
    assert "ETA_ASSUMED" in {w.code for w in outside.warnings}
    nothing = recommender.recommend(request(policy="classical"))
    less = recommender.recommend(
        request(policy="classical", open_orders=[{**body, "to": "store_000"}])
    )
    assert by_lane(less)["warehouse > store_000 item_00"] == pytest.approx(
        by_lane(nothing)["warehouse > store_000 item_00"] - 7.0
    )


def test_orders_due_now_or_far_ahead_stay_in_the_pipeline(recommender: Recommender) -> None:
    """Overdue: the next period. Beyond the longest lead time: its end. Both are told."""
    for due, code in ((0, "OVERDUE_ORDER"), (500, "ETA_CAPPED")):
        order = {"to": "warehouse", "item": "item_00", "quantity": 30.0, "due_in_periods": due}
        answer = recommender.recommend(request(policy="classical", open_orders=[order]))
        bare = recommender.recommend(request(policy="classical"))
        assert code in {w.code for w in answer.warnings}
        lane = "supplier > warehouse item_00"
        assert by_lane(answer)[lane] == by_lane(bare)[lane] - 30.0
        edge = {0: 1, 500: recommender.scenario.compiled.slots - 1}[due]
        learned, same = (
            recommender.recommend(request(open_orders=[{**order, "due_in_periods": periods}]))
            for periods in (due, edge)
        )
        assert learned.lines == same.lines


def by_lane(answer: RecommendationResponse) -> dict[str, float]:
    return {line.lane: line.quantity for line in answer.lines}


def test_the_limits_that_changed_a_quantity_are_told_in_order(seasonal: Recommender) -> None:
    """One step after the other leads from the wish to the order."""
    answer = seasonal.recommend(request(as_of="2017-03-06", include_zero=True))
    line = next(n for n in answer.lines if n.lane == "depot > shop")
    steps = line.guardrails
    assert [s.rule for s in steps] == sorted(
        (s.rule for s in steps), key=["maximum_order", "minimum_order", "order_multiple"].index
    )
    assert steps[-1].after == line.quantity
    assert all(a.after == b.before for a, b in pairwise(steps))
    assert line.quantity in (0.0, 12.0, 16.0, 20.0, 24.0)
    assert line.source == ["depot"]
    assert next(n for n in answer.lines if n.lane == "mill > shop").source == []


@pytest.mark.parametrize("limit", ["cash", "storage of shop"])
def test_a_limit_that_is_not_used_up_is_told(season: Scenario, tmp_path: Path, limit: str) -> None:
    """Packs of 4 in a budget, or room, of 18.5; only to those whose lanes use it."""
    network = season.network
    if limit == "cash":
        uses = {"depot > shop": (ResourceUse("cash"),)}
        lanes = tuple(replace(q, resources=uses.get(q.id, ())) for q in network.lanes)
        budget = Resource("cash", 18.5, Limits.orders)
        network = replace(network, lanes=lanes, resources=(budget,))
    else:
        rooms = {"shop": 18.5}
        lanes = tuple(q for q in network.lanes if q.id != "mill > shop")  # orders any quantity
        nodes = (replace(n, storage_capacity=rooms.get(n.id, np.inf)) for n in network.nodes)
        network = replace(network, lanes=lanes, nodes=tuple(nodes))
    recommender = Recommender(write_artifact(tmp_path / "p", replace(season, network=network)))
    short = [{"location": "shop", "item": "tea", "on_hand": 0, "backorders": 200}]
    for location, told in (("shop", [f"{limit}: 2.5 left"]), ("depot", [])):
        answer = recommender.recommend(
            request(as_of="2017-03-06", stock=short, scope={"locations": [location]})
        )
        notices = [w for w in answer.warnings if w.code == "LIMIT_NOT_USED_UP"]
        assert [where for notice in notices for where in notice.where] == told


def test_costs_of_the_orders(seasonal: Recommender) -> None:
    answer = seasonal.recommend(request(as_of="2017-03-06", include_zero=True))
    by_id = by_lane(answer)
    assert answer.summary.order_cost == pytest.approx(
        2.0 * by_id["mill > depot"] + 3.0 * by_id["mill > shop"]
    )


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_model_that_breaks_is_replaced_by_the_base_policy(
    chain: Scenario, artifact_folder: Path, weight: float
) -> None:
    """The answer is the base policy's and says so; the request is not lost."""
    artifact = load_artifact(artifact_folder)
    recommender = Recommender(artifact)
    for parameter in artifact.policy.actors["store"].parameters():
        torch.nn.init.constant_(parameter, weight)
    answer = recommender.recommend(request(include_zero=True))
    assert answer.fallback.used
    assert "NonFiniteError" in answer.fallback.reasons[0]
    assert answer.summary.changed_lines == 0
    assert answer.summary.units > 0


def test_extreme_numbers_stay_finite(recommender: Recommender, chain: Scenario) -> None:
    """The largest numbers a request may hold."""
    pairs = [{"location": s.node, "item": s.sku} for s in chain.network.stocks]
    answer = recommender.recommend(
        request(
            stock=[{**pair, "on_hand": 1e9} for pair in pairs],
            recent_sales=[{**pair, "quantities": [1e9] * 1000} for pair in pairs],
            open_orders=[
                {"to": p["location"], "item": p["item"], "quantity": 1e9, "due_in_periods": 1}
                for p in pairs
            ],
            include_zero=True,
        )
    )
    assert not answer.fallback.used
    assert all(np.isfinite([n.quantity, n.classical]).all() for n in answer.lines)


def test_an_artifact_without_its_network_cannot_be_served(chain: Scenario, tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "bare", chain, network=False)
    with pytest.raises(ArtifactError, match=r"no network\.json"):
        Recommender(artifact)


def test_an_artifact_with_other_features_is_refused(chain: Scenario, tmp_path: Path) -> None:
    """Same count, other names: an order of features that only a comparison of names finds."""
    artifact = write_artifact(tmp_path / "policy", chain)
    features = list(artifact.manifest["observation"])
    features[0], features[1] = features[1], features[0]
    swapped = replace(artifact, manifest={**artifact.manifest, "observation": features})
    with pytest.raises(ArtifactError, match="on_hand"):
        Recommender(swapped)


def test_the_prior_is_the_simulators(chain: Scenario, recommender: Recommender) -> None:
    """What is believed before any sales are told is what an episode starts from."""
    env = BatchedEnv(chain, 1)
    env.reset(0)
    recommender.recommend(request())
    ours = recommender._env.state
    for name in ("demand_level", "demand_variance", "mean_7", "mean_28", "square_28"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(env.state, name), err_msg=name)
