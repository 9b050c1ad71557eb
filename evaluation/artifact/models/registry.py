"""Which network: a new one is a file beside this, a line here, a YAML in conf/model/, a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from envs.errors import ConfigError, did_you_mean
from evaluation.artifact.actor import Actor
from evaluation.artifact.models.graph_attention import GraphAttention
from evaluation.artifact.models.per_node import PerNode
from evaluation.artifact.models.recurrent import Recurrent

__all__ = ["NETWORKS", "build_network"]

Builder = Callable[[Sequence[str], int, Sequence[int], int], Actor]


def _mlp(features: Sequence[str], action_size: int, hidden: Sequence[int], rows: int) -> Actor:
    return Actor(len(features), action_size, hidden)


# (names of the features seen, action heads, units per hidden layer, rows of the kind) -> network
NETWORKS: dict[str, Builder] = {
    Actor.network: _mlp,
    GraphAttention.network: GraphAttention,
    Recurrent.network: Recurrent,
    PerNode.network: PerNode,
}


def build_network(
    name: str, features: Sequence[str], action_size: int, hidden: Sequence[int], rows: int
) -> Actor:
    """The named network, untrained: it answers 0.

    Raises:
        ConfigError: the name is unknown, or the features lack what the network reads.
    """
    if name not in NETWORKS:
        raise ConfigError(
            f"model.network is '{name}'; expected one of: {', '.join(NETWORKS)}."
            f"{did_you_mean(name, NETWORKS)}"
        )
    return NETWORKS[name](features, action_size, hidden, rows)
