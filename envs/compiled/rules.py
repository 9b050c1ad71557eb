"""Compile what limits and disturbs lanes: regimes, calendars, loads, storage."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.compiled.arrays import Csr
from envs.compiled.parts import can_be_at_once, csr, rows
from envs.network.network import Calendar, Lane, Resource, Speed, SupplyNetwork
from envs.network.regime import MULTIPLIERS

__all__ = ["Exposure", "compile_exposures", "compile_lane_rules", "with_lane_loads"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Exposure(NamedTuple):
    """A row of the trace's factors: the product of one multiplier over some regimes."""

    multiplier: str
    regimes: tuple[str, ...]
    mode: str = ""  # of the lanes; "" where none of the regimes looks at it


def with_lane_loads(network: SupplyNetwork) -> tuple[tuple[Resource, ...], Csr]:
    """Return all resources and which lanes use them: a lane's own loads are a resource of its
    own, behind the declared ones, so that there is one kind of load."""
    resources = list(network.resources)
    index = {r.id: i for i, r in enumerate(resources)}
    uses: list[list[tuple[int, float]]] = []
    for lane in network.lanes:
        used = [(index[u.resource], u.per_unit) for u in lane.resources]
        if lane.load_cost > 0.0:
            used.append((len(resources), 1.0))
            resources.append(
                Resource(f"{lane.id} loads", load_size=lane.load_size, load_cost=lane.load_cost)
            )
        uses.append(used)
    return tuple(resources), csr(uses)


def compile_exposures(
    network: SupplyNetwork, resources: tuple[Resource, ...]
) -> tuple[tuple[Exposure, ...], dict[str, Ints]]:
    """Return the distinct rows of factors, and for each multiplier the row of every lane (and
    "capacity": of every resource), -1 where it is always 1."""
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
    of["capacity"] = np.array([row("availability", r.regimes) for r in resources], np.int64)
    return tuple(known), of


def compile_lane_rules(
    network: SupplyNetwork,
    node_index: dict[str, int],
    storage: Floats,
    lead_row: Ints,
    row_of: dict[str, Ints],
) -> dict[str, Any]:
    """Return the fields of NetworkArrays about yields, pauses, splits, speeds and calendars."""
    lanes = network.lanes
    limited = np.array([np.isfinite(storage[node_index[q.node]]) for q in lanes], bool)
    yields = np.array([q.yield_share for q in lanes], float)
    disturbed = np.zeros(len(lanes), bool)
    for name in ("yield_share", "transit", "receiving"):
        disturbed |= row_of[name] >= 0
    unsure = (lead_row >= 0) | disturbed
    unsure |= (row_of["availability"] >= 0) | (row_of["ordering"] >= 0)
    calendar_row, open_periods, cycle = _calendars(network)
    return {
        "at_once": np.array([can_be_at_once(network, q) for q in lanes], bool),
        "plain_receipt": ~(limited | disturbed | (yields < 1.0)),
        "yield_share": yields,
        "expected_yield": np.array([_expected_yield(network, q) for q in lanes], float),
        "split_share": np.array([q.split_share for q in lanes], float),
        "split_delay": np.array([q.split_delay for q in lanes], np.int64),
        "expedite": np.array([q.speed is Speed.expedite for q in lanes], bool),
        "priority": np.array([q.priority for q in lanes], float),
        "load_multiple": np.array([(q.load_size or 0.0) * q.full_loads for q in lanes], float),
        "calendar_row": calendar_row,
        "open_periods": open_periods,
        "cycle": cycle,
        "belief_row": rows(list(unsure)),
        "availability_row": row_of["availability"],
        "yield_row": row_of["yield_share"],
        "cost_row": row_of["cost"],
        "ordering_row": row_of["ordering"],
        "transit_row": row_of["transit"],
        "receiving_row": row_of["receiving"],
    }


def _expected_yield(network: SupplyNetwork, lane: Lane) -> float:
    share = lane.yield_share
    for regime in network.regimes:
        if regime.id in lane.regimes:
            share *= regime.for_mode(lane.mode).mean("yield_share")
    return max(share, 1e-3)


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


def _calendars(network: SupplyNetwork) -> tuple[Ints, NDArray[np.bool_], Ints]:
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
