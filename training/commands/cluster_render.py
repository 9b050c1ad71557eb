"""`echelon cluster render`: manifests for KubeRay, the operator of Ray on Kubernetes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import ClassVar

import yaml

from conf.compose import CommandConfig, compose
from envs.errors import ConfigError, shown
from training.cluster.config import ClusterConfig, check_room
from training.cluster.manifests import manifests
from training.commands.submit import checked_words, composed


@dataclass(frozen=True)
class ClusterRenderCommand(ClusterConfig, CommandConfig):
    """`echelon cluster render`."""

    name: ClassVar = "cluster render"


def cluster_render(argv: list[str]) -> int:
    """Print the manifests as YAML; returns the exit code. Raises ConfigError."""
    command = compose(ClusterRenderCommand, argv).command
    try:
        words = shlex.split(command.run)
    except ValueError as error:
        raise ConfigError(f"run is {shown(command.run)}: {error}; expected a command.") from error
    words = checked_words(words, has_network=False)
    if command.kind in ("rayjob", "cronjob") and words[0] == "train":
        for training in composed(words, has_network=False):
            check_room(command, training.resources)
    documents = manifests(command, words)
    print(yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=100), end="")
    return 0


class _Dumper(yaml.SafeDumper):
    """Writes what stands twice out twice: no & and *."""

    def ignore_aliases(self, data: object) -> bool:
        return True
