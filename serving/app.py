"""Ray Serve around the HTTP interface; the only serving module that imports Ray."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from envs.errors import ConfigError
from serving.config import ServeConfig
from serving.front.keys import KEYS_FILE
from serving.front.settings import FrontSettings
from serving.live import Source

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application

_CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
# Read when Ray is imported.
_ENVIRONMENT = {
    # Serve's HAProxy binds every interface, whatever the host setting says.
    "RAY_SERVE_ENABLE_HA_PROXY": "0",
    # Seconds; with Ray's 5, the start fails on a machine that is busy.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    # No cluster: Ray's own ports are then on loopback. Without it `_node_ip_address` of 127.0.0.1
    # is turned into the machine's address, and all of them are open to the network.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # What stands before Serve's proxy: keys and limits.
    _CALLBACK: "serving.front.middlewares.middlewares",
    # Seconds that the router sleeps between two tries to find a free replica: with Ray's 0.5,
    # replicas are idle while requests wait.
    "RAY_SERVE_ROUTER_RETRY_MAX_BACKOFF_S": "0.02",
}
_APPLICATION = "echelon"
_CPUS = 2  # slots: the replica takes one, Serve's own actors none
_REQUESTS_AT_ONCE = 16  # for a replica: it computes one at a time
_HEALTH_AT_ONCE = 4  # beside them
_REQUEST_SECONDS = 60.0
_DRAIN_SECONDS = 10.0


def start(source: Source, config: ServeConfig, port: int) -> None:
    """Start Ray and Serve, and wait until the policy answers.

    Raises RuntimeError where the replica can't start.
    """
    log = os.path.abspath(config.access_log) if config.access_log else None
    front = FrontSettings(_REQUESTS_AT_ONCE, config.rate, log)
    os.environ.update(_ENVIRONMENT | front.to_environment())
    if config.keys:
        os.environ[KEYS_FILE] = os.path.abspath(config.keys)
    from ray import serve

    from evaluation.ray_workers import start_local_ray

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    start_local_ray(_CPUS)
    serve.start(
        proxy_location="HeadOnly",
        http_options={
            "host": config.host, "port": port, "request_timeout_s": _REQUEST_SECONDS,
            "ssl_certfile": config.certificate, "ssl_keyfile": config.certificate_key,
        },
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )  # fmt: skip
    serve.run(_application(source), name=_APPLICATION, route_prefix="/")


def stop() -> None:
    """Let requests in flight finish, then end Serve and Ray."""
    import ray
    from ray import serve

    if ray.is_initialized():
        serve.delete(_APPLICATION)
        ray.shutdown()


def _application(source: Source) -> Application:
    from ray import serve

    def build() -> FastAPI:
        """Runs in the replica."""
        import torch

        from serving.api import build_api
        from serving.live import LivePolicy

        if os.environ.get(_CALLBACK) != _ENVIRONMENT[_CALLBACK]:
            raise ConfigError(
                f"{_CALLBACK} is not set where Ray runs: nobody would be asked for a key; expected "
                f"{_ENVIRONMENT[_CALLBACK]}."
            )
        _keep_replica_on_loopback()
        torch.set_num_threads(1)
        return build_api(LivePolicy(source))

    deployment = serve.deployment(
        name="recommendations",
        num_replicas=1,
        ray_actor_options={"num_cpus": 1},
        max_ongoing_requests=_REQUESTS_AT_ONCE + _HEALTH_AT_ONCE,
        max_queued_requests=_REQUESTS_AT_ONCE,
        graceful_shutdown_timeout_s=_DRAIN_SECONDS,
    )(serve.ingress(build)())
    application: Application = deployment.bind()
    return application


def _keep_replica_on_loopback() -> None:
    """A replica opens a port for other deployments on every interface; there is no setting for it.

    Called in the replica, before it does that. `serving.cli` checks what listens in the end.
    """
    from ray.serve._private import replica

    add_port = replica.add_port_to_grpc_server

    def add_loopback_port(server: object, address: str) -> int:
        port: int = add_port(server, address.replace("[::]", "127.0.0.1"))
        return port

    replica.add_port_to_grpc_server = add_loopback_port
