"""The whole endpoint with keys and TLS, attacked, and with its parts taken away: for real."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from envs.scenario import Scenario
from serving.front.keys import new_key
from tests.evaluation.recommendation.artifacts import write_artifact
from tests.serving.registry import Registry, spoil_weights
from tests.serving.running import PATIENT, ROOT, SNAPSHOT, Server, serving

pytestmark = pytest.mark.nightly

KEY, LINE = new_key("night", "recommend,operate")
READER, READER_LINE = new_key("prometheus", "read")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Of 127.0.0.1, signed by itself; and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@pytest.fixture
def server(
    registry: Registry, chain: Scenario, tmp_path: Path, certificate: tuple[Path, Path]
) -> Iterator[Server]:
    write_artifact(tmp_path / "policy", chain, seed=1)
    registry.register(tmp_path / "policy")
    (tmp_path / "keys.txt").write_text(f"{LINE}\n{READER_LINE}\n")
    cert, key = certificate
    with serving(
        registry, f"serve.keys={tmp_path / 'keys.txt'}", f"serve.certificate={cert}",
        f"serve.certificate_key={key}", "serve.max_replicas=2",
    ) as server:  # fmt: skip
        yield server


def test_it_stands(
    server: Server, registry: Registry, chain: Scenario, certificate: tuple[Path, Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    """Keys and TLS; half-sent requests; a replica and the proxy killed; started again while the
    champion is broken."""
    port = int(server.url.rpartition(":")[2])
    context = ssl.create_default_context(cafile=str(certificate[0]))
    url = f"https://localhost:{port}"
    with httpx.Client(base_url=url, verify=context, timeout=PATIENT) as client:
        _check_keys(client)
        _check_slow_senders(client, context, port)
        _check_losses(client, server)
    log = (registry.folder / "access.jsonl").read_text()
    assert KEY not in log
    assert READER not in log
    assert {"night", "prometheus", None} == {json.loads(row)["key"] for row in log.splitlines()}
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENT) == 0
    write_artifact(tmp_path / "broken", chain, seed=2)
    spoil_weights(registry.files_of(registry.register(tmp_path / "broken")))
    with serving(registry) as again:
        got = httpx.post(f"{again.url}/v1/recommendations", json=SNAPSHOT, timeout=PATIENT)
        assert got.json()["model"]["version"] == "1"
        health = httpx.get(f"{again.url}/v1/health", timeout=PATIENT).json()
        assert "policy.safetensors" in health["last_load_error"]


def _check_keys(client: httpx.Client) -> None:
    path, mine = "/v1/recommendations", bearer(KEY)
    assert client.post(path, json=SNAPSHOT).status_code == 401
    assert client.post(path, json=SNAPSHOT, headers=bearer("wrong")).status_code == 401
    assert client.post(path, json=SNAPSHOT, headers=bearer(READER)).status_code == 403
    got = client.post(path, json=SNAPSHOT, headers={**mine, "X-Request-ID": "r-1"})
    assert (got.status_code, got.headers["x-request-id"]) == (200, "r-1")
    assert client.post(path, content=b"{}", headers=mine).status_code == 415
    for hidden in ("/openapi.json", "/docs", "/-/routes"):
        assert client.get(hidden, headers=mine).status_code == 404
    assert client.get("/-/healthz").status_code == 200
    assert client.get("/v1/health/ready").status_code == 200
    scrape = client.get("/v1/metrics", headers=bearer(READER)).text
    assert 'echelon_requests_total{path="/v1/recommendations",status="200"} 1.0' in scrape
    assert "echelon_ready 1.0" in scrape


def _check_slow_senders(client: httpx.Client, context: ssl.SSLContext, port: int) -> None:
    """They are many more than requests are answered at a time, and hold nobody up."""
    head = (
        "POST /v1/recommendations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {KEY}\r\n"
    ).encode()
    senders = []
    for i in range(80):
        plain = socket.create_connection(("127.0.0.1", port))
        sender = context.wrap_socket(plain, server_hostname="localhost")
        sender.sendall(head if i % 2 else head + b"Content-Length: 50\r\n\r\n{")
        senders.append(sender)
    for _ in range(20):
        got = client.post("/v1/recommendations", json=SNAPSHOT, headers=bearer(KEY))
        assert got.status_code == 200
    for sender in senders:
        assert sender.recv(1000).startswith(b"HTTP/1.1 408 ")
        sender.close()


def _check_losses(client: httpx.Client, server: Server) -> None:
    """A replica and the proxy killed while requests come: with the documented retry, none is
    lost."""
    done, answered = threading.Event(), 0
    lost: list[int | str] = []

    def ask() -> None:
        nonlocal answered
        while not done.is_set():
            end = datetime.now(UTC) + timedelta(seconds=PATIENT)
            while True:
                try:
                    got = client.post("/v1/recommendations", json=SNAPSHOT, headers=bearer(KEY))
                    if got.status_code == 200:
                        answered += 1
                        break
                    if got.status_code not in (429, 503) or datetime.now(UTC) > end:
                        lost.append(got.status_code)
                        break
                    assert int(got.headers["retry-after"]) >= 1
                    assert got.json()["errors"]
                except httpx.TransportError as error:
                    if datetime.now(UTC) > end:
                        lost.append(repr(error))
                        break
                done.wait(0.2)

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    try:
        for title in ("ServeReplica", "ProxyActor"):
            for process in psutil.Process(server.process.pid).children(recursive=True):
                if f"ray::{title}" in " ".join(process.cmdline()):
                    process.kill()
            enough = answered + 50
            while answered < enough:
                done.wait(0.1)
    finally:
        done.set()
        for thread in asking:
            thread.join()
    assert lost == []


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_serve_build_writes_a_file_that_ray_takes(tmp_path: Path) -> None:
    """By its own command, of the arguments in the environment."""
    from ray.serve.schema import ServeDeploySchema

    path = tmp_path / "serve.yaml"
    environment = {**os.environ, "ECHELON_SERVICE": json.dumps({"models": ["echelon-a"]})}
    environment["PYTHONPATH"] = str(ROOT)
    code = "from ray.serve.scripts import cli; cli()"
    subprocess.run(
        [sys.executable, "-c", code, "build", "serving.app:application", "-o", str(path)],
        check=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    file = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text()))
    [application] = file.applications
    assert application.import_path == "serving.app:application"
    assert [d.name for d in application.deployments] == ["recommendations"]
