"""Where Ray places the actors of a training: learners on machines that stay."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import Any

import ray
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    placement_group,
    remove_placement_group,
)

from envs.errors import ConfigError, TrainingStopped
from training.config import ResourcesConfig

# Ray's label of a node on a machine that may be taken away; nodes without the label will do.
OFF_SPOT = {"ray.io/market-type": "!spot"}

_log = logging.getLogger(__name__)


class PlacedLearners(AlgorithmConfig):
    """RLlib's settings; learners that are actors go to nodes with room for all of them."""

    def build_learner_group(
        self, *, placement_group: PlacementGroup | None = None, **kwargs: Any
    ) -> LearnerGroup:
        """Build RLlib's.

        Raises:
            ConfigError: no node of this machine's Ray has what a learner takes.
            TrainingStopped: the nodes of a cluster have not had it for `resources.start_wait`.
        """
        # Within a trial of a sweep, the trial's own group has room for them.
        if self.num_learners and placement_group is None and in_no_group():
            placement_group = _place_of_learners(self.env_config["resources"])
        return super().build_learner_group(placement_group=placement_group, **kwargs)


def in_no_group() -> bool:
    """Whether this process is in no placement group, which its actors would be in, too."""
    return get_current_placement_group() is None


def require_nodes(resources: ResourcesConfig) -> None:
    """Raise ConfigError where what learns and plays will never have what it takes: a GPU of this
    machine, or, where Ray is this machine's own and nothing will join it, of its node."""
    if resources.device == "cuda" and not resources.learners and not torch.cuda.is_available():
        raise ConfigError(
            "resources.device is cuda, but torch finds no GPU on this machine; expected one; set "
            "resources.device=cpu, or install a torch built for this GPU's driver"
        )
    if "RAY_ADDRESS" in os.environ or not ray.is_initialized():
        return
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for what, count, wanted in (
        ("runner", resources.runners, resources.runner),
        ("learner", resources.learners, resources.learner),
    ):
        fits = any(all(node.get(name, 0.0) >= wanted[name] for name in wanted) for node in nodes)
        if count and not fits:
            raise ConfigError(
                f"a {what} takes {_in_words(wanted)} of one node, and Ray has {_nodes_in_words()}; "
                "expected a node with that: ask for less (resources), or set RAY_ADDRESS to a "
                "cluster with such a node"
            )


def not_started(what: str, wanted: Mapping[str, float], seconds: float) -> TrainingStopped:
    """Return what to raise where actors have not started for so long."""
    return TrainingStopped(
        f"{what}, {_in_words(wanted)} each, could not be started within {seconds:.0f} s; Ray has "
        f"{_nodes_in_words()}; see the first error in their logs, add nodes, ask for less "
        "(resources), or raise resources.start_wait"
    )


def _in_words(bundle: Mapping[str, float]) -> str:
    """Such as 1 CPU, 1 GPU, 2 GB."""
    return ", ".join(
        f"{amount / 1e9:.3g} GB" if name == "memory" else f"{amount:g} {name}"
        for name, amount in bundle.items()
    )


def _nodes_in_words() -> str:
    names = ("CPU", "GPU", "memory")
    nodes = [
        _in_words({name: node["Resources"][name] for name in names if name in node["Resources"]})
        for node in ray.nodes()
        if node["Alive"]
    ]
    return "; ".join(f"{nodes.count(one)} x ({one or 'none'})" for one in sorted(set(nodes)))


def _place_of_learners(resources: ResourcesConfig) -> PlacementGroup:
    count, wanted = resources.learners, resources.learner
    group = placement_group(
        [wanted] * count, resources.placement.upper(), bundle_label_selector=[OFF_SPOT] * count
    )
    begun = time.monotonic()
    if not group.wait(min(10.0, resources.start_wait)):
        _log.warning(
            "Waiting for nodes with room for %d learners, %s each.", count, _in_words(wanted)
        )
        if not group.wait(max(0.0, resources.start_wait - (time.monotonic() - begun))):
            remove_placement_group(group)
            raise not_started(f"{count} learners", wanted, resources.start_wait)
    return group
