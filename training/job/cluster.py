"""Ray for a training run: a local instance of the size it needs, or the cluster at RAY_ADDRESS."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from training.config import ResourcesConfig

__all__ = ["ray_session"]

_log = logging.getLogger(__name__)


@contextmanager
def ray_session(resources: ResourcesConfig) -> Iterator[None]:
    """Start Ray, or join the running one; stop it at the end if it was started here.

    A local instance listens on loopback only and has no dashboard. Its start is tried twice: on a
    loaded machine Ray gives up after a fixed half minute.
    """
    # RLlib greets every new algorithm with a paragraph on its API.
    logging.getLogger("ray").setLevel(logging.ERROR)
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    else:
        _start_local(1 + resources.env_runners + resources.learners)
    try:
        yield
    finally:
        ray.shutdown()


def _start_local(cpus: int) -> None:
    for attempt in (1, 2):
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                _node_ip_address="127.0.0.1",
            )
            return
        except Exception as error:
            if attempt == 2:
                raise
            _log.warning("Ray did not start (%s); trying once more.", error)
            ray.shutdown()
