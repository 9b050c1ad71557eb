"""Scenario builders: a `kind` names a configuration class and the function that builds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from envs.errors import ConfigError, EchelonError, did_you_mean
from envs.scenario import Scenario
from envs.scenarios.assembly_plant import AssemblyPlantConfig, build_assembly_plant
from envs.scenarios.common import ScenarioConfig
from envs.scenarios.explicit import ExplicitConfig, build_explicit
from envs.scenarios.generated import GeneratedConfig, build_generated
from envs.scenarios.joint_replenishment import JointReplenishmentConfig, build_joint_replenishment
from envs.scenarios.omni_fulfilment import OmniFulfilmentConfig, build_omni_fulfilment
from envs.scenarios.one_warehouse import OneWarehouseConfig, build_one_warehouse
from envs.scenarios.retail import RetailConfig, build_retail
from envs.scenarios.serial import SerialConfig, build_serial
from envs.scenarios.single_node import SingleNodeConfig, build_single_node
from envs.scenarios.stored import StoredConfig, build_stored
from envs.scenarios.two_echelon import TwoEchelonConfig, build_two_echelon
from envs.scenarios.weather_routing import WeatherRoutingConfig, build_weather_routing

__all__ = ["BUILDERS", "ScenarioConfig", "build_scenario"]

BUILDERS: dict[str, tuple[type[ScenarioConfig], Callable[[Any], Scenario]]] = {
    "single_node": (SingleNodeConfig, build_single_node),
    "serial": (SerialConfig, build_serial),
    "one_warehouse": (OneWarehouseConfig, build_one_warehouse),
    "retail": (RetailConfig, build_retail),
    "weather_routing": (WeatherRoutingConfig, build_weather_routing),
    "omni_fulfilment": (OmniFulfilmentConfig, build_omni_fulfilment),
    "explicit": (ExplicitConfig, build_explicit),
    "stored": (StoredConfig, build_stored),
    "two_echelon": (TwoEchelonConfig, build_two_echelon),
    "generated": (GeneratedConfig, build_generated),
    "assembly_plant": (AssemblyPlantConfig, build_assembly_plant),
    "joint_replenishment": (JointReplenishmentConfig, build_joint_replenishment),
}


def build_scenario(config: ScenarioConfig) -> Scenario:
    """Build the scenario a configuration describes.

    Raises ConfigError for an unknown kind; whatever the builder raises names the scenario, or the
    file it was read from.
    """
    if config.kind not in BUILDERS:
        raise ConfigError(
            f"scenario.kind '{config.kind}' is unknown.{did_you_mean(config.kind, BUILDERS)}"
        )
    try:
        return BUILDERS[config.kind][1](config)
    except EchelonError as error:
        where = config.file or f"scenario '{config.name}'"
        raise type(error)(f"{where}: {error}") from error
