"""Compile resources and the switches of the whole network."""

from __future__ import annotations

import numpy as np

from envs.compiled.arrays import (
    CostColumn,
    FactorRows,
    LaneArrays,
    NodeArrays,
    OrderRules,
    ResourceArrays,
    Switches,
)
from envs.compiled.links import Links
from envs.compiled.sparse import csr, grouped
from envs.network.lane import Allocation, Limits, Resource
from envs.network.network import Receive, ServeOrder, Unfilled
from envs.types import Bools, Floats, Ints


def compile_resources(links: Links, lanes: LaneArrays) -> ResourceArrays:
    """Compile what kernels read of resources."""
    uses, resources = links.uses, links.resources
    scarce = _scarce(links)
    takers = _takers(links, lanes, scarce)
    limits = _limits(links)

    def of(name: str) -> Floats:
        return np.array([getattr(r, name) or 0.0 for r in resources], float)

    return ResourceArrays(
        users=grouped(uses.index, uses.rows, uses.value, len(resources)),
        capacity=of("capacity"),
        by_priority=np.array([r.allocation is Allocation.priority for r in resources], bool),
        limits_orders=np.array([r.limits is Limits.orders for r in resources], bool),
        joint_cost=of("fixed_cost"),
        load_size=of("load_size"),
        load_cost=of("load_cost"),
        scarce=scarce,
        takers=csr(takers),
        takers_alike=np.array([_are_alike(row, lanes, limits) for row in takers], bool),
        least_step=np.array(
            [min((use * lanes.step[q] for q, use in row), default=np.inf) for row in takers], float
        ),
    )


def _takers(links: Links, lanes: LaneArrays, scarce: Ints) -> list[list[tuple[int, float]]]:
    """[J] the lanes of whole units that take of each scarce thing, in their turn, and how much."""
    taken: dict[int, list[tuple[int, float]]] = {int(thing): [] for thing in scarce}
    for matrix, first in ((links.inputs, 0), (links.uses, links.pairs)):
        for thing, q, use in zip(matrix.index, matrix.rows, matrix.value, strict=True):
            if first + int(thing) in taken and lanes.step[q] > 0.0:
                taken[first + int(thing)].append((int(q), float(use)))
    return [sorted(taken[int(thing)], key=lambda entry: lanes.turn[entry[0]]) for thing in scarce]


def _are_alike(row: list[tuple[int, float]], lanes: LaneArrays, limits: Ints) -> bool:
    """Whether all lanes that take of a thing take equally much a step, and of nothing else."""
    steps = {use * lanes.step[q] for q, use in row}
    return len(steps) == 1 and all(limits[q] == 1 for q, _ in row)


def _scarce(links: Links) -> Ints:
    """Pairs and limiting resources (behind the pairs), by name, so that it doesn't matter how the
    network lists them."""
    names = [(0, s.label) for s in links.network.stocks] + [(1, r.id) for r in links.resources]
    shared = np.isin(np.arange(links.pairs), links.inputs.index).tolist()
    shared += [_limits_shipments(r) for r in links.resources]
    by_name = sorted(range(len(names)), key=names.__getitem__)
    return np.array([i for i in by_name if shared[i]], np.int64)


def compile_switches(
    links: Links, nodes: NodeArrays, lanes: LaneArrays, rules: OrderRules, factor_rows: FactorRows
) -> Switches:
    """Say what the network uses, so that kernels leave out the rest."""
    timing = links.network.timing
    return Switches(
        column_used=_columns_used(links, lanes),
        ship_rounds=_ship_rounds(links),
        receive_after_ship=timing.receive is Receive.after_ship,
        demand_first=timing.demand is ServeOrder.first,
        cancel_unfilled=timing.unfilled is Unfilled.cancel,
        has_order_rules=bool(
            nodes.capacitated.size
            or any(r.limits is Limits.orders for r in links.resources)
            or (rules.calendar_row >= 0).any()
            or (factor_rows.ordering >= 0).any()
        ),
        has_use_costs=any(r.fixed_cost > 0 or r.load_cost > 0 for r in links.resources),
        has_lane_terms=any(q.price or q.unfilled_cost for q in links.network.lanes),
        has_whole_units=bool(lanes.step.any()),
    )


def _ship_rounds(links: Links) -> int:
    """Passes of joint allocation: one is enough where no lane has two limits."""
    return 1 if (_limits(links) < 2).all() else 3


def _limits(links: Links) -> Ints:
    """[Q] how many things limit what a lane ships."""
    limiting = np.array([_limits_shipments(links.resources[r]) for r in links.uses.index], bool)
    inputs = np.diff(links.inputs.pointer).astype(np.int64)
    return inputs + np.bincount(links.uses.rows[limiting], minlength=len(inputs))


def _limits_shipments(resource: Resource) -> bool:
    """By its capacity, or because its regimes or its calendar can stop it."""
    closes = bool(resource.regimes) or resource.calendar is not None
    limited = np.isfinite(resource.capacity) or closes
    return bool(limited and resource.limits is Limits.shipments)


def _columns_used(links: Links, arrays: LaneArrays) -> Bools:
    """[C] cost columns that can differ from 0."""
    stocks, lanes, resources = links.network.stocks, links.network.lanes, links.resources
    unfilled = any(q.unfilled_cost for q in lanes)
    used = {
        CostColumn.HOLDING: any(s.holding_cost for s in stocks),
        CostColumn.IN_TRANSIT: bool(arrays.in_transit_cost.any()),
        CostColumn.BACKLOG: any(s.backlog_cost for s in stocks) or unfilled,
        CostColumn.LOST_SALE: any(s.lost_sale_cost for s in stocks) or unfilled,
        CostColumn.PURCHASE: any(q.unit_cost for q in lanes),
        CostColumn.FIXED_ORDER: any(q.fixed_cost for q in lanes)
        or any(r.fixed_cost for r in resources),
        CostColumn.REVENUE: any(s.price for s in stocks) or any(q.price for q in lanes),
        CostColumn.SALVAGE: any(s.value for s in links.network.skus),
        CostColumn.LOAD: any(r.load_cost for r in resources),
    }
    return np.array([used[column] for column in CostColumn], bool)
