"""A scenario as problems that value iteration can solve: pairs alone, or two that share a supplier.

Whatever could change the optimum and isn't understood here is refused: every field of a network's
parts that isn't named must have its default.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np

from envs.network.lane import Lane, Limits, Resource
from envs.network.network import Receive, ServeOrder, Stock, SupplyNetwork
from envs.network.regime import Regime
from envs.scenario import Scenario
from envs.types import Floats
from evaluation.optima.joint_pair import JointPair
from evaluation.optima.markov_demand import MarkovDemand, believed, seen
from evaluation.optima.single_pair import SinglePair, Supply

_TAIL = 1e-12  # where the simulator cuts a distribution
_MOST_STATES = 64  # of all regimes together

# Fields that are understood here, or that no policy's cost depends on. Others need their default.
_UNDERSTOOD = {
    "Node": {"id", "kind", "position"},
    "Sku": {"id", "value", "volume", "weight", "whole_units"},
    "Stock": {
        "node", "sku", "holding_cost", "backlog_cost", "lost_sale_cost", "price", "p_wait",
        "target_service", "initial_stock", "demand", "demand_regimes", "allocation",
        "learned_allocation",
    },
    "Demand": {
        "mean", "standard_deviation", "process", "history", "multiplier", "season", "correlation",
    },
    "Lane": {
        "id", "node", "sku", "lead_time", "inputs", "resources", "regimes", "unit_cost",
        "fixed_cost", "load_size", "load_cost", "full_loads", "base_share", "minimum_order",
        "maximum_order", "order_multiple", "rounding", "speed", "priority", "unfilled_cost",
        "in_transit_cost", "mode", "co2", "information_delay", "initial_in_transit",
        "initial_orders",
    },
    "Resource": {
        "id", "capacity", "limits", "fixed_cost", "load_size", "load_cost", "regimes",
        "allocation",
    },
    "Regime": {"id", "states", "process", "seen_after", "by_mode"},
    "SupplyNetwork": {"nodes", "skus", "stocks", "lanes", "resources", "regimes", "timing"},
    "Timing": {"receive", "demand", "unfilled", "in_transit_payer"},
    "RegimeState": {"name", "availability", "cost", "demand", "ordering", "lead_time_spread"},
}  # fmt: skip


class NotCovered(Exception):
    """Value iteration can't solve this scenario; the message says why."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A part of a scenario that value iteration can solve."""

    model: SinglePair | JointPair
    constant: float  # currency per period to add
    relaxed: str = ""  # what planners know here and not in the scenario; empty: it is exact


def problems_of(scenario: Scenario) -> list[Problem]:
    """Return the problems whose optimal costs add up to the scenario's. Raises NotCovered."""
    if scenario.splits is not None:
        raise NotCovered("its demand is a history")
    network = scenario.network
    _check("the network", network)
    _check("timing", network.timing)
    for node in network.nodes:
        _check(f"node '{node.id}'", node)
    for sku in network.skus:
        _check(f"SKU '{sku.id}'", sku)
    reader = _Reader(scenario)
    for lane in network.lanes:
        if lane.inputs:
            raise NotCovered(f"lane '{lane.id}' takes stock from another place")
    problems, done = [], set()
    for stock in network.stocks:
        if stock.label in done:
            continue
        group = reader.coupled(stock)
        done |= {s.label for s in group}
        problems.append(reader.problem(group))
    return problems


def _check(where: str, thing: Any) -> None:
    """Refuse what isn't understood. Raises NotCovered."""
    for field in fields(thing):
        if field.name in _UNDERSTOOD[type(thing).__name__]:
            continue
        default = field.default
        if default is MISSING and field.default_factory is not MISSING:
            default = field.default_factory()
        value = getattr(thing, field.name)
        if value is not default and (isinstance(value, np.ndarray) or value != default):
            raise NotCovered(f"{where} has {field.name.replace('_', ' ')} {value}")


class _Reader:
    """Reads one network."""

    def __init__(self, scenario: Scenario) -> None:
        self._network: SupplyNetwork = scenario.network
        self._in_transit_cost = scenario.compiled.arrays.lanes.in_transit_cost
        self._resources = {r.id: r for r in self._network.resources}
        timing = self._network.timing
        self._demand_first = timing.demand is ServeOrder.first
        if self._demand_first and timing.receive is Receive.after_ship:
            raise NotCovered("customers come before orders and goods after shipping")

    def coupled(self, stock: Stock) -> list[Stock]:
        """Return the pairs whose decisions depend on each other's: they share a resource."""
        group, shared = [stock], self._shared(stock)
        while more := [
            other for other in self._network.stocks if other not in group
            and shared & self._shared(other)
        ]:  # fmt: skip
            group += more
            shared = set().union(*(self._shared(s) for s in group))
        return group

    def _shared(self, stock: Stock) -> set[str]:
        return {u.resource for lane in self._lanes(stock) for u in lane.resources}

    def _lanes(self, stock: Stock) -> list[Lane]:
        at = (stock.node, stock.sku)
        return [lane for lane in self._network.lanes if (lane.node, lane.sku) == at]

    def problem(self, group: list[Stock]) -> Problem:
        """Return the problem that these pairs are. Raises NotCovered."""
        if len(group) > 2:
            raise NotCovered(f"{len(group)} items share a supplier or a budget; two at most can")
        pairs, constants, relaxed = zip(
            *(self._pair(s, len(group) > 1) for s in group), strict=True
        )
        if len(group) == 1:
            return Problem(pairs[0], constants[0], relaxed[0])
        return Problem(self._joint(group, pairs), sum(constants))

    def _pair(self, stock: Stock, is_joint: bool) -> tuple[SinglePair, float, str]:
        where = f"'{stock.label}'"
        _check(where, stock)
        if stock.p_wait not in (0.0, 1.0):
            raise NotCovered(f"at {where} only a share of the customers waits, {stock.p_wait}")
        if stock.holding_cost <= 0.0:
            raise NotCovered(f"at {where} stock costs nothing")
        is_lost = stock.p_wait == 0.0
        if not is_lost and stock.backlog_cost <= 0.0:
            raise NotCovered(f"at {where} it costs nothing to let customers wait")
        lanes = self._lanes(stock)
        regimes = self._regimes(stock, lanes)
        if regimes and (is_joint or self._demand_first):
            raise NotCovered(f"regime '{regimes[0].id}' moves a problem of that kind")
        process, relaxed = self._process(stock, regimes)
        supplies = tuple(self._supply(lane, is_lost, regimes, is_joint) for lane in lanes)
        pair = SinglePair(
            process,
            supplies,
            stock.holding_cost,
            None if is_lost else stock.backlog_cost,
            stock.lost_sale_cost + stock.price,
        )
        return pair, -stock.price * process.mean_demand(), relaxed

    def _regimes(self, stock: Stock, lanes: list[Lane]) -> list[Regime]:
        """Return the regimes that move this pair. Raises NotCovered."""
        names = set(stock.demand_regimes) | {r for lane in lanes for r in lane.regimes}
        names |= {r for u in self._shared(stock) for r in self._resources[u].regimes}
        regimes = [r for r in self._network.regimes if r.id in names]
        for regime in regimes:
            where = f"regime '{regime.id}'"
            _check(where, regime)
            if not regime.process.is_chain:
                raise NotCovered(f"{where} is an event at a date")
            for state in [*regime.states, *(s for mode in regime.by_mode for s in mode.states)]:
                _check(f"{where} in state '{state.name}'", state)
        if math.prod(len(r.states) for r in regimes) > _MOST_STATES:
            raise NotCovered("its regimes have too many states together")
        return regimes

    def _process(self, stock: Stock, regimes: list[Regime]) -> tuple[MarkovDemand, str]:
        demand = stock.demand
        if demand is None:
            raise NotCovered(f"'{stock.label}' has no customers")
        _check(f"demand at '{stock.label}'", demand)
        if demand.process is None:
            raise NotCovered(f"demand at '{stock.label}' is a history")
        known = demand.multiplier
        if demand.season is not None or (known is not None and (known != 1.0).any()):
            raise NotCovered(f"demand at '{stock.label}' moves with the calendar")
        factors = _product(regimes, lambda state: state.demand, stock.demand_regimes)
        pmfs = [_pmf(demand.process, float(f), stock.label) for f in factors]
        pmf = np.zeros((len(pmfs), max(map(len, pmfs))))
        for row, one in zip(pmf, pmfs, strict=True):
            row[: len(one)] = one
        transition = _kron([r.step() for r in regimes], np.ones((1, 1)))
        hidden = [r for r in regimes if r.seen_after != 0]
        if not hidden:
            return seen(pmf, transition), ""
        if self._only_moves_demand_of(stock, regimes) and len(pmf) == 2:
            return believed(pmf, transition), "beliefs on a grid"
        return seen(pmf, transition), f"regime '{hidden[0].id}' as if seen at once"

    def _only_moves_demand_of(self, stock: Stock, regimes: list[Regime]) -> bool:
        """Whether the one regime there is shows in the demand of this stock only."""
        [regime, *more] = regimes
        affected = [s for s in self._network.stocks if regime.id in s.demand_regimes]
        felt = any(regime.id in lane.regimes for lane in self._network.lanes)
        felt |= any(regime.id in resource.regimes for resource in self._resources.values())
        return not more and affected == [stock] and not felt and regime.seen_after is None

    def _supply(self, lane: Lane, is_lost: bool, regimes: list[Regime], is_joint: bool) -> Supply:
        where = f"lane '{lane.id}'"
        _check(where, lane)
        if not lane.lead_time.constant:
            raise NotCovered(f"{where} takes random time")
        if lane.information_delay and (lane.regimes or lane.resources):
            raise NotCovered(f"{where} has an information delay beside regimes or resources")
        lead_time = lane.lead_time.minimum + lane.information_delay
        if self._demand_first:
            lead_time -= 1  # an order serves the demand of the period after next, at lead time 2
        if self._demand_first and lane.lead_time.minimum == 0:
            raise NotCovered(f"{where} brings goods at once, after customers were served")
        place = self._network.lanes.index(lane)
        on_way = float(self._in_transit_cost[place]) * lane.lead_time.minimum
        terms: dict[str, Any] = {
            "fixed_cost": lane.fixed_cost, "minimum": lane.minimum_order,
            "maximum": lane.maximum_order, "multiple": _multiple(lane, is_lost),
            "load_size": lane.load_size or math.inf, "load_cost": lane.load_cost,
            "full_loads": lane.full_loads,
        }  # fmt: skip
        closes = [(lane.regimes, lane.mode, name) for name in ("ordering", "availability")]
        for use in lane.resources if not is_joint else ():
            resource = self._resources[use.resource]
            _add_resource(terms, where, resource, use.per_unit, len(self._users(resource)))
            closes.append((resource.regimes, "", "availability"))
        is_open = np.ones(len(_product(regimes, lambda state: 1.0, ())), bool)
        for exposed, mode, name in closes:
            share = _product(regimes, lambda s, name=name: getattr(s, name), exposed, mode)
            if not np.isin(share, (0.0, 1.0)).all():
                raise NotCovered(f"{where} is partly available at times")
            is_open &= share > 0.0
        factor = _product(regimes, lambda state: state.cost, lane.regimes, lane.mode)
        if (factor != 1.0).any() and on_way > 0.0:
            raise NotCovered(f"{where} has a moving price and costs in transit")
        return Supply(
            lead_time, lane.unit_cost + on_way, **terms,
            open=() if is_open.all() else tuple(bool(o) for o in is_open),
            cost_factor=() if (factor == 1.0).all() else tuple(float(f) for f in factor),
        )  # fmt: skip

    def _users(self, resource: Resource) -> list[Lane]:
        return [
            lane for lane in self._network.lanes
            if resource.id in {u.resource for u in lane.resources}
        ]  # fmt: skip

    def _joint(self, group: list[Stock], pairs: tuple[SinglePair, ...]) -> JointPair:
        """Two items, one supplier each, and what they share."""
        where = " and ".join(f"'{s.label}'" for s in group)
        lanes = [self._lanes(stock) for stock in group]
        if any(len(own) > 1 for own in lanes):
            raise NotCovered(f"{where} share a resource and have more than one supplier each")
        if any(p.backlog_cost is None and p.supplies[0].lead_time for p in pairs):
            raise NotCovered(f"{where} lose sales and wait for goods")
        correlations = [s.demand.correlation for s in group if s.demand is not None]
        if all(correlations):
            raise NotCovered(f"demands at {where} are correlated")
        terms: dict[str, Any] = {}
        for name in sorted(self._shared(group[0]) | self._shared(group[1])):
            resource = self._resources[name]
            _check(f"resource '{name}'", resource)
            use = tuple(
                sum(u.per_unit for u in own[0].resources if u.resource == name) for own in lanes
            )
            if not all(use):
                raise NotCovered(f"resource '{name}' is used by one of {where} only")
            if resource.capacity < math.inf and resource.limits is not Limits.orders:
                raise NotCovered(f"resource '{name}' makes orders wait")
            new = {
                key: value
                for key, value, nothing in (
                    ("fixed_cost", resource.fixed_cost, 0.0),
                    ("load_size", resource.load_size, None),
                    ("load_cost", resource.load_cost, 0.0),
                    ("budget", resource.capacity, math.inf),
                )
                if value != nothing
            }
            scale = ("use",) if {"load_size", "budget"} & set(new) else ()
            if (set(new) | set(scale)) & set(terms):
                raise NotCovered(f"{where} share several resources of a kind")
            terms |= new | dict.fromkeys(scale, use)
        first, second = pairs
        return JointPair((first, second), **terms)


def _add_resource(
    terms: dict[str, Any], where: str, resource: Resource, per_unit: float, users: int
) -> None:
    """Put what a resource limits and costs into the terms of the one lane that uses it."""
    _check(f"resource '{resource.id}'", resource)
    costs = resource.fixed_cost > 0.0 or resource.load_cost > 0.0
    if users > 1 and (costs or resource.capacity < math.inf):
        raise NotCovered(f"{where} shares resource '{resource.id}' with another lane")
    if resource.capacity < math.inf:
        most = resource.capacity / per_unit
        waits = resource.limits is not Limits.orders
        if waits and (terms["fixed_cost"] > 0.0 or costs or most != round(most)):
            raise NotCovered(f"resource '{resource.id}' makes parts of orders wait")
        terms["maximum"] = min(terms["maximum"], most)
    terms["fixed_cost"] += resource.fixed_cost
    if resource.load_cost > 0.0:
        if terms["load_cost"] > 0.0 or terms["full_loads"]:
            raise NotCovered(f"{where} has loads of two kinds")
        assert resource.load_size is not None
        terms["load_size"] = resource.load_size / per_unit
        terms["load_cost"] = resource.load_cost


def _multiple(lane: Lane, is_lost: bool) -> int:
    """Return the units that orders come in. Raises NotCovered.

    Divisible units are as good as whole ones where customers wait and nothing limits orders: costs
    are then linear between whole levels.
    """
    where = f"lane '{lane.id}'"
    if lane.order_multiple == 0.0:
        limited = lane.minimum_order > 0.0 or lane.maximum_order < math.inf
        if is_lost or limited or lane.load_size is not None:
            raise NotCovered(f"{where} takes orders of divisible units")
        return 1
    if lane.order_multiple != round(lane.order_multiple):
        raise NotCovered(f"{where} takes orders in multiples of {lane.order_multiple}")
    return int(lane.order_multiple)


def _pmf(process: Any, factor: float, label: str) -> Floats:
    """Return the probabilities of 0, 1, ... units, cut where the simulator cuts them."""
    if factor == 0.0:
        return np.ones(1)
    distribution = process.distribution(factor)
    if not hasattr(distribution, "pmf"):
        raise NotCovered(f"demand at '{label}' isn't in whole units")
    high = max(0, int(distribution.ppf(1.0 - _TAIL)))
    cdf = np.asarray(distribution.cdf(np.arange(high + 1)), float)
    cdf[-1] = 1.0
    return np.diff(cdf, prepend=0.0)


def _product(regimes: list[Regime], of: Any, exposed: Iterable[str], mode: str = "") -> Floats:
    """Return for each joint state of the regimes a multiplier's product over those `exposed`."""
    rows = [
        np.array([of(s) if r.id in exposed else 1.0 for s in r.for_mode(mode).states], float)
        for r in regimes
    ]
    return _kron(rows, np.ones(1))


def _kron(factors: list[Floats], start: Floats) -> Floats:
    """Return the Kronecker product: joint states, the last regime's moving first."""
    product = start
    for factor in factors:
        product = np.asarray(np.kron(product, factor), float)
    return product
