"""Compile what limits orders on lanes, and what regimes multiply."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.compiled.arrays import Csr, FactorRows, LaneArrays, NodeArrays, OrderRules
from envs.compiled.calendars import CalendarRows
from envs.compiled.links import Links
from envs.compiled.sparse import csr
from envs.network.calendar import Calendar
from envs.network.lane import Limits, Rounding
from envs.network.network import Unfilled
from envs.network.order_quantities import OrderQuantities
from envs.network.regime import MULTIPLIERS
from envs.types import Floats, Ints


class Exposure(NamedTuple):
    """A row of the trace's factors: the product of one multiplier over some regimes."""

    multiplier: str
    regimes: tuple[str, ...]
    mode: str = ""  # of the lanes; "" where it matters to none of the regimes
    calendar: Calendar | None = None  # when it is open; it is 0 in other periods


def compile_exposures(
    links: Links, calendars: CalendarRows
) -> tuple[tuple[Exposure, ...], FactorRows]:
    """Return the distinct rows of factors, and for each multiplier the row of every lane (and
    capacity: of every resource), -1 where it is always 1."""
    network, resources = links.network, links.resources
    known: dict[Exposure, int] = {}

    def row(
        multiplier: str, exposed_to: tuple[str, ...], mode: str, calendar: Calendar | None
    ) -> int:
        moving = [
            regime
            for regime in network.regimes
            if regime.id in exposed_to
            and any(getattr(state, multiplier) != 1.0 for state in regime.for_mode(mode).states)
        ]
        if not moving and calendar is None:
            return -1
        own = mode if any(regime.by_mode for regime in moving) else ""
        exposure = Exposure(multiplier, tuple(regime.id for regime in moving), own, calendar)
        return known.setdefault(exposure, len(known))

    closed_by = {"availability": "shipping", "transit": "transit", "receiving": "receiving"}
    of = {
        name: np.array(
            [
                row(name, lane.regimes, lane.mode, getattr(met, closed_by.get(name, ""), None))
                for lane, met in zip(network.lanes, links.calendars, strict=True)
            ],
            np.int64,
        )
        for name in MULTIPLIERS
    }
    capacity = [row("availability", r.regimes, "", r.calendar) for r in resources]
    closes = [calendars.row(exposure.calendar) for exposure in known]
    return tuple(known), FactorRows(
        **of, capacity=np.array(capacity, np.int64), calendar=np.array(closes, np.int64)
    )


def compile_rules(
    links: Links, nodes: NodeArrays, lanes: LaneArrays, calendars: CalendarRows
) -> OrderRules:
    """Compile what kernels read of the rules for orders."""
    network = links.network
    budgets = np.flatnonzero([r.limits is Limits.orders for r in links.resources])
    takes = _takes(links, nodes, lanes, budgets)
    limited = np.flatnonzero(np.diff(takes.pointer))
    steps = lanes.step.tolist()
    quantities = [q.quantities(s) for q, s in zip(network.lanes, steps, strict=True)]

    def of(name: str) -> Floats:
        return np.array([getattr(q, name) for q in quantities], float)

    return OrderRules(
        minimum_order=of("minimum"),
        maximum_order=of("maximum"),
        pack=of("pack"),
        pack_numerator=of("numerator"),
        pack_denominator=of("denominator"),
        least_packs=of("least"),
        most_packs=of("most"),
        rounding=np.array(
            [list(Rounding).index(r) for r in roundings(links, quantities)], np.int64
        ),
        budgets=budgets.astype(np.int64),
        takes=takes,
        limited=limited[np.argsort(lanes.turn[limited])].astype(np.int64),
        calendar_row=np.array([calendars.row(met.ordering) for met in links.calendars], np.int64),
    )


def roundings(links: Links, quantities: list[OrderQuantities]) -> list[Rounding]:
    """[Q] how orders are rounded to what the lane takes.

    Where one isn't given: up where somebody waits for the goods and a pack or the minimum is more
    than a unit, so that nobody waits for ever; else to the nearest.
    """
    network = links.network
    waits = np.array([s.demand is not None and s.p_wait > 0.0 for s in network.stocks], bool)
    if network.timing.unfilled is Unfilled.backlog:
        waits[links.inputs.index] = True
    found = []
    for lane, pair, allowed in zip(network.lanes, links.lane_to, quantities, strict=True):
        is_coarse = max(allowed.pack, allowed.minimum) > 1.0
        usual = Rounding.up if is_coarse and waits[pair] else Rounding.nearest
        found.append(lane.rounding or usual)
    return found


def _takes(links: Links, nodes: NodeArrays, lanes: LaneArrays, budgets: Ints) -> Csr:
    """[Q] -> budgets, then nodes of limited room: what a unit ordered takes of them."""
    limit = {int(r): k for k, r in enumerate(budgets)}
    room = {int(n): len(budgets) + k for k, n in enumerate(nodes.capacitated)}
    takes: list[list[tuple[int, float]]] = [[] for _ in links.network.lanes]
    for q, r, use in zip(lanes.uses.rows, lanes.uses.index, lanes.uses.value, strict=True):
        if int(r) in limit:
            takes[q].append((limit[int(r)], float(use)))
    received = nodes.receives
    for n, q, volume in zip(received.rows, received.index, received.value, strict=True):
        if int(n) in room:
            takes[q].append((room[int(n)], float(volume)))
    return csr(takes)
