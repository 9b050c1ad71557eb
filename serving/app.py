"""Ray Serve around the HTTP interface; the only serving module that imports Ray.

`serving.app:build` is what a Serve file or a RayService names as its `import_path`.
"""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Any

from envs.errors import ConfigError
from serving.config import ServeConfig
from serving.front.keys import KEYS_FILE
from serving.front.settings import FrontSettings
from serving.service import Service

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application

_CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
# What Ray's processes need, wherever Serve runs. Read when Ray is imported.
ENVIRONMENT = {
    # Serve's HAProxy binds every interface, whatever the host setting says.
    "RAY_SERVE_ENABLE_HA_PROXY": "0",
    # What stands before Serve's proxy: keys and limits.
    _CALLBACK: "serving.front.middlewares.middlewares",
    # Seconds that the router sleeps between two tries to find a free replica: with Ray's 0.5,
    # replicas are idle while requests wait.
    "RAY_SERVE_ROUTER_RETRY_MAX_BACKOFF_S": "0.02",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_LOCAL = {
    # Seconds; with Ray's 5, the start fails on a machine that is busy.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    # No cluster: Ray's own ports are then on loopback. Without it `_node_ip_address` of 127.0.0.1
    # is turned into the machine's address, and all of them are open to the network.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # The replica's own port, see `_keep_replica_on_loopback`.
    "ECHELON_REPLICA_ON_LOOPBACK": "1",
}
_APPLICATION = "echelon"
REQUESTS_AT_ONCE = 16  # for a replica: it computes one at a time
_HEALTH_AT_ONCE = 4  # beside them
_REQUEST_SECONDS = 60.0
_DRAIN_SECONDS = 10.0


def start(service: Service, config: ServeConfig, port: int) -> None:
    """Start Ray and Serve, and wait until the policies answer.

    Raises RuntimeError where the replica can't start.
    """
    log = os.path.abspath(config.access_log) if config.access_log else None
    front = FrontSettings(REQUESTS_AT_ONCE * service.max_replicas, config.rate, log)
    os.environ.update(ENVIRONMENT | _LOCAL | front.to_environment())
    if config.keys:
        os.environ[KEYS_FILE] = os.path.abspath(config.keys)
    from ray import serve

    from evaluation.ray_workers import start_local_ray

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    start_local_ray(1 + service.max_replicas)  # slots: a replica takes one, Serve's actors none
    serve.start(
        proxy_location="HeadOnly",
        http_options={
            "host": config.host, "port": port, "request_timeout_s": _REQUEST_SECONDS,
            "ssl_certfile": config.certificate, "ssl_keyfile": config.certificate_key,
        },
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )  # fmt: skip
    serve.run(_application(service), name=_APPLICATION, route_prefix="/")


def stop() -> None:
    """Let requests in flight finish, then end Serve and Ray."""
    import ray
    from ray import serve

    if ray.is_initialized():
        serve.delete(_APPLICATION)
        ray.shutdown()


def build(args: dict[str, Any]) -> Application:
    """Return the application that a Serve file's `args`, the fields of `Service`, describe.

    Raises ConfigError.
    """
    return _application(Service.from_plain(args))


def __getattr__(name: str) -> Any:
    """`application`: what `serve build` takes, since it takes no builder; ECHELON_SERVICE has the
    arguments as JSON."""
    if name != "application":
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return build(json.loads(os.environ.get("ECHELON_SERVICE", "{}")))


def _application(service: Service) -> Application:
    from ray import serve

    def build_in_replica() -> FastAPI:
        import torch

        from serving.api import build_api
        from serving.live import LivePolicy

        if os.environ.get(_CALLBACK) != ENVIRONMENT[_CALLBACK]:
            raise ConfigError(
                f"{_CALLBACK} is not set where Ray runs: nobody would be asked for a key; expected "
                f"{ENVIRONMENT[_CALLBACK]}."
            )
        if os.environ.get("ECHELON_REPLICA_ON_LOOPBACK") == "1":
            _keep_replica_on_loopback()
        torch.set_num_threads(1)
        return build_api(*[LivePolicy(source) for source in service.sources()])

    count: dict[str, Any] = {"num_replicas": service.min_replicas}
    if service.max_replicas > service.min_replicas:
        count = {"autoscaling_config": {
            "min_replicas": service.min_replicas,
            "max_replicas": service.max_replicas,
            "target_ongoing_requests": REQUESTS_AT_ONCE / 4,
        }}  # fmt: skip
    deployment = serve.deployment(
        name="recommendations",
        **count,
        ray_actor_options={"num_cpus": 1},
        max_ongoing_requests=REQUESTS_AT_ONCE + _HEALTH_AT_ONCE,
        max_queued_requests=REQUESTS_AT_ONCE * service.max_replicas,
        graceful_shutdown_timeout_s=_DRAIN_SECONDS,
    )(serve.ingress(build_in_replica)())
    application: Application = deployment.bind()
    return application


def _keep_replica_on_loopback() -> None:
    """A replica opens a port for other deployments on every interface; there is no setting for it
    (Ray 2.60: tests/serving/test_ray_contract.py).

    Called in the replica, before it does that. `serving.cli` checks what listens in the end.
    """
    from ray.serve._private import replica

    add_port = replica.add_port_to_grpc_server

    def add_loopback_port(server: object, address: str) -> int:
        port: int = add_port(server, address.replace("[::]", "127.0.0.1"))
        return port

    replica.add_port_to_grpc_server = add_loopback_port
