"""`echelon serve`: answer replenishment requests over HTTP with the champion."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from dataclasses import dataclass
from types import FrameType
from typing import ClassVar

from conf.compose import NetworkCommand, compose
from envs.errors import ArtifactError, ConfigError
from envs.scenarios import build_scenario
from evaluation.artifact.network_io import same_network
from evaluation.artifact.registry import model_name, resolve_artifact
from evaluation.loopback import require_loopback
from evaluation.signals import stop_signals_to
from evaluation.tracking.config import TrackingConfig
from serving.config import ServeConfig
from serving.live import LivePolicy, Source

_EXAMPLE = """curl -s {url}/v1/recommendations -H 'Content-Type: application/json' -d '{body}'"""


@dataclass(frozen=True)
class ServeCommand(NetworkCommand):
    """`echelon serve`."""

    name: ClassVar = "serve"
    serve: ServeConfig
    tracking: TrackingConfig


def serve(argv: list[str]) -> int:
    """Run the command until SIGINT or SIGTERM; returns the exit code.

    Raises ConfigError or ArtifactError before anything is started.
    """
    command = compose(ServeCommand, argv).command
    config, uri = command.serve, command.tracking.uri
    model = config.model or model_name(command.scenario.name)
    resolve_artifact(config.artifact, model, uri, option="serve.artifact")
    port = _free_port(config.host, config.port)
    with tempfile.TemporaryDirectory(prefix="echelon_serve_") as state:
        source = Source(
            config.artifact, model, uri, config.poll_seconds, state,
            config.stale_after, config.refuse_after,
        )  # fmt: skip
        live = LivePolicy(source)  # a policy that can't be served fails here, readably
        _must_be_of_network(live, command)
        example = _example(live)
        _run(source, config.host, port, example)
    return 0


def _must_be_of_network(live: LivePolicy, command: ServeCommand) -> None:
    """Raise ArtifactError where a network file is given, and the policy is of another one."""
    if command.network is None:
        return
    if not same_network(build_scenario(command.scenario), live.recommender.scenario):
        raise ArtifactError(
            f"serve.artifact={command.serve.artifact} was trained on another network than "
            f"{command.network} is now; run echelon train network={command.network}, or give the "
            "file, and the scenario.KEY=VALUE, of that training."
        )


def _run(source: Source, host: str, port: int, example: str) -> None:
    from serving import app  # Ray takes seconds to import

    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    try:
        with stop_signals_to(stop):
            app.start(source, host, port)
            require_loopback()
            with stop_signals_to(stop):  # again: Ray has put its own handlers in their place
                url = f"http://{host}:{port}"
                print(f"Serving {source.model} ({source.artifact}) at {url}; Ctrl-C ends it. Try:")
                print(_EXAMPLE.format(url=url, body=example), flush=True)
                stopped.wait()
                print("Stopping: requests in flight are finished first.", flush=True)
                app.stop()
    finally:
        app.stop()


def _example(live: LivePolicy) -> str:
    """The smallest request worth sending: one row of stock."""
    recommender = live.recommender
    stock = recommender.scenario.network.stocks[-1]
    body: dict[str, object] = {}
    if recommender.first_date is not None:
        body["as_of"] = recommender.first_date.isoformat()
    body["stock"] = [{"location": stock.node, "item": stock.sku, "on_hand": 3}]
    return json.dumps(body).replace("'", "\\u0027")


def _free_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0. Raises ConfigError where another process has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            raise ConfigError(
                f"serve.port {port} on {host} can't be used ({problem.strerror}); give another "
                "one: serve.port=8001."
            ) from problem
        return int(probe.getsockname()[1])
