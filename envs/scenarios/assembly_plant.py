"""A plant that assembles products from bought parts on machines that break down."""

from __future__ import annotations

from dataclasses import dataclass

from envs.errors import ConfigError, did_you_mean
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Allocation, Lane, LaneInput, Resource, ResourceUse, Speed
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.network.regime import MarkovChain, Regime, RegimeState
from envs.scenario import Scenario
from envs.scenarios.common import ScenarioConfig, make_scenario, pipeline, whole

_PARTS, _PLANT = "parts_store", "plant"


@dataclass  # entries aren't frozen: OmegaConf would make them read-only
class ComponentConfig:
    """A bought part."""

    value: float  # currency per unit
    lead_time: int  # periods, of the regular source
    delay_mean: float = 0.0  # periods
    delay_sd: float = 0.0  # periods
    # mean periods until the regular supplier stops shipping; null: it never stops
    time_to_failure: float | None = None
    time_to_repair: float = 10.0  # mean periods until it ships again
    expedite_lead_time: int | None = None  # periods, of the second source; null: there is none
    expedite_premium: float = 0.0  # currency per unit above the regular price


@dataclass
class MachineConfig:
    """A machine that breaks down."""

    hours: float  # per period while it runs
    time_to_failure: float | None  # mean periods; null: it never fails
    time_to_repair: float  # mean periods


@dataclass
class ProductConfig:
    """What is assembled."""

    parts: dict[str, float]  # component -> units per unit
    hours: dict[str, float]  # machine -> hours per unit
    added_value: float  # currency per unit above its parts
    demand_mean: float  # units per period, of all customers


@dataclass
class DistributionCentreConfig:
    """Where customers are served from."""

    lead_time: int  # periods from the plant
    share: float  # of every product's demand


@dataclass(frozen=True, kw_only=True)
class AssemblyPlantConfig(ScenarioConfig):
    """Components, machines, products and distribution centres by name."""

    components: dict[str, ComponentConfig]
    machines: dict[str, MachineConfig]
    products: dict[str, ProductConfig]
    centres: dict[str, DistributionCentreConfig]
    assembly_lead_time: int  # periods
    demand_dispersion: float  # variance / mean of demand, less 1; > 0
    holding_rate: float  # share of the value per period in the plant
    centre_holding_rate: float  # the same in the centres
    backlog_ratio: float  # backlog cost / holding cost of a product in a centre
    # periods until agents hear that a supplier is down or up again; null: never
    outage_seen_after: int | None


def build_assembly_plant(config: AssemblyPlantConfig) -> Scenario:
    """Build the scenario. Raises ConfigError or NetworkError.

    Regular purchases have no cost here: demand alone decides what they come to. What they tie up
    is in the holding costs, and a second source's premium is the price of hurry.
    """
    _check_names(config)
    usage = {
        part: sum(p.parts.get(part, 0.0) * p.demand_mean for p in config.products.values())
        for part in config.components
    }
    stocks: list[Stock] = []
    lanes: list[Lane] = []
    for part, component in config.components.items():
        _add_component(config, part, component, usage[part], stocks, lanes)
    for name, product in config.products.items():
        _add_product(config, name, product, stocks, lanes)
    nodes = [Node(_PARTS, _PARTS), Node(_PLANT, _PLANT)]
    nodes += [Node(centre, "centre") for centre in config.centres]
    suppliers = [
        _outages(_supplier(part), c.time_to_failure, c.time_to_repair, config.outage_seen_after)
        for part, c in config.components.items()
        if c.time_to_failure is not None
    ]
    machines = [
        _outages(machine, m.time_to_failure, m.time_to_repair, 0)
        for machine, m in config.machines.items()
        if m.time_to_failure is not None
    ]
    resources = [
        Resource(machine, m.hours, regimes=(machine,) if m.time_to_failure is not None else ())
        for machine, m in config.machines.items()
    ]
    network = SupplyNetwork(
        tuple(nodes),
        tuple(Sku(name) for name in (*config.components, *config.products)),
        tuple(stocks),
        tuple(lanes),
        tuple(resources),
        (*suppliers, *machines),
        config.timing,
    )
    return make_scenario(config, network)


def _check_names(config: AssemblyPlantConfig) -> None:
    for name, product in config.products.items():
        for what, used, known in (
            ("part", product.parts, config.components),
            ("machine", product.hours, config.machines),
        ):
            for key in used:
                if key not in known:
                    raise ConfigError(
                        f"scenario.products.{name}: {what} '{key}' is unknown."
                        f"{did_you_mean(key, known)}"
                    )
    for number in ("demand_dispersion", "holding_rate", "centre_holding_rate"):
        if not getattr(config, number) > 0:
            raise ConfigError(
                f"scenario.{number} is {getattr(config, number)}; expected a number > 0."
            )


def _supplier(part: str) -> str:
    return f"{part} supplier"


def _outages(name: str, up: float | None, down: float, seen_after: int | None) -> Regime:
    """Up and down for geometric times of these means [periods]."""
    if up is None or up < 1 or down < 1:
        raise ConfigError(
            f"{name}: time_to_failure is {up} and time_to_repair {down}; expected means of at "
            "least 1 period."
        )
    fail, repair = 1.0 / up, 1.0 / down
    return Regime(
        name,
        (RegimeState("up"), RegimeState("down", availability=0.0)),
        MarkovChain(((1.0 - fail, fail), (repair, 1.0 - repair))),
        seen_after=seen_after,
    )


def _add_component(
    config: AssemblyPlantConfig, part: str, component: ComponentConfig, usage: float,
    stocks: list[Stock], lanes: list[Lane],
) -> None:  # fmt: skip
    """usage: units per period."""
    stocks.append(
        Stock(
            _PARTS,
            part,
            holding_cost=config.holding_rate * component.value,
            initial_stock=whole(5 * usage, 1.0),
        )
    )
    lanes.append(
        Lane(
            f"buy {part}",
            _PARTS,
            part,
            LeadTime(component.lead_time, component.delay_mean, component.delay_sd),
            regimes=(_supplier(part),) if component.time_to_failure is not None else (),
            order_multiple=1.0,
            initial_in_transit=pipeline(usage, component.lead_time, 1.0),
        )
    )
    if component.expedite_lead_time is not None:
        lanes.append(
            Lane(
                f"expedite {part}",
                _PARTS,
                part,
                LeadTime(component.expedite_lead_time),
                unit_cost=component.expedite_premium,
                order_multiple=1.0,
                speed=Speed.expedite,
            )
        )


def _add_product(
    config: AssemblyPlantConfig, name: str, product: ProductConfig, stocks: list[Stock],
    lanes: list[Lane],
) -> None:  # fmt: skip
    value = product.added_value
    value += sum(units * config.components[part].value for part, units in product.parts.items())
    stocks.append(
        Stock(
            _PLANT,
            name,
            holding_cost=config.holding_rate * value,
            initial_stock=whole(product.demand_mean, 1.0),
            allocation=Allocation.fair_share,
        )
    )
    lanes.append(
        Lane(
            f"make {name}",
            _PLANT,
            name,
            LeadTime(config.assembly_lead_time),
            inputs=tuple(LaneInput(_PARTS, part, units) for part, units in product.parts.items()),
            resources=tuple(
                ResourceUse(machine, hours) for machine, hours in product.hours.items()
            ),
            order_multiple=1.0,
            initial_in_transit=pipeline(product.demand_mean, config.assembly_lead_time, 1.0),
        )
    )
    for centre, entry in config.centres.items():
        mean = entry.share * product.demand_mean
        demand = DemandConfig(
            "negative_binomial",
            mean=mean,
            standard_deviation=(mean * (1.0 + config.demand_dispersion)) ** 0.5,
        )
        holding = config.centre_holding_rate * value
        stocks.append(
            Stock(
                centre,
                name,
                holding_cost=holding,
                backlog_cost=config.backlog_ratio * holding,
                initial_stock=whole(2 * mean, 1.0),
                demand=Demand.from_config(demand, 0),
            )
        )
        lanes.append(
            Lane(
                f"{_PLANT} > {centre} {name}",
                centre,
                name,
                LeadTime(entry.lead_time),
                inputs=(LaneInput(_PLANT, name),),
                order_multiple=1.0,
                initial_in_transit=pipeline(mean, entry.lead_time, 1.0),
            )
        )
