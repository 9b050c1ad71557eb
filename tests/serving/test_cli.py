"""`echelon serve`: what it refuses at once, and one real run from start to stop."""

from __future__ import annotations

import re
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from conf.compose import compose
from echelon import main
from envs.errors import ConfigError
from envs.scenario import Scenario
from evaluation.artifact.registry import model_name
from serving import cli
from serving.cli import ServeCommand
from serving.config import ServeConfig
from serving.service import Service
from tests.evaluation.recommendation.artifacts import write_artifact
from tests.serving.registry import Registry, spoil_weights
from tests.serving.running import JSON, PATIENT, SNAPSHOT, serving
from tests.test_network_file import EXAMPLES, built
from tests.waiting import wait_for


def test_without_a_champion_it_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 1, nothing started, no database made."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert main(["serve", f"tracking.uri={uri}"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "no model is registered as echelon-retail@champion" in line
    assert "run `echelon train` first, or give serve.artifact=FOLDER" in line
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_told(artifact_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", f"serve.port={port}", f"serve.artifact={artifact_folder}"]) == 1
    assert f"serve.port {port}" in capsys.readouterr().err


def test_a_network_file_names_what_is_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its registered model, or an artifact of the same network; of another one: one line."""
    path = EXAMPLES[1]
    assert main(["serve", f"network={path}", f"tracking.uri=sqlite:///{tmp_path / 'no.db'}"]) == 1
    assert f"echelon-{path.stem}@champion" in capsys.readouterr().err
    write_artifact(tmp_path / "policy", built(path, "scenario.horizon=20"))
    served: list[Service] = []
    monkeypatch.setattr(cli, "_run", lambda service, *_: served.append(service))
    arguments = [
        "serve",
        f"network={path}",
        f"serve.artifact={tmp_path / 'policy'}",
        "serve.port=0",
        f"serve.cache={tmp_path / 'cache'}",
    ]
    assert main(arguments) == 0
    assert served[0].models == (f"echelon-{path.stem}",)
    assert main([*arguments, "scenario.lanes.far_pump.lead_time=11"]) == 1
    error = capsys.readouterr().err
    assert f"was trained on another network than {path} is now" in error
    assert len(served) == 1


def shipped(**fields: Any) -> ServeConfig:
    """The settings of conf/serve.yaml, but for `fields`."""
    return replace(compose(ServeCommand).command.serve, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"host": "0.0.0.0"}, "expected a loopback address"),
        ({"host": "::"}, "expected a loopback address"),
        ({"host": "example.org"}, "expected a loopback address"),
        ({"certificate": "c.pem"}, "serve.certificate_key"),
        ({"rate": 0.0}, "serve.rate"),
        ({"port": -1}, "expected 0 to 65535"),
        ({"port": 65536}, "expected 0 to 65535"),
        ({"model": "a/b"}, "serve.model"),
        ({"model": " "}, "serve.model"),
        ({"stale_after": -1}, "serve.stale_after"),
        ({"refuse_after": 1}, "refuse_after 1"),
        ({"artifact": ""}, "serve.artifact is empty"),
        ({"poll_seconds": 0.0}, "serve.poll_seconds"),
        ({"poll_seconds": float("nan")}, "serve.poll_seconds"),
    ],
)
def test_a_setting_out_of_bounds_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        shipped(**fields)


def test_an_open_address_needs_keys(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a proxy with TLS too; a file that can't be read is told, too."""
    monkeypatch.delenv("ECHELON_API_KEYS", raising=False)
    open_to_all = ["serve", "serve.host=0.0.0.0", "serve.tls_by_proxy=true"]
    assert main(open_to_all) == 1
    assert "there are no keys" in capsys.readouterr().err
    assert main([*open_to_all, "serve.keys=nowhere.txt"]) == 1
    assert "the keys in 'nowhere.txt' can't be read" in capsys.readouterr().err


@pytest.mark.parametrize("scenario", ["retail", "my network", "Zürich (süd), #2", "it's"])
def test_every_name_that_training_registers_is_taken(scenario: str) -> None:
    """A model is registered under the scenario's name, which can hold spaces and accents."""
    assert shipped(model=model_name(scenario)).model == f"echelon-{scenario}"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_hosts_are_accepted(host: str) -> None:
    assert shipped(host=host).host == host


def test_help_lists_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--help"]) == 0
    text = capsys.readouterr().out
    for key in ServeConfig.__dataclass_fields__:
        assert f"{key}:" in text


def test_a_champion_is_served_replaced_and_stopped(
    registry: Registry, chain: Scenario, tmp_path: Path
) -> None:
    """Ray Serve for real: requests all the while, through a promotion and a broken promotion."""
    for seed in (1, 2, 3):
        write_artifact(tmp_path / f"policy_{seed}", chain, seed=seed)
    registry.register(tmp_path / "policy_1")
    with serving(registry) as server:
        url = f"{server.url}/v1/recommendations"
        answers: list[tuple[int, str]] = []
        done = threading.Event()

        def ask() -> None:
            with httpx.Client(timeout=PATIENT) as client:
                while not done.wait(0.01):  # a rest for what is waited for
                    got = client.post(url, json=SNAPSHOT)
                    answers.append((got.status_code, got.json()["model"]["version"]))

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            registry.register(tmp_path / "policy_2")
            wait_for(lambda: server.version() == "2")
            registry.register(tmp_path / "policy_3", alias=None)
            spoil_weights(registry.files_of("3"))
            registry.promote("3")
            health = f"{server.url}/v1/health"
            wait_for(lambda: httpx.get(health).json()["last_load_error"])
            assert server.version() == "2"
        finally:
            done.set()
            asking.join()
        assert {status for status, _ in answers} == {200}
        assert [v for v, _ in groups(answers)] == ["1", "2"]

        bad = httpx.post(url, content=b'{"stock": [{"on_hand": NaN}]}', headers=JSON)
        assert bad.status_code == 422
        assert "field" in bad.json()["errors"][0]
        assert httpx.get(f"{server.url}/openapi.json").status_code == 200
        assert listening_beyond_loopback(server.process.pid) == []
        example = re.search(r"-d '(.*)'", server.output)
        assert example is not None
        assert httpx.post(url, content=example[1], headers=JSON).status_code == 200

        family = psutil.Process(server.process.pid).children(recursive=True)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        psutil.wait_procs(family, 10)
        assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
        assert "Traceback" not in server.output


def groups(answers: list[tuple[int, str]]) -> list[tuple[str, int]]:
    """Versions in the order they answered, with how often in a row."""
    runs: list[tuple[str, int]] = []
    for _, version in answers:
        if runs and runs[-1][0] == version:
            runs[-1] = (version, runs[-1][1] + 1)
        else:
            runs.append((version, 1))
    return runs


def listening_beyond_loopback(pid: int) -> list[str]:
    process = psutil.Process(pid)
    return [
        f"{one.name()} {connection.laddr.ip}:{connection.laddr.port}"
        for one in (process, *process.children(recursive=True))
        for connection in one.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and not connection.laddr.ip.removeprefix("::ffff:").startswith(("127.", "::1"))
    ]
