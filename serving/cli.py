"""`echelon serve`: answer replenishment requests over HTTP with the champion."""

from __future__ import annotations

import json
import os
import socket
import threading
from dataclasses import dataclass
from types import FrameType
from typing import ClassVar

from conf.compose import NetworkCommand, compose
from envs.errors import ArtifactError, ConfigError
from envs.scenarios import build_scenario
from evaluation.artifact.network_io import same_network
from evaluation.commands.model_of import model_of
from evaluation.loopback import require_loopback
from evaluation.signals import stop_signals_to
from evaluation.tracking.config import TrackingConfig
from serving.config import ServeConfig
from serving.front.keys import KEYS, KEYS_FILE, read_keys
from serving.live import LivePolicy
from serving.service import Service

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
    _require_keys(config)
    port = _free_port(config.host, config.port)
    first = config.model or model_of(command, uri)
    service = Service(
        (first, *config.more_models), config.artifact, uri, config.poll_seconds,
        _absolute(config.cache), _absolute(config.shadow), config.stale_after,
        config.refuse_after, 1, config.max_replicas,
    )  # fmt: skip
    # A policy that can't be served fails here, readably.
    lives = [LivePolicy(source) for source in service.sources()]
    _must_be_of_network(lives[0], command)
    _run(service, config, port, _example(lives[0], len(lives) > 1))
    return 0


def _absolute(path: str | None) -> str | None:
    return None if path is None else os.path.abspath(path)


def _require_keys(config: ServeConfig) -> None:
    """Raise ConfigError for keys that can't be read, and where an open address has none."""
    environment = os.environ | ({KEYS_FILE: config.keys} if config.keys else {})
    if read_keys(environment) is None and config.is_open:
        raise ConfigError(
            f"serve.host is {config.host}, which others reach, and there are no keys; expected a "
            f"loopback address, serve.keys=FILE, or {KEYS} in the environment. Make a key: "
            "python -m serving.front.keys NAME recommend."
        )


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


def _run(service: Service, config: ServeConfig, port: int, example: str) -> None:
    from serving import app  # Ray takes seconds to import

    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    try:
        with stop_signals_to(stop):
            app.start(service, config, port)
            require_loopback(port if config.is_open else None)
            with stop_signals_to(stop):  # again: Ray has put its own handlers in their place
                url = f"{'https' if config.certificate else 'http'}://{config.host}:{port}"
                models = ", ".join(service.models)
                print(f"Serving {models} ({service.artifact}) at {url}; Ctrl-C ends it. Try:")
                print(_EXAMPLE.format(url=url, body=example), flush=True)
                stopped.wait()
                print("Stopping: requests in flight are finished first.", flush=True)
                app.stop()
    finally:
        app.stop()


def _example(live: LivePolicy, several: bool) -> str:
    """The smallest request worth sending: one row of stock."""
    recommender = live.recommender
    stock = recommender.scenario.network.stocks[-1]
    body: dict[str, object] = {"network": live.source.network} if several else {}
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
