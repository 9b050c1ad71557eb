"""`echelon cluster render`: KubeRay and Kubernetes take it, and it is as safe as it says."""

from __future__ import annotations

import functools
import gzip
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from echelon import main
from serving.app import ENVIRONMENT, REQUESTS_AT_ONCE, build
from serving.front.keys import KEYS
from serving.front.settings import FrontSettings
from serving.service import Service

KINDS = {
    "raycluster": "RayCluster", "rayjob": "RayJob", "cronjob": "RayCronJob",
    "rayservice": "RayService",
}  # fmt: skip
REGISTRY = "+environment.MLFLOW_TRACKING_URI=http://mlflow:5000"
OPTIONS: dict[str, list[str]] = {
    "as shipped": [],
    "everything": [
        "cluster=nightly", "namespace=ml", "service_account=runs", "volume_claim=disk",
        "runners.gpu=1", "spot_nodes={cloud.google.com/gke-spot: 'true'}",
        "on_demand_nodes={pool: steady}", "+environment.AWS_ENDPOINT_URL=http://minio:9000",
        "+secrets.AWS_SESSION_TOKEN=session/token", "retries=0", "keep_seconds=0",
    ],
    "the least": ["run='train scenario=retail resources=local'",
                  "runners.most=0", "runners.least=0", "learners.most=0",
                  "secrets.AWS_ACCESS_KEY_ID=null", "environment={}"],
}  # fmt: skip


def rendered(capsys: pytest.CaptureFixture[str], *typed: str) -> list[dict[str, Any]]:
    """What the command prints, read; a service has a registry."""
    if "kind=rayservice" in typed:
        typed = (*typed, REGISTRY)
    assert main(["cluster", "render", *typed]) == 0, capsys.readouterr().err
    return list(yaml.safe_load_all(capsys.readouterr().out))


def cluster_of(document: dict[str, Any]) -> dict[str, Any]:
    """The spec of the cluster in any of the kinds."""
    spec: dict[str, Any] = document["spec"]
    spec = spec.get("jobTemplate", spec)
    return spec.get("rayClusterSpec", spec.get("rayClusterConfig", spec))


def pods_of(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All pod templates, the submitter's too."""
    spec = document["spec"].get("jobTemplate", document["spec"])
    if "submitterPodTemplate" in spec:
        yield spec["submitterPodTemplate"]
    cluster = cluster_of(document)
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        yield group["template"]


def strict(schema: Any) -> Any:
    """The schema, with unknown keys refused and Kubernetes' numbers or texts taken."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if made.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if isinstance(made.get("properties"), dict) and "additionalProperties" not in made:
        made["additionalProperties"] = False
    return made


@functools.cache
def validator(kind: str) -> Any:
    """Of KubeRay's own schema, by the kind of a document."""
    path = Path(__file__).parent / "kuberay" / f"{kind.lower()}s.json.gz"
    stored = json.loads(gzip.decompress(path.read_bytes()))
    assert stored["kind"] == kind
    schema = strict(stored["schema"])
    schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS)
def test_kuberay_and_kubernetes_take_it(
    kind: str, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By their schemas, with no key that they don't know."""
    policy, document = rendered(capsys, f"kind={kind}", *OPTIONS[options])
    assert document["kind"] == KINDS[kind]
    validator(KINDS[kind]).validate(document)
    kubernetes_validate.validate(policy, "1.30", strict=True)
    for pod in pods_of(document):
        metadata = {**pod["metadata"], "name": "pod"}
        whole = {"apiVersion": "v1", "kind": "Pod", **pod, "metadata": metadata}
        kubernetes_validate.validate(whole, "1.30", strict=True)


def test_a_wrong_manifest_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    """The check can fail: a key that KubeRay doesn't know, a pod without containers."""
    _, document = rendered(capsys)
    document["spec"]["backOffLimit"] = 3
    with pytest.raises(jsonschema.ValidationError, match="backOffLimit"):
        validator("RayJob").validate(document)
    del document["spec"]["backOffLimit"]
    document["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"].pop("containers")
    with pytest.raises(jsonschema.ValidationError, match="containers"):
        validator("RayJob").validate(document)


@pytest.mark.parametrize("kind", KINDS)
def test_every_pod_is_kept_small(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No root, no further rights; bounded resources; probes by HTTP; secrets by reference; labels
    that the network policy goes by."""
    policy, document = rendered(capsys, f"kind={kind}", "cluster=mine")
    for pod in pods_of(document):
        spec = pod["spec"]
        [container] = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
        if container["name"] != "ray-job-submitter":
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert container[probe]["httpGet"] == {"path": "/api/healthz", "port": 52365}
            assert spec["terminationGracePeriodSeconds"] >= 30
            secret = {e["name"]: e["valueFrom"] for e in container["env"] if "valueFrom" in e}
            assert secret["MLFLOW_TRACKING_PASSWORD"] == {
                "secretKeyRef": {"name": "echelon", "key": "mlflow-password"}
            }
        selector = policy["spec"]["podSelector"]["matchLabels"]
        assert selector.items() <= pod["metadata"]["labels"].items()
    assert cluster_of(document)["authOptions"] == {"mode": "token"}
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert all("from" in rule for rule in policy["spec"]["ingress"]), "open to everybody"


def test_a_service_is_what_serving_builds(capsys: pytest.CaptureFixture[str]) -> None:
    """Ray takes its Serve file and `serving.app` its arguments; all pods have what it needs; only
    the clients' namespace and Prometheus reach its port."""
    typed = ["kind=rayservice", "models=[echelon-a,echelon-b]", "replicas.most=3",
             "clients=gateway", "api_keys=keys/lines"]  # fmt: skip
    policy, document = rendered(capsys, *typed)
    file = ServeDeploySchema.model_validate(yaml.safe_load(document["spec"]["serveConfigV2"]))
    [application] = file.applications
    assert application.import_path == f"{build.__module__}:{build.__name__}"
    service = Service.from_plain(application.args)
    assert (service.models, service.max_replicas) == (("echelon-a", "echelon-b"), 6)
    for pod in pods_of(document):
        [container] = pod["spec"]["containers"]
        environment = {e["name"]: e.get("value") for e in container["env"]}
        assert ENVIRONMENT.items() <= environment.items()
        assert FrontSettings.from_environment(environment).at_once == 6 * REQUESTS_AT_ONCE
        [keys] = [e["valueFrom"] for e in container["env"] if e["name"] == KEYS]
        assert keys == {"secretKeyRef": {"name": "keys", "key": "lines"}}
        assert {"name": "serve", "containerPort": 8000} in container["ports"]
    reach = {
        selector["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for rule in policy["spec"]["ingress"]
        if any(port["port"] == 8000 for port in rule.get("ports", ()))
        for selector in rule["from"]
    }
    assert reach == {"gateway", "monitoring"}
    other, _ = rendered(capsys, "kind=raycluster")
    assert "8000" not in str(other)


def test_spot_is_for_runners_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """The head, learners and the submitter are on machines that stay."""
    nodes = ["spot_nodes={life: spot}", "on_demand_nodes={life: steady}"]
    _, document = rendered(capsys, *nodes)
    places = {
        pod["spec"]["containers"][0]["name"] + str(pod["spec"]["nodeSelector"]["life"])
        for pod in pods_of(document)
    }
    assert places == {"ray-headsteady", "ray-workerspot", "ray-workersteady",
                      "ray-job-submittersteady"}  # fmt: skip
    groups = {g["groupName"]: g for g in cluster_of(document)["workerGroupSpecs"]}
    assert groups["runners"]["labels"] == {"ray.io/market-type": "spot"}
    assert groups["learners"]["labels"] == {"ray.io/market-type": "on-demand"}
    [toleration] = groups["runners"]["template"]["spec"]["tolerations"]
    assert (toleration["key"], toleration["value"]) == ("life", "spot")


def test_a_job_has_its_limits(capsys: pytest.CaptureFixture[str]) -> None:
    """Time-outs, tries, what is deleted; a schedule has the same job in it."""
    typed = ["time_limit=60", "start_limit=30", "retries=2", "keep_seconds=5",
             "run='train scenario=serial out=\"/mnt/a b\"'"]  # fmt: skip
    _, job = rendered(capsys, *typed)
    spec = job["spec"]
    assert shlex.split(spec["entrypoint"]) == [
        "exec", "python", "-m", "echelon", "train", "scenario=serial", "out=/mnt/a b"
    ]  # fmt: skip
    assert (spec["activeDeadlineSeconds"], spec["preRunningDeadlineSeconds"]) == (60, 30)
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (2, 5)
    assert spec["shutdownAfterJobFinishes"] is True
    assert int(yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) > 20
    _, nightly = rendered(capsys, *typed, "kind=cronjob", "schedule='30 3 * * 1-5'")
    assert nightly["spec"]["jobTemplate"] == spec
    assert nightly["spec"]["schedule"] == "30 3 * * 1-5"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["kind=rayjobs"], "Did you mean 'rayjob'?"),
        (["cluster=My_Cluster"], "no name for Kubernetes"),
        (["run=serve"], "'serve' can't be sent"),
        (["run='train scenario=seriall'"], "Did you mean 'serial'?"),
        (["run='train \"'"], "No closing quotation"),
        (["run='train tracking.uri=http://ann:hush@host'"], "has a password"),
        (["+environment.MY_TOKEN=hush"], "named under +secrets.MY_TOKEN"),
        (["+environment.HOST=http://ann:hush@host"], "would be a secret"),
        (["+secrets.MY_TOKEN=hush"], "not of the form SECRET/KEY"),
        (["head.memory=much"], "expected cpu > 0, memory such as 8Gi"),
        (["runners.most=0"], "expected 0 <= least <= most"),
        (["learners.spot=true"], "learners are never placed on spot machines"),
        (["run='train resources=cluster resources.env_runners=40'"], "expected 10 pods"),
        (["run='train resources=cluster resources.memory_per_runner=9'"], "larger pods"),
        (["runners.least=2"], "has use for 1"),
        (["run='train resources=local'"], "set runners.least=0"),
        (["run='train resources=cluster resources.device=cuda'"], "set head.gpu=1"),
        (
            ["run='train resources=cluster resources.learners=2 resources.device=cuda'"],
            "set learners.most=2",
        ),
        (["schedule=daily"], "expected five fields"),
        (["kind=rayservice"], "+environment.MLFLOW_TRACKING_URI"),
        (["kind=rayservice", REGISTRY, "models=[]"], "expected one or more"),
        (["api_keys=hush"], "api_keys is not of the form"),
        (["time_limit=0"], "expected seconds >= 1"),
    ],
)
def test_mistakes_are_one_line(
    typed: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is printed for kubectl, and no secret is shown."""
    assert main(["cluster", "render", *typed]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert "hush" not in printed.err
