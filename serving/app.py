"""Ray Serve around the HTTP interface; the only serving module that imports Ray."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from serving.live import Source

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application

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
}
_APPLICATION = "echelon"
_CPUS = 2  # slots: the replica takes one, Serve's own actors none
_REQUESTS_AT_ONCE = 16  # one is computed at a time; the others' bodies are read meanwhile
_REQUESTS_WAITING = 64  # more are answered with 503
_REQUEST_SECONDS = 60.0
_DRAIN_SECONDS = 10.0


def start(source: Source, host: str, port: int) -> None:
    """Start Ray and Serve on loopback, and wait until the policy answers.

    Raises RuntimeError where the replica can't start.
    """
    os.environ.update(_ENVIRONMENT)
    from ray import serve

    from evaluation.ray_workers import start_local_ray

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    start_local_ray(_CPUS)
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": host, "port": port, "request_timeout_s": _REQUEST_SECONDS},
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
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

        _keep_replica_on_loopback()
        torch.set_num_threads(1)
        return build_api(LivePolicy(source))

    deployment = serve.deployment(
        name="recommendations",
        num_replicas=1,
        ray_actor_options={"num_cpus": 1},
        max_ongoing_requests=_REQUESTS_AT_ONCE,
        max_queued_requests=_REQUESTS_WAITING,
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
