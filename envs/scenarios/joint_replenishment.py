"""Many SKUs from few suppliers, by the truck: fixed costs and loads tie the orders together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.errors import ConfigError
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, Limits, Resource, ResourceUse
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.scenario import Scenario
from envs.scenarios.common import ScenarioConfig, make_scenario, pipeline, whole

_NODE = "warehouse"
_DEMAND_SPREAD, _VOLUME_SPREAD, _PRICE_SPREAD = 0.6, 0.5, 0.4  # sd of logarithms


@dataclass  # not frozen: OmegaConf makes entries of frozen classes read-only
class SupplierConfig:
    """Who delivers by the truck."""

    lead_time: int  # periods
    load_size: float  # cubic metres of a truck
    load_cost: float  # currency per truck, full or not
    # periods of mean demand that fill a truck; the items' volumes are scaled to that
    days_per_load: float
    delay_mean: float = 0.0  # periods
    delay_sd: float = 0.0  # periods
    fixed_cost: float = 0.0  # currency per period with an order


@dataclass(frozen=True, kw_only=True)
class JointReplenishmentConfig(ScenarioConfig):
    """Suppliers by name; the SKUs are dealt out to them in turn."""

    suppliers: dict[str, SupplierConfig]
    seed: int  # draws the SKUs
    skus: int  # how many
    demand_mean: float  # units per period, their median
    demand_dispersion: float  # variance / mean, less 1; > 0
    price: float  # currency per cubic metre, median
    minor_cost: float  # currency per order of a SKU
    pack_days: float  # periods of mean demand in a pack, rounded to whole units
    minimum_days: float  # periods of mean demand in the smallest order, rounded to whole packs
    holding_rate: float  # share of the value per period
    space_cost: float  # currency per cubic metre and period
    backlog_ratio: float  # backlog cost / holding cost
    budget: float | None  # currency of goods that can be ordered in a period; null: no limit


@dataclass(frozen=True)
class _Item:
    """What is bought."""

    name: str
    supplier: str
    mean: float  # units per period
    volume: float  # cubic metres per unit
    value: float  # currency per unit


def build_joint_replenishment(config: JointReplenishmentConfig) -> Scenario:
    """Build the scenario. Raises ConfigError or NetworkError.

    The goods themselves have no cost here: demand alone decides what they come to, and what is
    left over keeps its value.
    """
    if not 1 <= len(config.suppliers) <= config.skus:
        raise ConfigError(
            f"scenario: {len(config.suppliers)} suppliers and {config.skus} skus; expected at "
            "least one supplier, and a SKU for each."
        )
    items = _draw_items(config)
    resources = [
        Resource(name, fixed_cost=s.fixed_cost, load_size=s.load_size, load_cost=s.load_cost)
        for name, s in config.suppliers.items()
    ]
    if config.budget is not None:
        resources.append(Resource("budget", config.budget, limits=Limits.orders))
    network = SupplyNetwork(
        (Node(_NODE, _NODE),),
        tuple(Sku(item.name, volume=item.volume) for item in items),
        tuple(_stock(config, item) for item in items),
        tuple(_lane(config, item) for item in items),
        tuple(resources),
        timing=config.timing,
    )
    return make_scenario(config, network)


def _draw_items(config: JointReplenishmentConfig) -> list[_Item]:
    draws = np.random.default_rng(config.seed).standard_normal((3, config.skus))
    spread = np.array([[_DEMAND_SPREAD], [_VOLUME_SPREAD], [_PRICE_SPREAD]])
    demand, volume, price = np.exp(spread * draws)
    mean = np.round(config.demand_mean * demand, 1)
    names = list(config.suppliers)
    supplier = np.arange(config.skus) % len(names)
    for s, entry in enumerate(config.suppliers.values()):
        own = supplier == s
        volume[own] *= entry.load_size / (entry.days_per_load * (mean[own] @ volume[own]))
    return [
        _Item(
            f"item_{k:02d}",
            names[supplier[k]],
            float(mean[k]),
            float(volume[k]),
            float(config.price * price[k] * volume[k]),
        )
        for k in range(config.skus)
    ]


def _stock(config: JointReplenishmentConfig, item: _Item) -> Stock:
    holding = config.holding_rate * item.value + config.space_cost * item.volume
    spread = (item.mean * (1.0 + config.demand_dispersion)) ** 0.5
    demand = DemandConfig("negative_binomial", mean=item.mean, standard_deviation=spread)
    return Stock(
        _NODE,
        item.name,
        holding_cost=holding,
        backlog_cost=config.backlog_ratio * holding,
        initial_stock=whole(4 * item.mean, 1.0),
        demand=Demand.from_config(demand, 0),
    )


def _lane(config: JointReplenishmentConfig, item: _Item) -> Lane:
    supplier = config.suppliers[item.supplier]
    pack = max(1.0, float(round(config.pack_days * item.mean)))
    uses = [ResourceUse(item.supplier, item.volume)]
    if config.budget is not None:
        uses.append(ResourceUse("budget", item.value))
    return Lane(
        f"{item.supplier} > {item.name}",
        _NODE,
        item.name,
        LeadTime(supplier.lead_time, supplier.delay_mean, supplier.delay_sd),
        resources=tuple(uses),
        fixed_cost=config.minor_cost,
        minimum_order=whole(config.minimum_days * item.mean, pack),
        order_multiple=pack,
        initial_in_transit=pipeline(item.mean, supplier.lead_time, 1.0),
    )
