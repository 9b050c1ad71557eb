"""What lanes and resources did: counted by a kernel, as sums over periods and episodes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from envs.compiled.arrays import NetworkArrays
from envs.compiled.dated_periods import Dated, DatedPeriods, dated_periods, longer_on
from envs.compiled.network import CompiledNetwork
from envs.kernel import Handle, entry, kernel
from envs.network.calendar import LaneCalendars
from envs.simulation.simulator import Simulator
from envs.simulation.state import Flows, State
from envs.types import Bools, Floats, Ints

_ROUNDING = 1e-6  # units, of sums over many periods


class LaneTotals(NamedTuple):
    """Sums over counted periods and episodes."""

    ordered: Floats  # [Q] units
    shipped: Floats  # [Q] units
    spent: Floats  # [Q] units shipped, times the cost factor of the period
    arrived: Floats  # [Q] units
    scrapped: Floats  # [Q] units of these
    in_transit: Floats  # [Q] units on their way at the ends of periods
    orders: Floats  # [Q] orders placed
    due: Floats  # [Q] orders whose promised time came
    on_time: Floats  # [Q] of these, those that had arrived in full
    changed: Floats  # [P] units by which orders differ from the period before


class ResourceTotals(NamedTuple):
    """Sums over counted periods and episodes."""

    used: Floats  # [R] capacity units
    capacity: Floats  # [R] capacity units there were; 0 where there is no limit
    loads: Floats  # [R] loads begun
    # [U] left of resources, and of room at nodes, in periods in which lanes wanted more of them
    unused: Floats
    unused_periods: Floats  # [U] how many periods these are


class _Work(NamedTuple):
    """What the kernel carries from period to period; orders are kept by the period in which they
    are due."""

    offset: Ints  # [B] calendar period in which each episode began
    promised: Ints  # [Q] periods from ordering to arrival, as planned
    dates: DatedPeriods  # [Q] by how much that differs by date
    units: Floats  # [slots, Q, B] ordered
    orders: Ints  # [slots, Q, B] how many orders
    cut: Ints  # [slots, Q, B] of these, partly cancelled
    later: Floats  # [Q, B] units ordered that aren't due yet
    order: Floats  # [P, B] units ordered for the pair
    arrived: Bools  # [P, B] whether anything arrived before the period's customers were served
    arrived_late: Bools  # [P, B] or after


@entry
def _count_lanes(
    net: NetworkArrays, state: State, flows: Flows, factor: Floats, work: _Work,
    totals: LaneTotals, period: int,
) -> None:  # fmt: skip
    """Add a closed period to the totals. period: 0 for the first one counted."""
    for q in range(net.lanes.to.size):
        shipped, scrapped = flows.shipped[q], _sum(flows.scrapped[q])
        units, row = _sum(shipped), net.factor_rows.cost[q]
        totals.shipped[q] += units
        totals.spent[q] += units if row < 0 else _sum_of_products(shipped, factor[row])
        totals.arrived[q] += _sum(flows.received[q]) + scrapped
        totals.scrapped[q] += scrapped
        totals.in_transit[q] += _sum(state.in_transit_total[q])
        _count_orders(net, state, flows, work, totals, q, period)
    for p in range(net.stocks.holding_cost.size):
        order, changed = work.order[p], 0.0
        for b in range(order.size):
            asked, early, late = 0.0, False, False
            for i in range(net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]):
                q = net.stocks.inbound.index[i]
                asked += flows.ordered[q, b]
                behind = _received_late(net, flows, q, b)
                early |= flows.received[q, b] - behind > 0.0
                late |= behind > 0.0
            changed += abs(asked - order[b])
            order[b] = asked
            work.arrived[p, b], work.arrived_late[p, b] = early, late
        totals.changed[p] += changed if period > 0 else 0.0


@kernel
def _received_late(net: NetworkArrays, flows: Flows, q: int, b: int) -> float:
    """Units that came in after the period's customers were served."""
    if not net.switches.demand_first:
        return 0.0
    if net.switches.receive_after_ship:
        return float(flows.received[q, b])
    return float(flows.received_late[q, b]) if net.lanes.at_once[q] else 0.0


@kernel
def _count_orders(
    net: NetworkArrays, state: State, flows: Flows, work: _Work, totals: LaneTotals, q: int,
    period: int,
) -> None:  # fmt: skip
    """Note what is ordered on lane q now, and whether what was promised by now has arrived."""
    slots, now = work.units.shape[0], period % work.units.shape[0]
    ordered, later, delay = flows.ordered[q], work.later[q], net.lanes.information_delay[q]
    owed, on_way = state.owed[q], state.in_transit_total[q]
    unheard = state.orders_on_way_total[q]
    units, orders, due, on_time = 0.0, 0, 0, 0
    for b in range(ordered.size):
        slot = _due(work, q, b, period) % slots
        work.units[slot, q, b] += ordered[b]
        work.orders[slot, q, b] += ordered[b] > 0.0
        if net.switches.cancel_unfilled and period >= delay and flows.cancelled[q, b] > _ROUNDING:
            work.cut[_due(work, q, b, period - delay) % slots, q, b] += 1
        units += ordered[b]
        orders += ordered[b] > 0.0
        later[b] += ordered[b] - work.units[now, q, b]
        missing = owed[b] + on_way[b] + unheard[b] - later[b]
        due += work.orders[now, q, b]
        if missing <= _ROUNDING:
            on_time += max(work.orders[now, q, b] - work.cut[now, q, b], 0)
        work.units[now, q, b] = 0.0
        work.orders[now, q, b] = work.cut[now, q, b] = 0
    totals.ordered[q] += units
    totals.orders[q] += orders
    totals.due[q] += due
    totals.on_time[q] += on_time


@kernel
def _due(work: _Work, q: int, b: int, period: int) -> int:
    """The period by which what is ordered in `period` is promised."""
    due: int = period + work.promised[q] + longer_on(work.dates, q, period + work.offset[b])
    return due


@kernel
def _sum(values: Floats) -> float:
    total = 0.0
    for b in range(values.size):
        total += values[b]
    return total


@kernel
def _sum_of_products(values: Floats, factors: Floats) -> float:
    total = 0.0
    for b in range(values.size):
        total += values[b] * factors[b]
    return total


class LaneTally:
    """Adds up what lanes and resources do, period by period.

    promised: [Q] periods from ordering to arrival, as planned.
    order: [P, B] units ordered in the period, over all lanes to the pair.
    arrived, arrived_late: [P, B] whether anything arrived in the period, before its customers were
      served and after.
    """

    def __init__(self, net: CompiledNetwork, batch_size: int) -> None:
        self._net = net
        pairs, lanes = len(net.network.stocks), len(net.network.lanes)
        promised, dates = _promises(net)
        slots = 1 + int(promised.max()) + int(dates.longer.max())
        self._work = _Work(
            np.zeros(batch_size, np.int64),
            promised,
            dates,
            np.zeros((slots, lanes, batch_size)),
            np.zeros((slots, lanes, batch_size), np.int64),
            np.zeros((slots, lanes, batch_size), np.int64),
            np.zeros((lanes, batch_size)),
            np.zeros((pairs, batch_size)),
            *np.zeros((2, pairs, batch_size), bool),
        )
        sizes = dict.fromkeys(LaneTotals._fields, lanes) | {"changed": pairs}
        self.totals = LaneTotals(**{name: np.zeros(size) for name, size in sizes.items()})
        limits = {"unused": len(net.limit_ids), "unused_periods": len(net.limit_ids)}
        sizes = dict.fromkeys(ResourceTotals._fields, len(net.resource_ids)) | limits
        self.resources = ResourceTotals(**{name: np.zeros(size) for name, size in sizes.items()})
        self._handles = Handle(self._work), Handle(self.totals)
        self.promised, self.order = promised, self._work.order
        self.arrived, self.arrived_late = self._work.arrived, self._work.arrived_late
        self._period = 0

    def add(self, simulator: Simulator) -> None:
        """Count the period that the simulator has just closed."""
        parts, factor = simulator.handles, simulator.trace.factor
        self._work.offset[:] = simulator.trace.offset
        _count_lanes(parts.net, parts.state, parts.flows, factor, *self._handles, self._period)
        self._period += 1
        if len(self._net.resource_ids):
            self._count_resources(simulator.flows.resource_used, factor)
        unused = simulator.flows.limit_unused
        if len(unused):
            self.resources.unused[...] += unused.sum(axis=1)
            self.resources.unused_periods[...] += np.count_nonzero(unused, axis=1)

    def _count_resources(self, used: Floats, factor: Floats) -> None:
        arrays, totals = self._net.arrays, self.resources
        batch = used.shape[1]
        there = np.where(np.isfinite(arrays.resources.capacity), arrays.resources.capacity, 0.0)
        struck = arrays.factor_rows.capacity >= 0
        share = np.full(len(there), float(batch))
        share[struck] = factor[arrays.factor_rows.capacity[struck]].sum(axis=1)
        totals.used[...] += used.sum(axis=1)
        totals.capacity[...] += there * share
        if (arrays.resources.load_size > 0.0).any():
            load = arrays.resources.load_size[:, None]
            size = np.where(load > 0.0, load, np.inf)
            totals.loads[...] += np.ceil(used / size - 1e-9).sum(axis=1)


def _promises(net: CompiledNetwork) -> tuple[Ints, DatedPeriods]:
    """[Q] periods from ordering to arrival: the mean lead time, rounded up; by date as calendars
    have it."""
    rows, promised = [], []
    for lane, met in zip(net.network.lanes, net.calendars, strict=True):
        road = math.ceil(lane.lead_time.mean() - 1e-9) + lane.split_delay
        usual = lane.information_delay + road
        promised.append(usual)

        def longer(
            today: int, met: LaneCalendars = met, road: int = road, usual: int = usual
        ) -> int:
            return met.arrival(today + usual - road, road) - today - usual

        rows.append(Dated((met, usual, road), [met], longer))
    return np.array(promised, np.int64), dated_periods(rows)


def lane_groups(net: CompiledNetwork, totals: LaneTotals) -> dict[str, dict[str, float]]:
    """Return sums by kind of lane ("plant > warehouse truck"): orders, shipped units, the costs
    that are a lane's own [currency], co2 [kg], and otif, the share of orders on time in full."""
    kinds = {n.id: n.kind for n in net.network.nodes}
    arrays, groups = net.arrays, dict[str, list[int]]()
    for q, lane in enumerate(net.network.lanes):
        source = kinds[lane.inputs[0].node] if lane.inputs else "outside"
        groups.setdefault(f"{source} > {kinds[lane.node]} {lane.mode}".strip(), []).append(q)
    per_lane = {
        "orders": totals.orders,
        "shipped": totals.shipped,
        "purchase": arrays.lanes.unit_cost * totals.spent,
        "fixed_order": arrays.lanes.fixed_cost * totals.orders,
        "in_transit": arrays.lanes.in_transit_cost * totals.in_transit,
        "co2": totals.shipped * [lane.co2 for lane in net.network.lanes],
    }
    figures = {}
    for label, lanes in groups.items():
        sums = {name: float(values[lanes].sum()) for name, values in per_lane.items()}
        kept = {name: x for name, x in sums.items() if x or name in ("orders", "shipped")}
        due = float(totals.due[lanes].sum())
        on_time = {"otif": float(totals.on_time[lanes].sum()) / due} if due else {}
        figures[label] = {**kept, **on_time}
    return figures


def resource_figures(net: CompiledNetwork, totals: ResourceTotals) -> dict[str, dict[str, float]]:
    """Return of every declared resource: utilisation (used / there was), loads begun, load_fill
    (used / loads begun x their size), as far as it has a limit or loads. Of a resource and of the
    storage of a node, where it was too small and yet not used up: unused and unused_share
    (periods)."""
    figures: dict[str, dict[str, float]] = {}
    for r, resource in enumerate(net.network.resources):
        entry: dict[str, float] = {}
        if totals.capacity[r] > 0.0:
            entry["utilisation"] = float(totals.used[r] / totals.capacity[r])
        if totals.loads[r] > 0.0:
            entry["loads"] = float(totals.loads[r])
            entry["load_fill"] = float(
                totals.used[r] / (totals.loads[r] * net.arrays.resources.load_size[r])
            )
        if entry:
            figures[resource.id] = entry
    for u, name in enumerate(net.limit_ids):
        if totals.unused_periods[u] > 0.0:
            unused = {"unused": totals.unused[u], "unused_share": totals.unused_periods[u]}
            figures[name] = figures.get(name, {}) | {key: float(x) for key, x in unused.items()}
    return figures
