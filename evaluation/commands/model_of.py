"""The registered model that a command means by its scenario or network file."""

from __future__ import annotations

from conf.compose import NetworkCommand
from envs.errors import ArtifactError
from envs.scenarios import build_scenario
from evaluation.artifact.network_io import physical_hash
from evaluation.artifact.registry import are_several, find_model, model_name


def model_of(command: NetworkCommand, tracking_uri: str) -> str:
    """Return its name: the model of that network, if the registry has one. It may be away: a
    folder, or a copy that is kept, serves all the same."""
    name = command.scenario.name
    try:
        # To build the network may take seconds.
        if command.network is None and not are_several(name, tracking_uri):
            return model_name(name)
        return find_model(name, physical_hash(build_scenario(command.scenario)), tracking_uri)
    except ArtifactError:
        return model_name(name)
