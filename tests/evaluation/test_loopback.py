"""Ray is started with a token and on loopback, or not at all."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from envs.errors import ClusterError, ConfigError
from evaluation import ray_workers
from evaluation.loopback import is_loopback, require_loopback
from evaluation.ray_workers import start_local_ray
from evaluation.workers import prepare_ray


@pytest.mark.parametrize("mode", ["disabled", "DISABLED", "k8s-none", ""])
def test_ray_without_a_token_is_refused(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it starts, with the way out."""
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with pytest.raises(ConfigError, match=r"RAY_AUTH_MODE is .*; unset it, or set ECHELON_ALLOW"):
        start_local_ray(1)


def test_a_ray_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a second try, in one line with its cause."""
    tries = []

    def fail(**options: object) -> None:
        tries.append(options)
        raise RuntimeError("The current node timed out")

    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setattr(ray_workers.ray, "init", fail)
    monkeypatch.setattr(ray_workers.ray, "shutdown", lambda: None)
    with pytest.raises(ClusterError, match=r"did not start twice \(The current node timed out\)"):
        start_local_ray(1)
    assert len(tries) == 2


def test_a_listener_for_others_is_found() -> None:
    """Of this process: on all addresses; on loopback it is none."""
    with socket.create_server(("127.0.0.1", 0)):
        require_loopback()
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"listens on 0\.0\.0\.0 port {port}, open"):
            require_loopback()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("10.0.0.1", False),
     ("0.0.0.0", False), ("::", False), ("shop", False)],
)  # fmt: skip
def test_loopback_addresses(text: str, wanted: bool) -> None:
    """By number, mapped ones too; a name is none."""
    assert is_loopback(text) is wanted


@pytest.mark.parametrize("given", ["variable", "file", "nothing"])
def test_the_token_is_taken_where_there_is_one(
    given: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the environment, or from Ray's own file."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if given == "variable":
        monkeypatch.setenv("RAY_AUTH_TOKEN", "t")
    if given == "file":
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("t", encoding="utf-8")
    monkeypatch.setattr(os, "environ", dict(os.environ))  # so that it is restored
    prepare_ray()
    assert os.environ.get("RAY_AUTH_MODE") == (None if given == "nothing" else "token")
