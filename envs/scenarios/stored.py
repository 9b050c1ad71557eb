"""The scenario of an exported policy, read from its network.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from envs.errors import ConfigError
from envs.network.network import SupplyNetwork
from envs.network.stored import READER
from envs.scenario import Scenario
from envs.scenarios.common import ScenarioConfig, make_scenario


@dataclass(frozen=True, kw_only=True)
class StoredConfig(ScenarioConfig):
    """network: `SupplyNetwork` in the plain form of an artifact, every field written out."""

    network: dict[str, Any]


def build_stored(config: StoredConfig) -> Scenario:
    """Build the scenario. Raises ConfigError or NetworkError naming what is wrong, and where."""
    network = READER.part(SupplyNetwork, config.network, "network")
    for stock in network.stocks:
        if stock.demand is not None and stock.demand.history is not None:
            raise ConfigError(
                f"demand of '{stock.label}' was replayed from data that network.json doesn't hold; "
                "expected demand that is drawn. Give scenario=NAME, or write the network out in "
                "YAML with the history."
            )
    return make_scenario(config, network)
