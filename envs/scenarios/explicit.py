"""Any network, written out in YAML: nodes, SKUs, stocks, lanes, resources, regimes by name."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from envs.demand import Demand, DemandConfig
from envs.errors import ConfigError
from envs.lead_time import LeadTime
from envs.network import (
    Lane,
    LaneInput,
    Node,
    Regime,
    RegimeState,
    Resource,
    ResourceUse,
    Sku,
    Stock,
    SupplyNetwork,
)
from envs.scenario import Scenario
from envs.scenarios.common import ScenarioConfig, make_scenario

__all__ = ["ExplicitConfig", "build_explicit"]


@dataclass  # entries aren't frozen: OmegaConf would make them read-only
class StockEntry:
    """A stocked pair; see `envs.network.Stock` for units."""

    node: str = ""
    sku: str = ""
    holding_cost: float = 0.0
    backlog_cost: float = 0.0
    lost_sale_cost: float = 0.0
    price: float = 0.0
    p_wait: float = 1.0
    initial_stock: float = 0.0
    demand: DemandConfig | None = None
    demand_regime: str | None = None


@dataclass
class LaneEntry:
    """A lane; see `envs.network.Lane` for units. inputs: sku@node -> units per unit.
    resources: id -> use per unit."""

    node: str = ""
    sku: str = ""
    lead_time: int = 1
    lead_time_delay_mean: float = 0.0
    lead_time_delay_sd: float = 0.0
    inputs: dict[str, float] = field(default_factory=dict)
    resources: dict[str, float] = field(default_factory=dict)
    regimes: list[str] = field(default_factory=list)
    unit_cost: float = 0.0
    fixed_cost: float = 0.0
    base_share: float = 1.0
    minimum_order: float = 0.0
    maximum_order: float | None = None
    order_multiple: float = 0.0
    information_delay: int = 0


@dataclass
class RegimeStateEntry:
    """A regime state; see `envs.network.RegimeState`."""

    availability: float = 1.0
    lead_time: float = 1.0
    demand: float = 1.0


@dataclass
class RegimeEntry:
    """A Markov chain; rows of transition, in the order of the states, sum to 1."""

    states: dict[str, RegimeStateEntry] = field(default_factory=dict)
    transition: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class ExplicitConfig(ScenarioConfig):
    """nodes: id -> kind. skus: id -> value [currency per unit]. The rest by name."""

    nodes: dict[str, str] = field(default_factory=dict)
    skus: dict[str, float] = field(default_factory=dict)
    stocks: dict[str, StockEntry] = field(default_factory=dict)
    lanes: dict[str, LaneEntry] = field(default_factory=dict)
    resources: dict[str, float] = field(default_factory=dict)
    regimes: dict[str, RegimeEntry] = field(default_factory=dict)


def build_explicit(config: ExplicitConfig) -> Scenario:
    """Build the scenario. Raises ConfigError or NetworkError naming the lane or stock."""
    periods = config.warm_up + config.horizon + 1
    network = SupplyNetwork(
        tuple(Node(name, kind) for name, kind in config.nodes.items()),
        tuple(Sku(name, value) for name, value in config.skus.items()),
        tuple(_stock(name, entry, periods) for name, entry in config.stocks.items()),
        tuple(_lane(name, entry) for name, entry in config.lanes.items()),
        tuple(Resource(name, capacity) for name, capacity in config.resources.items()),
        tuple(_regime(name, entry) for name, entry in config.regimes.items()),
        config.timing,
    )
    return make_scenario(config, network, asdict(config))


def _stock(name: str, entry: StockEntry, periods: int) -> Stock:
    fields = dict(entry.__dict__)
    try:
        demand = None if entry.demand is None else Demand.from_config(entry.demand, periods)
    except ConfigError as error:
        raise ConfigError(f"stock '{name}': {error}") from error
    return Stock(**{**fields, "demand": demand})


def _lane(name: str, entry: LaneEntry) -> Lane:
    fields = dict(entry.__dict__)
    delay = fields.pop("lead_time_delay_mean"), fields.pop("lead_time_delay_sd")
    try:
        lead_time = LeadTime(entry.lead_time, *delay)
    except ValueError as error:
        raise type(error)(f"Lane '{name}': {error}") from error
    limit = float("inf") if entry.maximum_order is None else entry.maximum_order
    return Lane(
        id=name,
        **{
            **fields,
            "lead_time": lead_time,
            "inputs": tuple(_input(name, key, units) for key, units in entry.inputs.items()),
            "resources": tuple(ResourceUse(r, use) for r, use in entry.resources.items()),
            "regimes": tuple(entry.regimes),
            "maximum_order": limit,
        },
    )


def _input(lane: str, label: str, quantity: float) -> LaneInput:
    sku, at, node = label.partition("@")
    if not at:
        raise ConfigError(
            f"Lane '{lane}': input '{label}' isn't of the form sku@node, such as frame@plant."
        )
    return LaneInput(node, sku, quantity)


def _regime(name: str, entry: RegimeEntry) -> Regime:
    states = tuple(RegimeState(state, **vars(values)) for state, values in entry.states.items())
    return Regime(name, states, tuple(tuple(row) for row in entry.transition))
