"""Settings of a cluster on Kubernetes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from envs.errors import ConfigError, did_you_mean, shown
from envs.redact import is_secret_name, redact
from training.config import ResourcesConfig

KINDS = ("raycluster", "rayjob", "cronjob", "rayservice")
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")  # KubeRay's names are made longer
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|[kMGT])?")
_UNITS = {"": 1.0, **{f"{letter}i": 1024.0**n for n, letter in enumerate("KMGT", start=1)}}
_UNITS |= {letter: 1000.0**n for n, letter in enumerate("kMGT", start=1)}
_SECRET = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?/[-._a-zA-Z0-9]+")
_SCHEDULE = re.compile(r"@\w+|\S+( \S+){4}")


@dataclass(frozen=True)
class PodConfig:
    """What a pod takes. cpu, gpu: in whole or parts. memory: a Kubernetes quantity."""

    cpu: float
    memory: str
    gpu: int

    def __post_init__(self) -> None:
        if not self.cpu > 0 or self.gpu < 0 or not _QUANTITY.fullmatch(self.memory):
            raise ConfigError(
                f"a pod has cpu {self.cpu}, memory {shown(self.memory)} and gpu {self.gpu}; "
                "expected cpu > 0, memory such as 8Gi, gpu >= 0."
            )

    @property
    def resources(self) -> dict[str, str]:
        """As Kubernetes has them."""
        own = {"cpu": f"{self.cpu:g}", "memory": self.memory}
        return {**own, "nvidia.com/gpu": str(self.gpu)} if self.gpu else own

    def room_for(self, bundle: Mapping[str, float]) -> int:
        """Return how many actors that take so much of Ray find room in a pod."""
        number, unit = _QUANTITY.fullmatch(self.memory).groups()  # type: ignore[union-attr]
        has = {"CPU": self.cpu, "GPU": self.gpu, "memory": float(number) * _UNITS[unit or ""]}
        return min(math.floor(has[name] / amount) for name, amount in bundle.items())


@dataclass(frozen=True)
class GroupConfig(PodConfig):
    """Workers that are alike. least, most: pods; spot: on machines that may be taken away."""

    least: int
    most: int
    spot: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.least <= self.most:
            raise ConfigError(
                f"a group of workers has least {self.least} and most {self.most}; expected "
                "0 <= least <= most."
            )


@dataclass(frozen=True)
class ClusterConfig:
    """What `echelon cluster render` makes a manifest of.

    cluster: the name of the cluster or job.
    secrets: variable -> "secret/key"; None: none.
    models, replicas, api_keys, clients: of a rayservice.
    time_limit, start_limit, keep_seconds, idle_seconds: seconds.
    Raises ConfigError.
    """

    kind: str
    cluster: str
    namespace: str | None
    image: str
    pull_policy: str
    run: str
    schedule: str
    time_zone: str
    time_limit: int
    start_limit: int
    retries: int
    keep_seconds: int
    idle_seconds: int
    head: PodConfig
    runners: GroupConfig
    learners: GroupConfig
    models: list[str]
    replicas: GroupConfig
    api_keys: str
    clients: str
    on_demand_nodes: dict[str, str]
    spot_nodes: dict[str, str]
    service_account: str | None
    environment: dict[str, str]
    secrets: dict[str, str | None]
    volume_claim: str | None
    mount: str
    monitoring: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(
                f"kind {shown(self.kind)} is unknown.{did_you_mean(self.kind, KINDS)}"
            )
        if not _NAME.fullmatch(self.cluster):
            raise ConfigError(
                f"cluster is {shown(self.cluster)}, no name for Kubernetes; expected small "
                "letters, digits and '-', at most 40, beginning with a letter."
            )
        if not _SCHEDULE.fullmatch(self.schedule):
            raise ConfigError(
                f"schedule is {shown(self.schedule)}; expected five fields as cron has them, such "
                "as '0 2 * * *'."
            )
        for variable, value in self.environment.items():
            if is_secret_name(variable) or redact(value) != value:
                raise ConfigError(
                    f"environment.{variable} would be a secret that stands in the manifest; "
                    f"expected it in a secret, which is named under +secrets.{variable}."
                )
        for variable, place in {**self.secrets, "api_keys": self.api_keys}.items():
            if place is not None and not _SECRET.fullmatch(place):
                raise ConfigError(
                    f"{_key_of(variable)} is not of the form SECRET/KEY, such as "
                    "echelon/mlflow-password; expected the names, not the secret itself."
                )
        if self.kind == "rayservice":
            self._check_service()
        if self.learners.spot:
            raise ConfigError(
                "learners.spot is true, but learners are never placed on spot machines: a lost one "
                "costs what was learned since the last checkpoint; expected false."
            )
        for key in ("time_limit", "start_limit"):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key} is {getattr(self, key)}; expected seconds >= 1.")
        for key in ("retries", "keep_seconds", "idle_seconds"):
            if getattr(self, key) < 0:
                raise ConfigError(f"{key} is {getattr(self, key)}; expected 0 or more.")

    def _check_service(self) -> None:
        if not self.models or self.replicas.least < 1 or self.replicas.cpu < 1:
            raise ConfigError(
                f"a rayservice has models {self.models} and replicas of {self.replicas.cpu:g} "
                f"cores, {self.replicas.least} at least; expected one or more of each."
            )
        if "MLFLOW_TRACKING_URI" not in {**self.environment, **self.secrets}:
            raise ConfigError(
                "a rayservice takes its policies from a model registry; expected its address: "
                "+environment.MLFLOW_TRACKING_URI=http://HOST:PORT, or +secrets.MLFLOW_TRACKING_URI"
                "=SECRET/KEY where it has a password."
            )


def _key_of(variable: str) -> str:
    return variable if variable == "api_keys" else f"secrets.{variable}"


def check_room(config: ClusterConfig, resources: ResourcesConfig) -> None:
    """Raise ConfigError where a training's actors and the pods of its cluster don't go together:
    the autoscaler starts as many as there are actors waiting for, between least and most."""
    if resources.env_runners is not None:
        _check_group("runners", config.runners, resources.runners, "env_runners", resources.runner)
    _check_group("learners", config.learners, resources.learners, "learners", resources.learner)
    gpus = {"GPU": resources.learner.get("GPU", 0.0)}
    if gpus["GPU"] and not resources.learners and not config.head.room_for(gpus):
        raise ConfigError(
            "run has resources.device=cuda and resources.learners=0, so that the job's own process "
            "learns, on the head, but head.gpu is 0; expected a GPU there: set head.gpu=1, or "
            "resources.learners=1 in run."
        )


def _check_group(
    name: str, group: GroupConfig, actors: int, option: str, bundle: Mapping[str, float]
) -> None:
    each = group.room_for(bundle)
    if actors and not each:
        raise ConfigError(
            f"{name} are pods of cpu {group.cpu:g}, memory {group.memory}, gpu {group.gpu}, which "
            f"have no room for what run asks for each: "
            f"{', '.join(f'{amount:g} {what}' for what, amount in bundle.items())}; expected "
            f"larger pods, or less in run."
        )
    needed = math.ceil(actors / each) if actors else 0
    if needed > group.most:
        raise ConfigError(
            f"{name}.most is {group.most}, of {each} {name} each, but run has "
            f"resources.{option}={actors}; expected {needed} pods: set {name}.most={needed}, or "
            f"resources.{option}={each * group.most} in run."
        )
    if group.least > needed:
        raise ConfigError(
            f"{name}.least is {group.least}, but run, with resources.{option}={actors}, has use "
            f"for {needed}: the others would idle; set {name}.least={needed}, or raise "
            f"resources.{option} in run."
        )
