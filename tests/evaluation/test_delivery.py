"""Delivery: what a failing tracking server may cost (nothing).

The servers are real: MLflow's own HTTP handlers in a process that can be killed or told to fail,
a closed port, a socket that never answers.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from mlflow import MlflowClient

from envs.errors import ConfigError
from evaluation.artifact.registry import resolve_artifact
from evaluation.tracking.config import TrackingConfig
from evaluation.tracking.tracker import Tracker, resend
from tests.evaluation.conftest import EXPERIMENT, REQUEST_TIMEOUT, config_for
from tests.waiting import wait_for


class Server:
    """MLflow's HTTP server, to be failed on purpose."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.mode("ok")
        script = Path(__file__).with_name("faulty_mlflow_server.py")
        self.process = subprocess.Popen([sys.executable, script, self.folder, str(self.port)])
        wait_for(self._answers)

    def mode(self, word: str) -> None:
        (self.folder / "mode.new").write_text(word)
        os.replace(self.folder / "mode.new", self.folder / "mode")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def requests(self, mode: str) -> list[str]:
        lines = (self.folder / "requests.log").read_text().splitlines()
        return [line for line in lines if line.startswith(mode)]

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the server did not start"
        try:
            with urlopen(f"{self.uri}/health", timeout=1):
                return True
        except (URLError, OSError):
            return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(migrated, folder / "mlflow.db")
    server = Server(folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def black_hole() -> Iterator[str]:
    """Accepts connections (the kernel does) and never answers."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(50)
        yield f"http://127.0.0.1:{hole.getsockname()[1]}"


def history(uri: str, run_id: str, name: str) -> list[tuple[int, float]]:
    found = MlflowClient(uri).get_metric_history(run_id, name)
    return sorted((metric.step, metric.value) for metric in found)


def only_run(uri: str) -> Any:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def warnings(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING)


@pytest.fixture(params=["refused", "black hole", "500"])
def failing(request: pytest.FixtureRequest, black_hole: str, server: Server) -> Iterator[str]:
    """The address of a server that takes nothing."""
    if request.param == "refused":
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            yield f"http://127.0.0.1:{closed.getsockname()[1]}"
    elif request.param == "black hole":
        yield black_hole
    else:
        server.mode("500")
        yield server.uri
        server.mode("ok")


def test_failing_server_holds_nobody_up(
    tmp_path: Path, failing: str, local: TrackingConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """No call waits for it, nor does the end; the message says what to do, replay delivers all."""
    folder = tmp_path / "run"
    tracker = Tracker(config_for(failing, flush_timeout=0.5), folder)
    waited = 0.0
    tracker.start("offline", {"seed": 1})
    for step in range(1, 41):
        begin = time.monotonic()
        tracker.log_metrics(step, {"a": step / 3, "b": -step})
        waited += time.monotonic() - begin
        time.sleep(0.01)
    (folder / "policy").mkdir()
    assert tracker.register_model("beer", folder / "policy") is None
    tracker.finish()
    assert waited < 40 * REQUEST_TIMEOUT  # a call that waited for the server would take as long
    assert "python -m evaluation.tracking.tracker" in warnings(caplog)
    assert "43 records did not reach" in warnings(caplog)  # start, 40 steps, model, finish

    assert resend(folder, local) == 0
    run = only_run(local.uri)
    assert run.info.status == "FINISHED"
    assert history(local.uri, run.info.run_id, "a") == [(n, n / 3) for n in range(1, 41)]


def test_server_that_dies_and_returns_gets_every_step_once(
    tmp_path: Path, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed in mid-run; back, it gets exactly the steps that were logged."""
    with Tracker(config_for(server.uri, flush_timeout=600.0), tmp_path / "run") as tracker:
        tracker.start("interrupted")
        for step in range(1, 61):
            tracker.log_metrics(step, {"a": step / 7})
            time.sleep(0.01)
            if step == 20:
                wait_for(lambda: tracker.run_id is not None)
                server.kill()
            if step == 40:
                server.start()
    run_id = tracker.run_id
    assert run_id is not None
    assert history(server.uri, run_id, "a") == [(step, step / 7) for step in range(1, 61)]
    assert MlflowClient(server.uri).get_run(run_id).info.status == "FINISHED"
    assert "no delivery" in warnings(caplog)


def test_lost_answers_double_nothing(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server does as told and the answer is lost: no second run, step or version."""
    # Lost, not late: on a busy machine a short limit would give up on a request still at work.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    folder = tmp_path / "run"
    (folder / "policy").mkdir(parents=True)
    (folder / "policy" / "manifest.json").write_text("{}")
    client = MlflowClient(server.uri, server.uri)
    tracker = Tracker(config_for(server.uri, flush_timeout=600.0), folder)

    def lose(path: str) -> None:
        server.mode(f"lost {path}")
        wait_for(lambda: any(line.endswith(path) for line in server.requests("lost")))
        server.mode("ok")

    server.mode("lost runs/create")
    tracker.start("lost answers", {"seed": 1}, {"test": "lost"})
    lose("runs/create")
    wait_for(lambda: tracker.run_id is not None)
    server.mode("lost runs/log-batch")
    for step in range(1, 31):
        tracker.log_metrics(step, {"a": step / 7})
    lose("runs/log-batch")
    paths = ("mlflow/logged-models", "runs/outputs", "model-versions/create")
    server.mode(f"lost {paths[0]}")

    def lose_each() -> None:
        for path in paths:
            lose(path)

    healer = threading.Thread(target=lose_each)
    healer.start()
    version = tracker.register_model("lost", folder / "policy")
    healer.join()
    tracker.finish()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.test = 'lost'")
    assert history(server.uri, run.info.run_id, "a") == [(n, n / 7) for n in range(1, 31)]
    assert len(client.search_model_versions("name = 'lost'")) == 1
    challenger = client.get_model_version_by_alias("lost", "challenger")
    assert challenger.version == version == "1"
    assert len(client.search_logged_models([experiment.experiment_id])) == 1
    assert len(run.outputs.model_outputs) == 1
    found = resolve_artifact("challenger", "lost", server.uri)
    assert (found.folder / "manifest.json").read_text() == "{}"


def test_late_replay_takes_no_alias_back(tmp_path: Path, local: TrackingConfig) -> None:
    """A model registered offline arrives after a newer one became challenger: that one stays."""
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "manifest.json").write_text("{}")
    offline = config_for("http://127.0.0.1:9", flush_timeout=0.5)
    for name, config in (("old", offline), ("new", local)):
        with Tracker(config, tmp_path / name) as tracker:
            tracker.start(name)
            tracker.register_model("beer", tmp_path / "policy")
        newest = tracker.run_id
    assert resend(tmp_path / "old", local) == 0
    client = MlflowClient(local.uri, local.uri)
    assert len(client.search_model_versions("name = 'beer'")) == 2
    assert client.get_model_version_by_alias("beer", "challenger").run_id == newest


def test_no_secret_in_files_logs_or_server(
    tmp_path: Path, server: Server, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    """A password in the address is used, and is found nowhere after."""
    caplog.set_level(logging.DEBUG)  # of every library too
    secret = "canary-s3cret"
    address = server.uri.replace("//", f"//ann:{secret}@")
    offline = f"http://ann:{secret}@127.0.0.1:9"
    for name, uri in (("online", address), ("offline", offline)):
        config = config_for(uri, flush_timeout=600.0 if name == "online" else 0.5)
        with Tracker(config, tmp_path / name) as tracker:
            tracker.start(
                name,
                {"tracking.uri": uri, "api_key": secret},
                {"uri": uri},
            )
            tracker.log_metrics(1, {"a": 1.0})
            tracker.log_dataset("demand", "ab", f"s3://key:{secret}@bucket/x")
        if name == "online":
            assert tracker.run_id is not None
            assert history(server.uri, tracker.run_id, "a") == [(1, 1.0)]
    with pytest.raises(ConfigError, match="held a password"):
        resend(tmp_path / "offline")
    assert "records did not reach http://***@127.0.0.1:9" in caplog.text
    assert secret not in caplog.text
    assert secret not in "".join(capfd.readouterr())
    places = [*tmp_path.rglob("*"), *server.folder.rglob("*")]
    for path in [path for path in places if path.is_file()]:
        assert secret.encode() not in path.read_bytes(), path
    assert secret not in repr(config)
