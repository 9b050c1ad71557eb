"""Random networks of any size: suppliers -> plants -> warehouses -> stores, drawn on a map.

For tests, benchmarks and the `generated` scenarios. Everything follows from the seed. Purchase
prices cancel out: a lost sale costs the margin, what is left over keeps its value, so costs are
holding, transport, a supplier's surcharge and lost margins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from envs.network.demand import Demand, DemandConfig
from envs.network.generate_config import MODES, GenerateConfig
from envs.network.lane import Lane, LaneInput, Resource, ResourceUse, Speed
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork, Timing
from envs.network.regime import MarkovChain, Regime, RegimeState
from envs.types import Bools, Floats

_MAP = 1000.0  # km, width and height
_HOLDING = {"plant": 0.002, "warehouse": 0.003, "store": 0.006}  # share of the price per period
_MARGIN = 0.3  # share of the price
_SPREAD = {"size": 0.4, "popularity": 0.8, "price": 0.6, "weight": 0.8}  # sd of logarithms
_STEP = 0.1  # demand means lie on a grid of logarithms: few distinct distributions to tabulate
_MAKE = 2  # periods a supplier takes before goods leave


class _Layer(NamedTuple):
    """Nodes of one kind."""

    kind: str
    ids: list[str]
    place: Floats  # [n, 2] km
    stocked: Bools  # [n, K]
    flow: Floats  # [n, K] units per period, filled from the stores upward


class _Items(NamedTuple):
    """The SKUs."""

    ids: list[str]
    price: Floats  # [K] currency per unit
    weight: Floats  # [K] kg per unit


def generate_network(config: GenerateConfig, timing: Timing | None = None) -> SupplyNetwork:
    """Draw a network; equal configurations give equal networks. Raises ConfigError."""
    rng = np.random.default_rng(config.seed)
    items = _draw_items(config, rng)
    suppliers, layers = _draw_layers(config, rng)
    stocks: list[Stock] = []
    lanes: list[Lane] = []
    surcharge = rng.uniform(0.0, 0.05, (len(suppliers.ids), len(items.ids)))
    for i in reversed(range(len(layers))):  # from the customers up: what flows is known below
        layer, above = layers[i], layers[i - 1] if i else suppliers
        inbound = list(_connect(config, rng, items, layer, above, surcharge))
        if layer.kind == "warehouse" and config.transshipment:
            inbound += _transship(items, layer)
        lanes = inbound + lanes
        stocks = list(_stock_layer(config, items, layer)) + stocks
    nodes = [
        Node(name, layer.kind, position=(float(x), float(y)))
        for layer in (suppliers, *layers)
        for name, (x, y) in zip(layer.ids, layer.place, strict=True)
    ]
    regimes = _supplier_regimes(config, suppliers)
    return SupplyNetwork(
        tuple(nodes),
        tuple(Sku(name, weight=float(w)) for name, w in zip(items.ids, items.weight, strict=True)),
        tuple(stocks),
        tuple(lanes),
        _supplier_resources(config, suppliers, regimes),
        regimes,
        timing or Timing(),
    )


def _draw_items(config: GenerateConfig, rng: np.random.Generator) -> _Items:
    drawn = rng.normal(size=(2, config.skus))
    return _Items(
        _names("item", config.skus),
        np.round(20.0 * np.exp(_SPREAD["price"] * drawn[0]), 2),
        np.round(2.0 * np.exp(_SPREAD["weight"] * drawn[1]), 2),
    )


def _draw_layers(config: GenerateConfig, rng: np.random.Generator) -> tuple[_Layer, list[_Layer]]:
    """Suppliers at the rim of the map, plants and warehouses anywhere, stores about warehouses."""
    angle = rng.uniform(0.0, 2.0 * np.pi, config.suppliers)
    rim = 0.5 + 0.7 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    every = np.ones((config.suppliers, config.skus), bool)
    suppliers = _layer("supplier", rim, every)
    layers = []
    if config.plants:
        layers.append(_layer("plant", rng.uniform(0.15, 0.85, (config.plants, 2)), _made(config)))
    if config.warehouses:
        every = np.ones((config.warehouses, config.skus), bool)
        layers.append(_layer("warehouse", _spread_out(rng, config.warehouses), every))
    centres = layers[-1].place / _MAP if layers else np.full((1, 2), 0.5)
    scatter = 0.25 / math.sqrt(max(len(centres), 4))
    around = centres[np.arange(config.stores) % len(centres)]
    place = around + rng.normal(0.0, scatter, (config.stores, 2))
    inner = sum(int(layer.stocked.sum()) for layer in layers)
    stores = _layer("store", place, _assortment(config, rng, inner))
    size = np.exp(rng.normal(0.0, _SPREAD["size"], (config.stores, 1)))
    popularity = np.exp(rng.normal(0.0, _SPREAD["popularity"], (1, config.skus)))
    mean = np.exp(np.round(np.log(config.demand_mean * size * popularity) / _STEP) * _STEP)
    stores.flow[...] = np.where(stores.stocked, mean, 0.0)
    return suppliers, [*layers, stores]


def _layer(kind: str, place: Floats, stocked: Bools) -> _Layer:
    return _Layer(kind, _names(kind, len(place)), _MAP * place, stocked, np.zeros(stocked.shape))


def _names(what: str, count: int) -> list[str]:
    width = len(str(count))
    return [f"{what}_{i + 1:0{width}d}" for i in range(count)]


def _spread_out(rng: np.random.Generator, count: int) -> Floats:
    """Places that keep their distance: each the loneliest of ten candidates (Mitchell 1991)."""
    places = rng.uniform(0.1, 0.9, (1, 2))
    for _ in range(count - 1):
        candidates = rng.uniform(0.1, 0.9, (10, 2))
        nearest = _distance(candidates, places).min(axis=1)
        places = np.concatenate([places, candidates[[int(nearest.argmax())]]])
    return places


def _made(config: GenerateConfig) -> Bools:
    """[plants, K] which plant makes what: dealt out in turn, so that everything is made."""
    makes = np.zeros((config.plants, config.skus), bool)
    deals = max(round(config.plants_per_sku * config.skus), config.skus, config.plants)
    turn = np.arange(min(deals, makes.size))
    # Shifted whenever the pairs would begin to repeat, so that nothing is dealt twice.
    plant = (turn + turn // math.lcm(*makes.shape)) % config.plants
    makes[plant, turn % config.skus] = True
    return makes


def _assortment(config: GenerateConfig, rng: np.random.Generator, inner: int) -> Bools:
    """[stores, K] what stores stock: each store something, each SKU somewhere."""
    shape = (config.stores, config.skus)
    if config.pairs is None:
        return np.ones(shape, bool)
    wanted = int(np.clip(config.pairs - inner, max(shape), shape[0] * shape[1]))
    score = rng.random(shape)
    turn = np.arange(max(shape))
    score[turn % shape[0], turn % shape[1]] = -1.0
    kept = np.zeros(score.size, bool)
    kept[np.argsort(score, axis=None, kind="stable")[:wanted]] = True
    return kept.reshape(shape)


class _Link(NamedTuple):
    """Two connected nodes."""

    to: str
    source: str
    outside: bool
    km: float  # as the crow flies
    delay: float  # mean random delay [periods]


def _connect(
    config: GenerateConfig, rng: np.random.Generator, items: _Items, layer: _Layer, above: _Layer,
    surcharge: Floats,
) -> Iterator[Lane]:  # fmt: skip
    """Yield the lanes from one layer to the next; adds the flow they carry to the layer above."""
    modes = ["truck"] if layer.kind == "store" else config.modes
    delay = 0.0 if layer.kind == "store" else config.delay
    outside = above.kind == "supplier"
    km = _distance(layer.place, above.place)
    for i, k, sources in _choose_sources(config, rng, layer, above, km):
        share = np.array([1.0] + [config.alternate_share] * (len(sources) - 1))
        flow = layer.flow[i, k] * share / share.sum()
        above.flow[sources, k] += flow
        for rank, j in enumerate(sources):
            link = _Link(layer.ids[i], above.ids[j], outside, float(km[i, j]), delay)
            extra = float(surcharge[j, k]) if outside else 0.0
            for mode in modes:
                regular = mode == modes[0]
                used = regular or MODES[mode].speed is Speed.expedite
                yield _lane(
                    items, link, k, mode, float(share[rank]) if used else 0.0,
                    float(flow[rank]) if regular else 0.0, extra,
                )  # fmt: skip


def _choose_sources(
    config: GenerateConfig, rng: np.random.Generator, layer: _Layer, above: _Layer, km: Floats
) -> list[tuple[int, int, list[int]]]:
    """Return (node, SKU, its sources, the regular one first) for every pair of the layer."""
    average: float = getattr(config, f"sources_per_{layer.kind}")
    chosen: dict[tuple[int, int], list[int]] = {}
    for i in range(len(layer.ids)):
        count = math.floor(average) + int(rng.random() < average % 1.0)
        order = np.argsort(km[i], kind="stable")
        for k in np.flatnonzero(layer.stocked[i]).tolist():
            chosen[i, k] = order[above.stocked[order, k]][:count].tolist()
    # A supplier not chosen so far becomes an extra source of a node without extra sources.
    left = set(range(len(above.ids))) - {j for sources in chosen.values() for j in sources}
    shared = above.stocked.astype(int) @ layer.stocked.T.astype(int)
    more = np.zeros(len(layer.ids))
    for j in sorted(left):
        i = int(np.where(shared[j] > 0, km[:, j] + 10.0 * _MAP * more, np.inf).argmin())
        more[i] += 1.0
        for k in np.flatnonzero(above.stocked[j] & layer.stocked[i]).tolist():
            chosen[i, k].append(j)
    return [(i, k, sources) for (i, k), sources in chosen.items()]


def _transship(items: _Items, layer: _Layer) -> Iterator[Lane]:
    """Lanes both ways between each node and its nearest neighbour."""
    if len(layer.ids) < 2:
        return
    km = _distance(layer.place, layer.place)
    np.fill_diagonal(km, np.inf)
    for i, j in sorted({(min(p), max(p)) for p in enumerate(km.argmin(axis=1).tolist())}):
        for to, source in ((i, j), (j, i)):
            link = _Link(layer.ids[to], layer.ids[source], False, float(km[i, j]), 0.0)
            for k in np.flatnonzero(layer.stocked[i] & layer.stocked[j]):
                yield _lane(items, link, int(k), "truck", 0.0, 0.0, 0.0)


def _lane(
    items: _Items, link: _Link, k: int, mode: str, share: float, flow: float, surcharge: float
) -> Lane:
    """flow: units per period that are on their way when the simulation begins."""
    how, tonne_km = MODES[mode], float(items.weight[k]) / 1000.0 * link.km
    minimum = how.handling + round(link.km / how.pace) + _MAKE * link.outside
    return Lane(
        f"{link.source} > {link.to} {items.ids[k]} {mode}",
        link.to,
        items.ids[k],
        _lead_time(minimum, link.delay),
        inputs=() if link.outside else (LaneInput(link.source, items.ids[k]),),
        resources=(ResourceUse(link.source),) if link.outside else (),
        unit_cost=round(how.cost * tonne_km + surcharge * float(items.price[k]), 4),
        base_share=share,
        order_multiple=1.0,
        speed=how.speed,
        mode=mode,
        co2=round(how.co2 * tonne_km, 4),
        initial_in_transit=_steady(flow, minimum),
    )


@cache
def _lead_time(minimum: int, delay: float) -> LeadTime:
    return LeadTime(minimum, delay, delay)


def _steady(flow: float, periods: int) -> tuple[float, ...]:
    """Whole units per period that add up to the flow."""
    if flow <= 0.0:
        return ()
    total = [math.floor(flow * t + 0.5) for t in range(periods + 1)]
    return tuple(float(b - a) for a, b in pairwise(total))


def _stock_layer(config: GenerateConfig, items: _Items, layer: _Layer) -> Iterator[Stock]:
    """Yield the stocked pairs of a layer; its flow is known by now."""
    sells = layer.kind == "store"
    for i, k in np.argwhere(layer.stocked):
        mean, price = float(layer.flow[i, k]), float(items.price[k])
        yield Stock(
            layer.ids[i],
            items.ids[k],
            holding_cost=_HOLDING[layer.kind] * price,
            backlog_cost=_MARGIN * price * config.p_wait / 4 if sells else 0.0,
            lost_sale_cost=_MARGIN * price if sells and config.p_wait < 1.0 else 0.0,
            p_wait=config.p_wait if sells else 1.0,
            initial_stock=float(math.ceil(2.0 * mean + math.sqrt(3.0 * mean))),
            demand=_demand(mean, config.dispersion) if sells else None,
        )


@cache
def _demand(mean: float, dispersion: float) -> Demand:
    if dispersion == 0.0:
        return Demand.from_config(DemandConfig("poisson", mean=mean), 0)
    sd = math.sqrt(mean * (1.0 + dispersion))
    process = DemandConfig("negative_binomial", mean=mean, standard_deviation=sd)
    return Demand.from_config(process, 0)


def _supplier_resources(
    config: GenerateConfig, suppliers: _Layer, regimes: tuple[Regime, ...]
) -> tuple[Resource, ...]:
    """One resource per supplier, of the supplier's name: its capacity, and what can strike it."""
    flow = suppliers.flow.sum(axis=1)
    # A supplier that is no node's first choice could still take over half of what others bring.
    flow = np.maximum(flow, 0.5 * flow.mean())
    capacity = flow / config.utilisation if config.utilisation > 0.0 else flow + math.inf
    struck = {regime.id for regime in regimes}
    return tuple(
        Resource(name, float(c), regimes=(f"{name} state",) if f"{name} state" in struck else ())
        for name, c in zip(suppliers.ids, capacity, strict=True)
    )


def _supplier_regimes(config: GenerateConfig, suppliers: _Layer) -> tuple[Regime, ...]:
    """Half a percent of periods an outage begins, which lasts ten on average."""
    if not config.disruptions:
        return ()
    states = (RegimeState("up"), RegimeState("degraded", 0.5), RegimeState("down", 0.0))
    moves = MarkovChain(((0.985, 0.01, 0.005), (0.15, 0.84, 0.01), (0.1, 0.0, 0.9)))
    return tuple(
        Regime(f"{name} state", states, moves, seen_after=config.seen_after)
        for name in suppliers.ids
    )


def _distance(a: Floats, b: Floats) -> Floats:
    """[n, 2], [m, 2] -> [n, m]"""
    return np.asarray(np.hypot(*np.moveaxis(a[:, None] - b[None], 2, 0)))
