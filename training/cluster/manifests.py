"""Manifests for KubeRay: the templates of conf/cluster with a cluster's settings filled in."""

from __future__ import annotations

import importlib.metadata
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from training.cluster.config import ClusterConfig, GroupConfig, PodConfig

_TEMPLATES = Path(__file__).resolve().parents[2] / "conf" / "cluster"
_HEAD_PORTS = {"gcs": 6379, "dashboard": 8265, "client": 10001, "metrics": 8080}
_WORKER_PORTS = {"metrics": 8080}
_SERVE_PORT = {"serve": 8000}
_SERVE_ENVIRONMENT = {  # serving.app.ENVIRONMENT: nothing here may import serving
    "RAY_SERVE_ENABLE_HA_PROXY": "0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serving.front.middlewares.middlewares",
    "RAY_SERVE_ROUTER_RETRY_MAX_BACKOFF_S": "0.02",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_AT_ONCE = 16  # requests for a replica


def manifests(config: ClusterConfig, words: Sequence[str]) -> list[dict[str, Any]]:
    """Return what Kubernetes is to have: a network policy, and the cluster, job, schedule or
    service.

    words: the command that a job runs, such as train scenario=retail.
    """
    metadata = {
        "name": config.cluster,
        **({"namespace": config.namespace} if config.namespace else {}),
        "labels": {
            "app.kubernetes.io/name": "echelon",
            "app.kubernetes.io/instance": config.cluster,
        },
    }
    common = {"name": config.cluster, "metadata": metadata}
    if config.kind == "rayservice":
        return _service(config, common)
    groups = {"runners": config.runners, "learners": config.learners}
    cluster = _cluster(config, common, groups)
    policy = _policy(config, common)
    if config.kind == "raycluster":
        return [policy, cluster]
    job = _filled(
        "rayjob", **common,
        entrypoint=shlex.join(["exec", "python", "-m", "echelon", *words]),
        time_limit=config.time_limit, start_limit=config.start_limit, retries=config.retries,
        keep_seconds=config.keep_seconds,
        submitter=_filled("submitter", **common, **_place(config, spot=False),
                          image=config.image, pull_policy=config.pull_policy),
        cluster=cluster["spec"],
    )  # fmt: skip
    if config.kind == "rayjob":
        return [policy, job]
    return [policy, _filled(
        "raycronjob", **common, schedule=config.schedule, time_zone=config.time_zone,
        job=job["spec"],
    )]  # fmt: skip


def _service(config: ClusterConfig, common: Mapping[str, Any]) -> list[dict[str, Any]]:
    least = config.replicas.least
    most = config.replicas.most * math.floor(config.replicas.cpu)
    args = {"models": config.models, "min_replicas": least, "max_replicas": most,
            "cache": "/tmp/echelon/cache"}  # fmt: skip
    front = {"at_once": _AT_ONCE * most, "access_log": "/tmp/echelon/access.jsonl"}
    config = replace(
        config,
        environment={**_SERVE_ENVIRONMENT, "ECHELON_FRONT": json.dumps(front),
                     **config.environment},
        secrets={**config.secrets, "ECHELON_API_KEYS": config.api_keys},
    )  # fmt: skip
    cluster = _cluster(config, common, {"replicas": config.replicas}, _SERVE_PORT)
    text = yaml.safe_dump(_filled("serve", args=args), sort_keys=False)
    return [
        _policy(config, common, _SERVE_PORT),
        _filled("rayservice", **common, serve=text, cluster=cluster["spec"]),
    ]


def _cluster(
    config: ClusterConfig,
    common: Mapping[str, Any],
    groups: Mapping[str, GroupConfig],
    ports: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """ports: of all pods, beside Ray's own."""
    more = ports or {}
    cluster: dict[str, Any] = _filled(
        "raycluster", **common,
        ray_version=importlib.metadata.version("ray"),
        idle_seconds=config.idle_seconds,
        head=_pod(config, "ray-head", config.head, spot=False, ports={**_HEAD_PORTS, **more}),
        workers=[
            _group(config, name, group, {**_WORKER_PORTS, **more})
            for name, group in groups.items() if group.most
        ],
    )  # fmt: skip
    return cluster


def _policy(
    config: ClusterConfig, common: Mapping[str, Any], ports: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """ports: those that clients may reach."""
    served = [{"port": port, "protocol": "TCP"} for port in (ports or {}).values()]
    namespace = {"matchLabels": {"kubernetes.io/metadata.name": config.clients}}
    policy: dict[str, Any] = _filled(
        "network_policy", **common, monitoring=config.monitoring,
        monitored=[{"port": 8080, "protocol": "TCP"}, *served],
        clients={"from": [{"namespaceSelector": namespace}], "ports": served} if served else None,
    )  # fmt: skip
    return policy


def _group(
    config: ClusterConfig, name: str, group: GroupConfig, ports: Mapping[str, int]
) -> dict[str, Any]:
    return {
        "groupName": name,
        "replicas": group.least,
        "minReplicas": group.least,
        "maxReplicas": group.most,
        # By it learners keep off spot nodes, see training/rllib/placement.py.
        "labels": {"ray.io/market-type": "spot" if group.spot else "on-demand"},
        "rayStartParams": {},
        "template": _pod(config, "ray-worker", group, group.spot, ports),
    }


def _pod(
    config: ClusterConfig, container: str, pod: PodConfig, spot: bool, ports: Mapping[str, int]
) -> Any:
    claim = {"name": "shared", "persistentVolumeClaim": {"claimName": config.volume_claim}}
    mount = {"name": "shared", "mountPath": config.mount}
    return _filled(
        "pod", name=config.cluster, container=container, image=config.image,
        pull_policy=config.pull_policy, service_account=config.service_account,
        # The head's autoscaler talks to Kubernetes, workers don't.
        service_token=None if container == "ray-head" else False,
        resources=pod.resources, environment=_environment(config), **_place(config, spot),
        ports=[{"name": name, "containerPort": port} for name, port in ports.items()],
        mounts=[mount] if config.volume_claim else None,
        volumes=[claim] if config.volume_claim else None,
    )  # fmt: skip


def _place(config: ClusterConfig, spot: bool) -> dict[str, Any]:
    """Which machines a pod goes to: their labels, and the taints of the same name."""
    labels = config.spot_nodes if spot else config.on_demand_nodes
    return {
        "node_selector": labels or None,
        "tolerations": [
            {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}
            for key, value in labels.items()
        ] or None,
    }  # fmt: skip


def _environment(config: ClusterConfig) -> list[dict[str, Any]] | None:
    plain: list[dict[str, Any]] = [
        {"name": name, "value": value} for name, value in config.environment.items()
    ]
    secret = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for name, place in config.secrets.items()
        if place is not None
        for secret, key in [place.split("/")]
    ]
    return plain + secret or None


def _filled(template: str, **values: Any) -> Any:
    text = (_TEMPLATES / f"{template}.yaml").read_text(encoding="utf-8")
    return _fill(yaml.safe_load(text), values)


def _fill(tree: Any, values: Mapping[str, Any]) -> Any:
    """Put values in place of "$name"; keys and items whose value is None are left out."""
    if isinstance(tree, str) and tree.startswith("$"):
        return values[tree[1:]]
    if isinstance(tree, dict):
        filled = {key: _fill(value, values) for key, value in tree.items()}
        return {key: value for key, value in filled.items() if value is not None}
    if isinstance(tree, list):
        filled_items = [_fill(item, values) for item in tree]
        return [item for item in filled_items if item is not None]
    return tree
