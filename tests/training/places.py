"""Where actors land on a Ray of several nodes: `python -m tests.training.places`.

Each node is a raylet of its own on this machine, with the labels that `echelon cluster render`
gives its pods. Ends with an error where a learner is on a spot machine or runners aren't spread,
where a training begins with too few of them, and where Prometheus would see nothing.
"""

from __future__ import annotations

import os
import time
import urllib.request
from typing import Any

from evaluation.workers import prepare_ray

prepare_ray()

import ray
from ray.cluster_utils import Cluster

from conf.compose import compose
from envs.errors import TrainingStopped
from evaluation.ray_workers import ray_session
from tests.settings import as_shipped, training
from tests.training.conftest import textbook_factory
from tests.waiting import wait_for
from training.cluster.manifests import manifests
from training.commands.cluster_render import ClusterRenderCommand
from training.job.watch import Watch
from training.rllib.learners import on_learners
from training.rllib.trainer import build_algorithm, iteration_metrics


def built(**resources: Any) -> Any:
    """32 episodes in 4 shards, learned from on an actor."""
    given = {"learners": 1, "placement": "spread", "memory_per_runner": 0.1, **resources}
    settings = as_shipped("resources", envs_per_runner=32, **given)
    config = training(as_shipped("algorithm=pathwise", shards=4), resources=settings)
    return build_algorithm(textbook_factory(), config)


def here(_: Any) -> str:
    return ray.get_runtime_context().get_node_id()


def refusal(**resources: Any) -> str:
    """Of a training that has to wait for what isn't there."""
    try:
        built(**resources)
    except TrainingStopped as stopped:
        return str(stopped)
    raise AssertionError("nothing was waited for")


def node_with(labels: dict[str, str]) -> dict[str, Any]:
    [found] = [node for node in ray.nodes() if labels.items() <= node["Labels"].items()]
    return found


@ray.remote
def speak() -> None:
    print("a worker on another node says this")


def main() -> None:
    """A spot node alone, then one that stays beside it."""
    *_, manifest = manifests(compose(ClusterRenderCommand, ["kind=raycluster"]).command, [])
    labels = {group["groupName"]: group["labels"] for group in manifest["spec"]["workerGroupSpecs"]}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    cluster.add_node(num_cpus=2, labels=labels["runners"])
    os.environ["RAY_ADDRESS"] = cluster.address
    with ray_session(0):
        ray.get(speak.remote())
        text = refusal(env_runners=1, start_wait=2.0)
        assert text.startswith("1 learners, 1 CPU each, could not be started within 2 s"), text
        print("a learner waits for a node that stays")

        cluster.add_node(num_cpus=2, labels=labels["learners"])
        spot, steady = (node_with(labels[name])["NodeID"] for name in ("runners", "learners"))
        algorithm = built(env_runners=4, min_runners=2, restart_wait=5.0)
        assert on_learners(algorithm, here) == [steady]
        for _ in range(3):
            numbers = iteration_metrics(algorithm.train())
        assert numbers["cluster/runners"] == 3.0  # there is no room for the fourth
        homes = algorithm.env_runner_group.foreach_env_runner(here, local_env_runner=False)
        assert sorted(set(homes)) == sorted((spot, steady)), homes
        print("learners stay, runners go anywhere")

        watch = Watch("places", 1, lambda step, values: None)
        watch(3, {**numbers, "time/iteration": 3.0})
        [head] = [node for node in ray.nodes() if node["Resources"].get("CPU", 0.0) == 0.0]
        address = f"http://{head['NodeManagerAddress']}:{head['MetricsExportPort']}/metrics"
        seen: list[str] = []

        def is_there() -> bool:
            with urllib.request.urlopen(address) as answer:
                seen[:] = [ln for ln in answer.read().decode().splitlines() if "echelon" in ln]
            return any(line.startswith("ray_echelon_iteration{") for line in seen)

        wait_for(is_there)
        [line] = [line for line in seen if line.startswith("ray_echelon_runners{")]
        assert 'run="places"' in line, line
        assert float(line.rpartition(" ")[2]) == 3.0, line
        efficiency = numbers["cluster/scaling_efficiency"]
        [line] = [line for line in seen if line.startswith("ray_echelon_scaling_efficiency{")]
        assert abs(float(line.rpartition(" ")[2]) - efficiency) < 1e-6, line
        assert 0.0 < efficiency <= 1.0
        print("Prometheus sees it")
        algorithm.stop()

        text = refusal(env_runners=4, min_runners=4, restart_wait=2.0, start_wait=20.0)
        assert text.startswith("4 of 4 runners, 1 CPU, 0.1 GB each, could not be started"), text
        print("too few runners are not begun with")
        time.sleep(1.0)  # what the worker printed arrives
    cluster.shutdown()


if __name__ == "__main__":
    main()
