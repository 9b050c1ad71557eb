"""Any network, written out in YAML: nodes, SKUs, stocks, lanes, resources, regimes by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from envs.errors import ConfigError, NetworkError, did_you_mean
from envs.network.demand import Demand, DemandConfig
from envs.network.lead_time import LeadTime
from envs.network.network import (
    Allocation,
    Calendar,
    Lane,
    LaneInput,
    Limits,
    ModeStates,
    Node,
    Regime,
    RegimeState,
    Resource,
    ResourceUse,
    Schedule,
    Sku,
    Speed,
    Stock,
    SupplyNetwork,
)
from envs.scenario import Scenario
from envs.scenarios.common import ScenarioConfig, make_scenario

__all__ = ["ExplicitConfig", "build_explicit"]

T = TypeVar("T")


@dataclass  # entries aren't frozen: OmegaConf would make them read-only
class CalendarEntry:
    """Open in the periods t with t mod cycle in `open`; see `envs.network.network.Calendar`."""

    cycle: int = 7
    open: list[int] = field(default_factory=list)


@dataclass
class NodeEntry:
    """A node; see `envs.network.network.Node`. storage_capacity: null is unlimited."""

    kind: str = ""
    storage_capacity: float | None = None
    review: CalendarEntry | None = None
    position: list[float] | None = None


@dataclass
class StockEntry:
    """A stocked pair; see `envs.network.network.Stock` for units. serve_limit: null is
    unlimited."""

    node: str = ""
    sku: str = ""
    holding_cost: float = 0.0
    backlog_cost: float = 0.0
    lost_sale_cost: float = 0.0
    price: float = 0.0
    p_wait: float = 1.0
    target_service: float = 0.95
    initial_stock: float = 0.0
    serve_limit: float | None = None
    demand: DemandConfig | None = None
    demand_regimes: list[str] = field(default_factory=list)
    allocation: Allocation = Allocation.proportional
    learned_allocation: bool = False


@dataclass
class LaneEntry:
    """A lane; see `envs.network.network.Lane` for units. inputs: sku@node -> units per unit.
    resources: id -> use per unit. lead_time_*: see `envs.network.lead_time.LeadTime`."""

    node: str = ""
    sku: str = ""
    lead_time: int = 1
    lead_time_delay_mean: float = 0.0
    lead_time_delay_sd: float = 0.0
    lead_time_longest: int | None = None
    no_overtaking: bool = False
    inputs: dict[str, float] = field(default_factory=dict)
    resources: dict[str, float] = field(default_factory=dict)
    regimes: list[str] = field(default_factory=list)
    unit_cost: float = 0.0
    fixed_cost: float = 0.0
    load_size: float | None = None
    load_cost: float = 0.0
    full_loads: bool = False
    base_share: float = 1.0
    minimum_order: float = 0.0
    maximum_order: float | None = None
    order_multiple: float = 0.0
    calendar: CalendarEntry | None = None
    speed: Speed = Speed.regular
    priority: int = 0
    yield_share: float = 1.0
    split_share: float = 0.0
    split_delay: int = 0
    price: float = 0.0
    unfilled_cost: float | None = None
    in_transit_cost: float | None = None
    mode: str = ""
    co2: float = 0.0
    information_delay: int = 0
    initial_in_transit: list[float] = field(default_factory=list)
    initial_orders: list[float] = field(default_factory=list)


@dataclass
class ResourceEntry:
    """A resource; see `envs.network.network.Resource`. capacity: null is unlimited."""

    capacity: float | None = None
    limits: Limits = Limits.shipments
    fixed_cost: float = 0.0
    load_size: float | None = None
    load_cost: float = 0.0
    regimes: list[str] = field(default_factory=list)
    allocation: Allocation = Allocation.proportional


@dataclass
class RegimeStateEntry:
    """A regime state; see `envs.network.network.RegimeState`."""

    availability: float = 1.0
    lead_time: float = 1.0
    lead_time_spread: float = 1.0
    yield_share: float = 1.0
    cost: float = 1.0
    demand: float = 1.0
    ordering: float = 1.0
    transit: float = 1.0
    receiving: float = 1.0


@dataclass
class ScheduleEntry:
    """When an event happens; see `envs.network.network.Schedule`."""

    first: int = 0
    last: int = 0
    duration: int | None = None


@dataclass
class RegimeEntry:
    """A Markov chain, rows of transition in the order of the states, or a schedule between two
    states; see `envs.network.network.Regime`. seen_after: null is hidden. by_mode: lane mode ->
    states."""

    states: dict[str, RegimeStateEntry] = field(default_factory=dict)
    transition: list[list[float]] = field(default_factory=list)
    schedule: ScheduleEntry | None = None
    seen_after: int | None = None
    forecast_accuracy: list[float] = field(default_factory=list)
    by_mode: dict[str, dict[str, RegimeStateEntry]] = field(default_factory=dict)


@dataclass(frozen=True)
class ExplicitConfig(ScenarioConfig):
    """nodes: id -> kind, or a mapping (NodeEntry). skus: id -> value [currency per unit], or
    value, volume, weight. resources: id -> capacity per period, or a mapping (ResourceEntry)."""

    nodes: dict[str, Any] = field(default_factory=dict)
    skus: dict[str, Any] = field(default_factory=dict)
    stocks: dict[str, StockEntry] = field(default_factory=dict)
    lanes: dict[str, LaneEntry] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    regimes: dict[str, RegimeEntry] = field(default_factory=dict)


def build_explicit(config: ExplicitConfig) -> Scenario:
    """Build the scenario. Raises ConfigError or NetworkError naming the lane or stock."""
    periods = config.warm_up + config.horizon + 1
    network = SupplyNetwork(
        tuple(_node(name, entry) for name, entry in config.nodes.items()),
        tuple(_sku(name, entry) for name, entry in config.skus.items()),
        tuple(_stock(name, entry, periods) for name, entry in config.stocks.items()),
        tuple(_lane(name, entry) for name, entry in config.lanes.items()),
        tuple(_resource(name, entry) for name, entry in config.resources.items()),
        tuple(_regime(name, entry) for name, entry in config.regimes.items()),
        config.timing,
    )
    return make_scenario(config, network, asdict(config))


def _node(name: str, value: Any) -> Node:
    entry = _entry(NodeEntry, f"node '{name}'", value, "kind")
    review = entry.review
    if isinstance(review, Mapping):
        review = _entry(CalendarEntry, f"node '{name}': review", review, "cycle")
    place = None if entry.position is None else (entry.position[0], entry.position[1])
    return Node(name, entry.kind, _limit(entry.storage_capacity), _calendar(review), place)


def _sku(name: str, value: Any) -> Sku:
    if not isinstance(value, Mapping):
        return Sku(name, value)
    known = [f.name for f in fields(Sku) if f.name != "id"]
    _know(f"SKU '{name}'", value, known)
    return Sku(name, **value)


def _stock(name: str, entry: StockEntry, periods: int) -> Stock:
    try:
        demand = None if entry.demand is None else Demand.from_config(entry.demand, periods)
    except ConfigError as error:
        raise ConfigError(f"stock '{name}': {error}") from error
    changed = {
        "demand": demand,
        "demand_regimes": tuple(entry.demand_regimes),
        "serve_limit": _limit(entry.serve_limit),
    }
    return Stock(**{**vars(entry), **changed})


def _lane(name: str, entry: LaneEntry) -> Lane:
    values = dict(vars(entry))
    delay = values.pop("lead_time_delay_mean"), values.pop("lead_time_delay_sd")
    rest = values.pop("lead_time_longest"), values.pop("no_overtaking")
    try:
        lead_time = LeadTime(entry.lead_time, *delay, *rest)
        calendar = _calendar(entry.calendar)
    except ValueError as error:
        raise type(error)(f"Lane '{name}': {error}") from error
    changed = {
        "lead_time": lead_time,
        "inputs": tuple(_input(name, key, units) for key, units in entry.inputs.items()),
        "resources": tuple(ResourceUse(r, use) for r, use in entry.resources.items()),
        "regimes": tuple(entry.regimes),
        "maximum_order": _limit(entry.maximum_order),
        "calendar": calendar,
        "initial_in_transit": tuple(entry.initial_in_transit),
        "initial_orders": tuple(entry.initial_orders),
    }
    return Lane(id=name, **{**values, **changed})


def _input(lane: str, label: str, quantity: float) -> LaneInput:
    sku, at, node = label.partition("@")
    if not at:
        raise ConfigError(
            f"Lane '{lane}': input '{label}' isn't of the form sku@node, such as frame@plant."
        )
    return LaneInput(node, sku, quantity)


def _resource(name: str, value: Any) -> Resource:
    entry = _entry(ResourceEntry, f"resource '{name}'", value, "capacity")
    changed = {
        "capacity": _limit(entry.capacity),
        "regimes": tuple(entry.regimes),
        "limits": Limits(entry.limits),
        "allocation": Allocation(entry.allocation),
    }
    return Resource(name, **{**vars(entry), **changed})


def _regime(name: str, entry: RegimeEntry) -> Regime:
    states = _states(entry.states)
    schedule = None if entry.schedule is None else Schedule(**vars(entry.schedule))
    return Regime(
        name,
        states,
        tuple(tuple(row) for row in entry.transition),
        schedule,
        entry.seen_after,
        tuple(entry.forecast_accuracy),
        tuple(ModeStates(mode, _states(own)) for mode, own in entry.by_mode.items()),
    )


def _states(entries: Mapping[str, RegimeStateEntry]) -> tuple[RegimeState, ...]:
    return tuple(RegimeState(name, **vars(values)) for name, values in entries.items())


def _calendar(entry: CalendarEntry | None) -> Calendar | None:
    return None if entry is None else Calendar(entry.cycle, tuple(entry.open))


def _limit(value: float | None) -> float:
    return float("inf") if value is None else value


def _entry(cls: type[T], where: str, value: Any, short: str) -> T:
    """Read a mapping into a class, or a lone value as its field `short`. Raises ConfigError."""
    if not isinstance(value, Mapping):
        return cls(**{short: value})
    _know(where, value, [f.name for f in fields(cls)])  # type: ignore[arg-type]
    try:
        return cls(**value)
    except (TypeError, NetworkError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _know(where: str, value: Mapping[str, Any], known: list[str]) -> None:
    for key in value:
        if key not in known:
            raise ConfigError(f"{where}: '{key}' is unknown.{did_you_mean(str(key), known)}")
