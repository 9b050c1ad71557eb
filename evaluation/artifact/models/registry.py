"""Which model: a new one is a file beside this, a line here, a YAML in conf/model/, a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from envs.errors import ConfigError, did_you_mean
from evaluation.artifact.actor import Actor
from evaluation.artifact.models.graph_attention import GraphAttention
from evaluation.artifact.models.per_node import PerNode
from evaluation.artifact.models.recurrent import Recurrent

Builder = Callable[[Sequence[str], int, Sequence[int], int], Actor]


def _mlp(features: Sequence[str], action_size: int, hidden: Sequence[int], rows: int) -> Actor:
    return Actor(len(features), action_size, hidden)


# (names of the features seen, action heads, units per hidden layer, rows of the kind) -> model
MODELS: dict[str, Builder] = {
    Actor.form: _mlp,
    GraphAttention.form: GraphAttention,
    Recurrent.form: Recurrent,
    PerNode.form: PerNode,
}


def build_model(
    name: str, features: Sequence[str], action_size: int, hidden: Sequence[int], rows: int
) -> Actor:
    """The named model, untrained: it answers 0.

    Raises:
        ConfigError: the name is unknown, or the features lack what the model reads.
    """
    if name not in MODELS:
        raise ConfigError(
            f"model.form is '{name}'; expected one of: {', '.join(MODELS)}."
            f"{did_you_mean(name, MODELS)}"
        )
    return MODELS[name](features, action_size, hidden, rows)
