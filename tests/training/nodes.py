"""Pathwise on a Ray of several nodes that come and go: `python -m tests.training.nodes`.

Each node is a raylet of its own on this machine. Ends with an error where an iteration loses
episodes, or a node that joins delivers none within five iterations; the weights of iterations
without a fault are those of one process.
"""

from __future__ import annotations

import time
from typing import Any

from evaluation.workers import prepare_ray

prepare_ray()

import ray
import torch
from ray.cluster_utils import Cluster

from tests.settings import as_shipped, training
from tests.training.conftest import textbook_factory, weights
from training.rllib.trainer import (
    build_algorithm,
    iteration_metrics,
)


def built(runners: int) -> Any:
    """32 episodes in 4 shards."""
    resources = as_shipped(
        "resources", env_runners=runners, envs_per_runner=32, restart_wait=60.0, sample_timeout=60.0
    )
    settings = training(as_shipped("algorithm=pathwise", shards=4), resources=resources)
    return build_algorithm(textbook_factory(), settings)


def healthy(algorithm: Any) -> int:
    return int(algorithm.env_runner_group.num_healthy_remote_workers())


def main() -> None:
    """Two nodes, one is lost, one joins."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    alone, algorithm = built(0), built(2)
    for _ in range(3):
        alone.train()
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        numbers = iteration_metrics(algorithm.train())
        assert numbers["sampling/num_env_steps_sampled_lifetime"] == done * 32 * 64, numbers

    for _ in range(3):
        step()
    assert healthy(algorithm) == 2
    assert torch.equal(weights(alone), weights(algorithm))
    print("two nodes: weights are as on one node")

    cluster.remove_node(nodes[1], allow_graceful=False)
    step()
    assert healthy(algorithm) == 1
    print("one node lost: the other plays all shards")

    cluster.add_node(num_cpus=1)
    since = time.monotonic()
    while healthy(algorithm) < 2:
        assert time.monotonic() - since < 300, "the runner did not come to the new node"
        time.sleep(1.0)  # its process starts
        step()
    step()
    print("a node joined: both play")
    algorithm.stop()
    alone.stop()
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
