"""Any network, written out in YAML: nodes, SKUs, stocks, lanes, resources, regimes by name.

The keys are the fields of the types in `envs.network`, read by their annotations
(`envs.network.plain`); here stands only what people write in a shorter way.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from envs.errors import ConfigError
from envs.network.calendar import Calendar
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, LaneInput
from envs.network.lead_time import LeadTime
from envs.network.network import Stock, SupplyNetwork
from envs.network.plain import Reader, must_know_keys
from envs.scenario import Scenario
from envs.scenarios.calendars import CalendarReader
from envs.scenarios.common import ScenarioConfig, make_scenario

_LEAD_TIME = {  # a lane's keys -> fields of its lead time
    "lead_time" if f.name == "minimum" else f"lead_time_{f.name}": f.name
    for f in fields(LeadTime)
    if f.name != "no_overtaking"
} | {"no_overtaking": "no_overtaking"}

# Names that YAML takes for numbers or truth values (0017, NO) are refused where they are read.
_ByName = dict[Any, Any]


@dataclass(frozen=True, kw_only=True)
class ExplicitConfig(ScenarioConfig):
    """The parts of a network by name; keys and units are the fields of the types.

    nodes: id -> `envs.network.network.Node`, or its kind alone.
    skus: id -> `Sku`, or its value alone [currency per unit].
    stocks: any name -> `Stock`; demand: see `envs.network.demand.DemandConfig`.
    lanes: id -> `Lane`. inputs: sku@node -> units per unit. resources: id -> use per unit.
      lead_time: periods; lead_time_delay_mean, ...: see `envs.network.lead_time.LeadTime`.
    resources: id -> `Resource`, or its capacity alone; null is unlimited.
    regimes: id -> `envs.network.regime.Regime`. states: name -> `RegimeState`. by_mode: lane mode
      -> states.
    calendars: name -> `envs.network.calendar.Calendar`, shared by name; `open` can be days of the
      week, `closed_on` and `open_on` dates (`envs.scenarios.calendars`).
    """

    nodes: _ByName
    skus: _ByName
    stocks: _ByName
    lanes: _ByName
    resources: _ByName = field(default_factory=dict)
    regimes: _ByName = field(default_factory=dict)
    calendars: _ByName = field(default_factory=dict)


def build_explicit(config: ExplicitConfig) -> Scenario:
    """Build the scenario. Raises ConfigError or NetworkError naming the key, lane or stock."""
    periods = config.warm_up + config.horizon + 1
    calendars = CalendarReader(config.calendars, config.start_date, config.period_name)
    reader = Reader(
        forms={
            Lane: _lane,
            Demand: lambda value, where: _demand(value, where, periods),
            Calendar: calendars,
        }
    )
    parts = {name: getattr(config, name) for name in ("nodes", "skus", "lanes", "resources")}
    stocks = tuple(
        reader.part(Stock, entry, f"stocks.{name}") for name, entry in config.stocks.items()
    )
    network = reader.part(
        SupplyNetwork,
        {**parts, "regimes": config.regimes},
        "",
        {"stocks": stocks, "timing": config.timing},
    )
    return make_scenario(config, network)


def _lane(entry: Any, where: str) -> Any:
    """Spell out the inputs and the lead time of a lane."""
    if not isinstance(entry, Mapping):
        return entry
    names = [f.name for f in fields(Lane) if f.name != "id"]
    must_know_keys(entry, [*names, *(key for key in _LEAD_TIME if key not in names)], where)
    spelled = {key: value for key, value in entry.items() if key not in _LEAD_TIME}
    times = {key: entry[key] for key in _LEAD_TIME if key in entry}
    if times:
        hints = typing.get_type_hints(LeadTime)
        read = {
            _LEAD_TIME[key]: Reader().read(hints[_LEAD_TIME[key]], value, f"{where}.{key}")
            for key, value in times.items()
        }
        spelled["lead_time"] = Reader().part(LeadTime, {}, where, read)
    if isinstance(inputs := entry.get("inputs"), Mapping):
        spelled["inputs"] = [
            _input(label, units, f"{where}.inputs.{label}") for label, units in inputs.items()
        ]
    return spelled


def _input(label: Any, quantity: Any, where: str) -> LaneInput:
    sku, at, node = str(label).partition("@")
    if not at:
        raise ConfigError(f"{where} isn't of the form sku@node: units, such as frame@plant: 2.")
    return LaneInput(node, sku, Reader().read(float, quantity, where))


def _demand(value: Any, where: str, periods: int) -> Demand:
    if isinstance(value, Demand):
        return value
    config = Reader().part(DemandConfig, value, where)
    try:
        return Demand.from_config(config, periods)
    except ConfigError as error:
        raise ConfigError(f"{where}: {str(error).removeprefix('demand: ')}") from error
