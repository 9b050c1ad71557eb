"""The registered policy as MLflow's users load and serve it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient, pyfunc
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from evaluation.artifact.registry import resolve_artifact
from evaluation.recommendation.findings import RequestError
from evaluation.recommendation.recommender import Recommender
from evaluation.recommendation.rows import request_of
from evaluation.tracking.tracker import Tracker
from tests.settings import as_shipped
from tests.waiting import wait_for

NAME = "echelon-chain"
REQUESTS: list[dict[str, Any]] = [
    {
        "scope": {},
        "stock": [
            {"location": "store_000", "item": "item_00", "on_hand": 3},
            {"location": "store_001", "item": "item_01", "on_hand": 7.0, "backorders": 2},
            {"location": "warehouse", "item": "item_00", "on_hand": 90, "date": -1},
        ],
        "open_orders": [
            {"from": "warehouse", "to": "store_002", "item": "item_00", "quantity": 4,
             "due_in_periods": 1},
        ],
        "recent_sales": [
            {"location": "store_000", "item": "item_00", "quantities": [4, 9.0, 2],
             "stockout": [False, False, True]},
        ],
    },
    {"stock": [{"location": "store_002", "item": "item_01", "on_hand": 0}], "policy": "classical"},
]  # fmt: skip


@pytest.fixture
def uri(tmp_path: Path, migrated: Path, artifact_folder: Path) -> str:
    """A registry with one version, registered as training does."""
    shutil.copy(migrated, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    config = as_shipped("tracking", uri=uri, system_metrics=False, flush_timeout=600.0)
    with Tracker(config, tmp_path / "run") as tracker:
        tracker.start("run")
        assert tracker.register_model(NAME, artifact_folder) == "1"
    return uri


def answers(recommender: Recommender) -> list[list[Any]]:
    """The lines of every request, as serving answers them."""
    requests = [request_of(json.loads(json.dumps(request))) for request in REQUESTS]
    found = [recommender.recommend(request).model_dump(mode="json") for request in requests]
    assert all(answer["lines"] for answer in found)
    return [answer["lines"] for answer in found]


def test_a_registered_policy_is_a_model(
    uri: str, tmp_path: Path, recommender: Recommender, artifact_folder: Path
) -> None:
    """Linked from run and version; signature and example; the policy as it was, nothing pickled;
    the same lines from a DataFrame and from JSON."""
    client = MlflowClient(uri)
    version = client.get_model_version_by_alias(NAME, "challenger")
    run = client.get_run(version.run_id or "")
    assert run.outputs is not None
    [output] = run.outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert version.source == logged.artifact_location
    assert (logged.status, logged.source_run_id) == ("READY", run.info.run_id)
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": NAME, "version": "1"}]

    folder = resolve_artifact("challenger", NAME, uri).folder.parents[1]
    assert folder.as_uri() == version.source
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    policy = {f"artifacts/policy/{path.name}" for path in artifact_folder.iterdir()}
    assert files == policy | {
        "MLmodel", "mlflow_model.py", "input_example.json", "serving_input_example.json",
        "requirements.txt", "conda.yaml", "python_env.yaml",
    }  # fmt: skip
    for path in artifact_folder.iterdir():
        assert (folder / "artifacts/policy" / path.name).read_bytes() == path.read_bytes()
    needs = (folder / "requirements.txt").read_text()
    assert "numba==" in needs
    assert "ray" not in needs

    model = pyfunc.load_model(str(folder))
    meta: Model = model.metadata
    assert (meta.run_id, meta.model_id) == (run.info.run_id, logged.model_id)
    assert meta.signature is not None
    assert {"stock", "open_orders"} <= set(meta.signature.inputs.input_names())
    assert "lines" in meta.signature.outputs.input_names()
    example = meta.load_input_example(str(folder))
    assert model.predict(example)[0]["lines"]

    expected = answers(recommender)
    for given in (pd.DataFrame(REQUESTS), json.loads(json.dumps(REQUESTS))):
        assert [answer["lines"] for answer in model.predict(given)] == expected
    with pytest.raises(MlflowException, match=r"stock\[0\]\.item.*is unknown") as caught:
        model.predict([{"stock": [{"location": "store_000", "item": "tea", "on_hand": 1}]}])
    assert caught.value.get_http_status_code() == 400


def test_a_row_becomes_a_request() -> None:
    """What pandas puts into cells; what is missing is left out."""
    stock = [{"location": "a", "item": "b", "on_hand": np.int64(3)}]
    row = {
        "as_of": pd.Timestamp("2026-11-22"), "stock": np.array(stock), "open_orders": np.nan,
        "include_zero": np.True_, "scope": None,
    }  # fmt: skip
    request = request_of(row)
    assert (str(request.as_of), request.stock[0].on_hand) == ("2026-11-22", 3.0)
    assert (request.include_zero, request.scope, request.open_orders) == (True, None, [])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "stock: Field required"),
        ({"stock": [], "stoc": []}, "stoc: Extra inputs are not permitted"),
        (
            {"stock": [{"location": "a", "item": "b", "on_hand": "3"}]},
            r"stock\[0\]\.on_hand: Input should be a valid number",
        ),
        ({"stock": [{"location": "a", "item": "b", "on_hand": np.nan}]}, r"stock\[0\]\.on_hand: "),
        ({"stock": {1j}}, "no JSON: set in a cell"),
    ],
)
def test_a_row_that_is_no_request_is_refused(row: dict[str, Any], message: str) -> None:
    """With the path of the field."""
    with pytest.raises(RequestError, match=message):
        request_of(row)


_ASK = """
import sys
sys.modules["ray"] = None  # importing it fails
import json, mlflow
model = mlflow.pyfunc.load_model("models:/echelon-chain@challenger")
print(json.dumps(model.predict(json.load(sys.stdin))))
"""


def environment(uri: str) -> dict[str, str]:
    root = str(Path(__file__).parents[3])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # MLflow calls uvicorn
    return {**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": root, "PATH": path}


@pytest.mark.nightly
def test_it_loads_by_its_alias_without_ray(uri: str, recommender: Recommender) -> None:
    """In a process of its own, where nothing can import Ray."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK], input=json.dumps(REQUESTS), env=environment(uri),
        text=True, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    assert [answer["lines"] for answer in json.loads(done.stdout)] == answers(recommender)


@pytest.mark.nightly
def test_mlflow_serves_it(uri: str, recommender: Recommender, tmp_path: Path) -> None:
    """`mlflow models serve`, asked in each of its forms; what is wrong is a 400."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{NAME}@challenger",
        "--env-manager", "local", "--port", str(port),
    ]  # fmt: skip
    columns = list(REQUESTS[0])
    split = {"columns": columns, "data": [[REQUESTS[0][name] for name in columns]]}
    with (
        (tmp_path / "serve.log").open("wb") as log,
        subprocess.Popen(
            command, env=environment(uri), stdout=log, stderr=log, start_new_session=True
        ) as server,
    ):
        try:
            wait_for(lambda: post(port, "ping", None)[0] == 200 or server.poll() is not None)
            expected = answers(recommender)
            for body in ({"inputs": REQUESTS}, {"dataframe_records": REQUESTS}):
                status, answer = post(port, "invocations", body)
                assert status == 200, answer
                assert [one["lines"] for one in answer["predictions"]] == expected
            status, answer = post(port, "invocations", {"dataframe_split": split})
            assert answer["predictions"][0]["lines"] == expected[0]
            status, answer = post(port, "invocations", {"inputs": [{"stock": [{}]}]})
            assert status == 400
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)


def post(port: int, path: str, body: Any) -> tuple[int, Any]:
    """POST, or GET without a body; returns the status, 0 where nobody listens."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", data, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text.strip() else None
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError:
        return 0, None
