"""Compile what limits orders on lanes, and what regimes multiply."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from envs.compiled.arrays import FactorRows, OrderRules
from envs.compiled.links import Links
from envs.network.lane import Calendar, Lane
from envs.network.network import SupplyNetwork
from envs.network.regime import MULTIPLIERS
from envs.types import Bools, Floats, Ints


class Exposure(NamedTuple):
    """A row of the trace's factors: the product of one multiplier over some regimes."""

    multiplier: str
    regimes: tuple[str, ...]
    mode: str = ""  # of the lanes; "" where it matters to none of the regimes


def compile_exposures(links: Links) -> tuple[tuple[Exposure, ...], FactorRows]:
    """Return the distinct rows of factors, and for each multiplier the row of every lane (and
    capacity: of every resource), -1 where it is always 1."""
    network, resources = links.network, links.resources
    known: dict[Exposure, int] = {}

    def row(multiplier: str, exposed_to: tuple[str, ...], mode: str = "") -> int:
        moving = [
            regime
            for regime in network.regimes
            if regime.id in exposed_to
            and any(getattr(state, multiplier) != 1.0 for state in regime.for_mode(mode).states)
        ]
        if not moving:
            return -1
        own = mode if any(regime.by_mode for regime in moving) else ""
        exposure = Exposure(multiplier, tuple(regime.id for regime in moving), own)
        return known.setdefault(exposure, len(known))

    of = {
        name: np.array([row(name, lane.regimes, lane.mode) for lane in network.lanes], np.int64)
        for name in MULTIPLIERS
    }
    capacity = np.array([row("availability", r.regimes) for r in resources], np.int64)
    return tuple(known), FactorRows(**of, capacity=capacity)


def compile_rules(network: SupplyNetwork) -> OrderRules:
    """Compile what kernels read of the rules for orders."""
    lanes = network.lanes
    calendar_row, open_periods, cycle = _calendars(network)

    def of(name: str) -> Floats:
        return np.array([getattr(q, name) for q in lanes], float)

    return OrderRules(
        minimum_order=of("minimum_order"),
        maximum_order=of("maximum_order"),
        order_multiple=of("order_multiple"),
        load_multiple=np.array([(q.load_size or 0.0) * q.full_loads for q in lanes], float),
        calendar_row=calendar_row,
        open_periods=open_periods,
        cycle=cycle,
    )


def lane_calendar(lane: Lane, review: Calendar | None) -> Calendar | None:
    """Return when orders can be placed: in periods that both the node's review and the lane's own
    calendar hold."""
    both = [c for c in (review, lane.calendar) if c is not None]
    if not both:
        return None
    cycle = math.lcm(*(c.cycle for c in both))
    return Calendar(
        cycle, tuple(t for t in range(cycle) if all(t % c.cycle in c.open for c in both))
    )


def _calendars(network: SupplyNetwork) -> tuple[Ints, Bools, Ints]:
    known: dict[Calendar, int] = {}
    row = np.full(len(network.lanes), -1, np.int64)
    reviews = {n.id: n.review for n in network.nodes}
    for q, lane in enumerate(network.lanes):
        calendar = lane_calendar(lane, reviews[lane.node])
        if calendar is not None:
            row[q] = known.setdefault(calendar, len(known))
    width = max((c.cycle for c in known), default=1)
    open_periods = np.zeros((max(1, len(known)), width), bool)
    for calendar, k in known.items():
        open_periods[k, list(calendar.open)] = True
    return row, open_periods, np.array([c.cycle for c in known] or [1], np.int64)
