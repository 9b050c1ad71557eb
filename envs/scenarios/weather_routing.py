"""Path, mode and departure: destinations that several ways lead to, through changing weather.

Plants in the middle of a square map, destinations around them. Each has a truck road straight
there, a detour through other weather, and some a railway or a flight. Weather is a regime for each
quarter of the map; trucks, trains and planes feel it differently.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats

from envs.compiled.lead_times import lane_lead
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, LaneInput
from envs.network.lead_time import LeadTime
from envs.network.network import InTransitPayer, Node, Sku, Stock, SupplyNetwork
from envs.network.regime import MarkovChain, ModeStates, Regime, RegimeState
from envs.scenario import Scenario
from envs.scenarios.common import ScenarioConfig, make_scenario, pipeline, whole

Point = tuple[float, float]

_MIDDLE, _RADIUS = 50.0, 42.0  # of the map and of the circle of destinations [10 km]
_QUARTERS = ("north_east", "north_west", "south_west", "south_east")
_WEATHER = ("clear", "adverse", "severe")


@dataclass  # not frozen: OmegaConf makes entries of frozen classes read-only
class ModeConfig:
    """A way to travel."""

    speed: float  # map units per day
    unit_cost: float  # currency per unit and map unit
    load_size: float  # units
    load_cost: float  # currency per load
    slow: list[float]  # lead-time factors in clear, adverse, severe weather
    co2: float
    closed: list[str] = field(default_factory=list)  # weather in which nothing leaves


@dataclass(frozen=True, kw_only=True)
class WeatherRoutingConfig(ScenarioConfig):
    """Destinations and plants stand evenly on circles."""

    plants: int
    destinations: int
    demand: DemandConfig
    holding_cost: float
    plant_holding_cost: float
    delay_cost: float
    plant_lead_time: int
    detour: float  # length of the way round / the straight one
    modes: dict[str, ModeConfig]  # truck, rail, air
    # of the weather of a quarter, in the order clear, adverse, severe
    transition: list[list[float]]
    forecast_accuracy: list[float]  # 1, 2, 3 days ahead


def build_weather_routing(config: WeatherRoutingConfig) -> Scenario:
    """Build the scenario. Raises ConfigError or NetworkError."""
    demand = Demand.from_config(config.demand, config.warm_up + config.horizon + 1)
    plants = {f"plant_{i + 1}": _around(i, config.plants, 14.0) for i in range(config.plants)}
    places = {
        f"city_{i + 1:02d}": _around(i, config.destinations, _RADIUS)
        for i in range(config.destinations)
    }
    near = {
        city: min(plants, key=lambda name: math.dist(plants[name], place))
        for city, place in places.items()
    }
    stocks, lanes = [], []
    for plant in plants:
        total = demand.mean * sum(name == plant for name in near.values())
        stocks.append(
            Stock(plant, "goods", config.plant_holding_cost, initial_stock=whole(3 * total, 1.0))
        )
        lead = config.plant_lead_time
        lanes.append(
            Lane(
                f"make at {plant}",
                plant,
                "goods",
                LeadTime(lead),
                order_multiple=1.0,
                mode="make",
                initial_in_transit=pipeline(total, lead, 1.0),
            )
        )
    for i, (city, place) in enumerate(places.items()):
        stocks.append(
            Stock(
                city,
                "goods",
                config.holding_cost,
                backlog_cost=config.delay_cost,
                initial_stock=whole(4 * demand.mean, 1.0),
                demand=demand,
            )
        )
        lanes += _paths(config, i, near[city], plants[near[city]], city, place)
    nodes = [Node(name, "plant", position=place) for name, place in plants.items()]
    nodes += [Node(name, "city", position=place) for name, place in places.items()]
    network = SupplyNetwork(
        tuple(nodes),
        (Sku("goods"),),
        tuple(stocks),
        tuple(lanes),
        regimes=tuple(_weather(config, quarter) for quarter in _QUARTERS),
        timing=config.timing,
    )
    return make_scenario(config, _on_best_ways(config, network, demand))


def _around(i: int, count: int, radius: float) -> Point:
    angle = 2.0 * math.pi * (i + 0.25) / count
    return _MIDDLE + radius * math.cos(angle), _MIDDLE + radius * math.sin(angle)


def _paths(
    config: WeatherRoutingConfig, i: int, plant: str, start: Point, city: str, end: Point
) -> list[Lane]:
    """The straight road, the detour, and by turns a railway or a flight."""
    middle = (start[0] + end[0]) / 2.0, (start[1] + end[1]) / 2.0
    side = (_QUARTERS.index(_quarter(end)) + (1 if i % 2 else -1)) % 4
    ways = [
        ("road", "truck", 1.0, (_quarter(middle), _quarter(end))),
        ("detour", "truck", config.detour, (_QUARTERS[side],)),
    ]
    if i % 3 == 0:
        ways.append(("rail", "rail", 1.1, (_quarter(middle), _quarter(end))))
    if i % 3 == 1:
        ways.append(("flight", "air", 1.0, (_quarter(start), _quarter(end))))
    lanes = []
    for name, mode, longer, quarters in ways:
        travel = config.modes[mode]
        length = longer * math.dist(start, end)
        lanes.append(
            Lane(
                f"{name} to {city}",
                city,
                "goods",
                LeadTime(max(1, round(length / travel.speed))),
                (LaneInput(plant, "goods"),),
                regimes=tuple(dict.fromkeys(quarters)),
                unit_cost=travel.unit_cost * length,
                load_size=travel.load_size,
                load_cost=travel.load_cost,
                order_multiple=1.0,
                mode=mode,
                co2=travel.co2 * length,
            )
        )
    return lanes


def _on_best_ways(
    config: WeatherRoutingConfig, network: SupplyNetwork, demand: Demand
) -> SupplyNetwork:
    """Base shares on the best fixed way to each city: the one of least freight, goods on their way
    and safety stock together (Baumol and Vinod 1970), of those that no weather closes."""
    mean, sd = demand.mean, demand.standard_deviation
    lead, lead_sd = lane_lead(network)
    ratio = config.delay_cost / (config.delay_cost + config.holding_cost)
    safety = (config.delay_cost + config.holding_cost) * stats.norm.pdf(stats.norm.ppf(ratio))
    on_way = config.holding_cost * (config.timing.in_transit_payer is not InTransitPayer.nobody)
    freight = [q.unit_cost + q.load_cost / (q.load_size or 1.0) for q in network.lanes]
    cost = (np.array(freight) + on_way * lead) * mean
    cost += safety * np.sqrt((lead + 1.0) * sd**2 + (mean * lead_sd) ** 2)
    lanes = list(network.lanes)
    for city in {q.node for q in lanes}:
        open_ways = [
            i for i, q in enumerate(lanes)
            if q.node == city and (q.mode == "make" or not config.modes[q.mode].closed)
        ]  # fmt: skip
        best = min(open_ways, key=lambda i: cost[i])
        for i, lane in enumerate(lanes):
            if lane.node == city:
                lanes[i] = replace(lane, base_share=float(i == best))
    return replace(network, lanes=tuple(lanes))


def _quarter(place: Point) -> str:
    east, north = place[0] >= _MIDDLE, place[1] >= _MIDDLE
    return _QUARTERS[(0 if east else 1) if north else (3 if east else 2)]


def _weather(config: WeatherRoutingConfig, quarter: str) -> Regime:
    by_mode = tuple(
        ModeStates(
            mode,
            tuple(
                RegimeState(
                    weather, availability=float(weather not in travel.closed), lead_time=slow
                )
                for weather, slow in zip(_WEATHER, travel.slow, strict=True)
            ),
        )
        for mode, travel in config.modes.items()
    )
    return Regime(
        quarter,
        tuple(RegimeState(weather) for weather in _WEATHER),
        MarkovChain(tuple(tuple(row) for row in config.transition)),
        seen_after=0,
        forecast_accuracy=tuple(config.forecast_accuracy),
        by_mode=by_mode,
    )
