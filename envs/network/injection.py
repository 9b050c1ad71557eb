"""Injected events: an outage, a closure, a spike, a price shock at a date, for a while.

An event becomes a regime with a schedule, and what it strikes is exposed to it: stress tests and
what-if questions need nothing else from the simulator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase

from envs.errors import ConfigError, NetworkError, did_you_mean
from envs.network.lane import Lane, Resource
from envs.network.network import Stock, SupplyNetwork
from envs.network.regime import EventWindow, Regime, RegimeState


@dataclass  # not frozen: OmegaConf makes entries of frozen classes read-only
class EventConfig:
    """What is struck, when, and how hard: see `envs.network.regime.RegimeState`."""

    lanes: list[str] = field(default_factory=list)  # ids or patterns such as `sea*`
    resources: list[str] = field(default_factory=list)  # the same
    stocks: list[str] = field(default_factory=list)  # the same of sku@node
    first: int = 0  # the first period it may begin in
    last: int | None = None  # the last one; null: `first`
    duration: int | None = None  # periods; null: for good
    seen_after: int | None = None  # periods until agents see it; null: never
    availability: float = 1.0
    lead_time: float = 1.0
    lead_time_spread: float = 1.0
    yield_share: float = 1.0
    cost: float = 1.0
    demand: float = 1.0
    ordering: float = 1.0
    transit: float = 1.0
    receiving: float = 1.0


_MULTIPLIERS = tuple(f.name for f in fields(RegimeState) if f.name != "name")
_STRIKES = {  # which of them each kind of target feels
    "lanes": tuple(m for m in _MULTIPLIERS if m != "demand"),
    "resources": ("availability",),
    "stocks": ("demand",),
}


def inject(
    network: SupplyNetwork, events: Mapping[str, EventConfig], after: int = 0
) -> SupplyNetwork:
    """Return the network with events; their dates count from period `after`.

    Demand, lead times and other regimes are drawn as without them (envs/trace/trace.py), so a run
    with events can be compared with the same run without. Raises ConfigError where an event strikes
    nothing, NetworkError for impossible numbers.
    """
    lanes, resources, stocks = network.lanes, network.resources, network.stocks
    regimes = list(network.regimes)
    for name, event in events.items():
        _must_strike(name, event)
        regimes.append(_regime(name, event, after))
        hit = _matching(name, "lane", event.lanes, [q.id for q in lanes])
        lanes = tuple(_expose_lane(q, name) if q.id in hit else q for q in lanes)
        hit = _matching(name, "resource", event.resources, [r.id for r in resources])
        resources = tuple(_expose_resource(r, name) if r.id in hit else r for r in resources)
        hit = _matching(name, "stock", event.stocks, [s.label for s in stocks if s.demand])
        stocks = tuple(_expose_stock(s, name) if s.label in hit else s for s in stocks)
    return replace(network, lanes=lanes, resources=resources, stocks=stocks, regimes=tuple(regimes))


def _regime(name: str, event: EventConfig, after: int) -> Regime:
    last = event.first if event.last is None else event.last
    try:
        struck = RegimeState("struck", **{m: getattr(event, m) for m in _MULTIPLIERS})
        schedule = EventWindow(after + event.first, after + last, event.duration)
    except NetworkError as error:
        raise NetworkError(f"event '{name}': {error}") from None
    states = (RegimeState("as usual"), struck)
    return Regime(name, states, schedule, seen_after=event.seen_after)


def _must_strike(name: str, event: EventConfig) -> None:
    """Refuse multipliers that move nothing, and targets that nothing moves."""
    moved = {m for m in _MULTIPLIERS if getattr(event, m) != 1.0}
    targets = [target for target in _STRIKES if getattr(event, target)]
    if not targets:
        raise ConfigError(f"event '{name}' strikes nothing; expected {_either(_STRIKES)}.")
    for m in sorted(moved):
        felt_by = [target for target, feels in _STRIKES.items() if m in feels]
        if not set(felt_by) & set(targets):
            raise ConfigError(
                f"event '{name}': {m} is {getattr(event, m)}, which {_either(targets)} don't feel; "
                f"expected {_either(felt_by)} too."
            )
    for target in targets:
        if not moved & set(_STRIKES[target]):
            raise ConfigError(
                f"event '{name}' does nothing to {target}; expected {_either(_STRIKES[target])} "
                "other than 1."
            )


def _either(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _expose_lane(lane: Lane, regime: str) -> Lane:
    return replace(lane, regimes=(*lane.regimes, regime))


def _expose_resource(resource: Resource, regime: str) -> Resource:
    return replace(resource, regimes=(*resource.regimes, regime))


def _expose_stock(stock: Stock, regime: str) -> Stock:
    return replace(stock, demand_regimes=(*stock.demand_regimes, regime))


def _matching(event: str, what: str, patterns: Iterable[str], known: list[str]) -> set[str]:
    hit: set[str] = set()
    for pattern in patterns:
        found = {name for name in known if name == pattern or fnmatchcase(name, pattern)}
        if not found:
            where = " with customers" if what == "stock" else ""
            raise ConfigError(
                f"event '{event}': no {what}{where} matches '{pattern}'."
                f"{did_you_mean(pattern, known)}"
            )
        hit |= found
    return hit
