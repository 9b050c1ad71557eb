"""A random network of any size: suppliers, plants, warehouses, stores on a map."""

from __future__ import annotations

from dataclasses import dataclass

from envs.network.generate import generate_network
from envs.network.generate_config import GenerateConfig
from envs.scenario import Scenario
from envs.scenarios.common import ScenarioConfig, make_scenario


@dataclass(frozen=True, kw_only=True)
class GeneratedConfig(ScenarioConfig):
    """network: what it looks like; see `envs.network.generate_config.GenerateConfig`."""

    network: GenerateConfig


def build_generated(config: GeneratedConfig) -> Scenario:
    """Build the scenario. Raises ConfigError or NetworkError."""
    network = generate_network(config.network, config.timing)
    return make_scenario(config, network)
