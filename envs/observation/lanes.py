"""What an agent sees of each way to get a SKU, and of what limits its orders.

Inbound lanes stand in fixed slots, in the order of the network; a pair with fewer lanes than others
sees zeros. A network whose lanes never vary and give no choice has none of these features.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.compiled.arrays import NetworkArrays
from envs.compiled.network import CompiledNetwork
from envs.kernel import kernel
from envs.simulation.state import State

__all__ = [
    "LaneObservationArrays",
    "compile_lane_observation",
    "write_lanes",
    "write_static_lanes",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Features = NDArray[np.float32]


class LaneObservationArrays(NamedTuple):
    """What the kernel needs; a place is -1 where the feature is absent."""

    slots: int  # inbound lanes that are shown, at most; 0: none
    size: int  # features of a lane
    belief: int  # first of five: lead time, spread, on time, in full, overdue
    price: int
    seen: int
    ahead: int  # first of `forecasts`
    forecasts: int  # periods ahead that agents are told of
    open_now: int
    room: int  # of the pair, behind the lanes
    wait: int
    soon: int
    static_price: Floats  # [Q] unit cost / cheapest on regular lanes to the pair - 1
    watched: NDArray[np.bool_]  # [Q] exposed to a regime that agents see or are told of
    usable: Floats  # [Q, G, states] share of orders that go through in a state
    speed: Floats  # [Q, G, states] usable / lead-time factor, of what is forecast
    scale: Floats  # [P] expected lead time and review, periods


def compile_lane_observation(net: CompiledNetwork) -> tuple[LaneObservationArrays, tuple[str, ...]]:
    """Lay out the features; returns the arrays and the names in order."""
    arrays, network = net.arrays, net.network
    most = int(np.diff(arrays.stocks.inbound.pointer).max())
    regimes = network.regimes
    ahead = max((len(r.forecast_accuracy) for r in regimes), default=0)
    cost = arrays.lanes.unit_cost
    cheapest = np.full(len(network.stocks), np.inf)
    np.minimum.at(cheapest, arrays.lanes.to, np.where(cost > 0, cost, np.inf))
    base = np.where(np.isfinite(cheapest), cheapest, 1.0)[arrays.lanes.to]
    price = np.where(cost > 0, cost / base, 1.0) - 1.0
    is_shown = most > 1 or len(arrays.beliefs.lane) > 0
    parts = (
        ("belief", ("lead_time", "lead_time_sd", "on_time", "in_full", "overdue"),
         len(arrays.beliefs.lane) > 0),
        ("price", ("price",), bool(price.any()) or bool((arrays.factor_rows.cost >= 0).any())),
        ("seen", ("usable_as_seen",), any(r.seen_after is not None for r in regimes)),
        ("ahead", tuple(f"speed_in_{f + 1}" for f in range(ahead)), ahead > 0),
        ("open_now", ("open_now",), bool((arrays.rules.calendar_row >= 0).any())),
    )  # fmt: skip
    place: dict[str, int] = {}
    of_lane: list[str] = []
    for key, features, used in parts:
        place[key] = len(of_lane) if used and is_shown else -1
        of_lane += features if used and is_shown else ()
    slots = most if of_lane else 0
    names = [f"lane_{i}_{name}" for i in range(slots) for name in of_lane]
    for key, name, used in (
        ("room", "storage_room", arrays.nodes.capacitated.size > 0),
        ("wait", "periods_until_order", bool((arrays.rules.calendar_row >= 0).any())),
        ("soon", "expedite_position", bool(arrays.lanes.expedite.any())),
    ):
        place[key] = len(names) if used else -1
        names += [name] if used else []
    usable, speed = _by_state(net)
    return LaneObservationArrays(
        slots=slots,
        size=len(of_lane),
        forecasts=ahead,
        **place,
        static_price=price,
        watched=(usable != 1.0).any(axis=(1, 2)) | (speed != 1.0).any(axis=(1, 2))
        if usable.size
        else np.zeros(len(network.lanes), bool),
        usable=usable,
        speed=speed,
        scale=np.maximum(net.lead_mean + net.review, 1.0),
    ), tuple(names)


def _by_state(net: CompiledNetwork) -> tuple[Floats, Floats]:
    """[Q, G, states] of the regimes that agents see or are told of; else 1."""
    regimes = net.network.regimes
    width = max((len(r.states) for r in regimes), default=1)
    shape = (len(net.network.lanes), len(regimes), width)
    if not any(r.seen_after is not None or r.forecast_accuracy for r in regimes):
        shape = (0, 0, 0)  # nobody looks at it
    usable, speed = np.ones(shape), np.ones(shape)
    by_resource = {r.id: set(r.regimes) for r in net.network.resources}
    for q, lane in enumerate(net.network.lanes if shape[0] else ()):
        for g, regime in enumerate(regimes):
            if any(regime.id in by_resource[use.resource] for use in lane.resources):
                share = np.array([s.availability for s in regime.states])
                usable[q, g, : len(share)] = speed[q, g, : len(share)] = share
            if regime.id in lane.regimes:
                states = regime.for_mode(lane.mode).states
                share = np.array([s.availability * s.ordering * s.transit for s in states])
                slow = np.array([max(s.lead_time, 1e-3) for s in states])
                usable[q, g, : len(share)] = share
                speed[q, g, : len(share)] = share / slow
    return usable, speed


def write_static_lanes(
    net: NetworkArrays, arrays: LaneObservationArrays, first: int, observation: Features
) -> None:
    """Fill what never changes in observation [P, F, B], whose lane features begin at `first`."""
    if arrays.slots == 0:
        return
    for q, p in enumerate(net.lanes.to):
        pointer = net.stocks.inbound.pointer[p]
        slot = int(
            np.flatnonzero(
                net.stocks.inbound.index[pointer : net.stocks.inbound.pointer[p + 1]] == q
            )[0]
        )
        of_lane = observation[p, first + slot * arrays.size :]
        if arrays.belief >= 0:
            of_lane[arrays.belief + 2 : arrays.belief + 4] = 1.0  # on time, in full
        if arrays.price >= 0:
            of_lane[arrays.price] = arrays.static_price[q]
        for place in (arrays.seen, arrays.open_now):
            if place >= 0:
                of_lane[place] = 1.0
        if arrays.ahead >= 0:
            of_lane[arrays.ahead : arrays.ahead + arrays.forecasts] = 1.0


@kernel
def write_lanes(
    net: NetworkArrays, arrays: LaneObservationArrays, state: State, p: int, factor: Floats,
    seen: Ints, forecast: Ints, offset: Ints, period: int, scale: np.float32, lo: int, hi: int,
    out: Features,
) -> None:  # fmt: skip
    """Fill the features of pair p, out [features, B], for the columns lo..hi."""
    first, last = net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]
    for i in range(first, last if arrays.slots > 0 else first):
        q, f = net.stocks.inbound.index[i], (i - first) * arrays.size
        if arrays.belief >= 0 and net.beliefs.row[q] >= 0:
            for b in range(lo, hi):
                _put_beliefs(net, arrays, state, p, q, scale, b, out[f + arrays.belief :])
        row = net.factor_rows.cost[q]
        if arrays.price >= 0 and row >= 0:
            for b in range(lo, hi):
                out[f + arrays.price, b] = (1.0 + arrays.static_price[q]) * factor[row, b] - 1.0
        if arrays.watched[q]:
            for b in range(lo, hi):
                if arrays.seen >= 0:
                    out[f + arrays.seen, b] = _product(arrays.usable[q], seen, b)
                for k in range(forecast.shape[0]):
                    out[f + arrays.ahead + k, b] = _product(arrays.speed[q], forecast[k], b)
        if arrays.open_now >= 0 and net.rules.calendar_row[q] >= 0:
            for b in range(lo, hi):
                out[f + arrays.open_now, b] = _periods_closed(net, q, period + offset[b]) == 0
    if arrays.room >= 0 and net.nodes.storage_capacity[net.stocks.node_of[p]] < np.inf:
        _put_room(net, state, p, scale, lo, hi, out[arrays.room])
    if arrays.wait >= 0 and first < last:
        for b in range(lo, hi):
            closed = _periods_closed(net, net.stocks.inbound.index[first], period + offset[b])
            out[arrays.wait, b] = closed / arrays.scale[p]
    if arrays.soon >= 0 and net.stocks.expedite_periods[p] >= 0:
        for b in range(lo, hi):
            out[arrays.soon, b] = _signed(state.expedite_position[p, b] * float(scale))


@kernel
def _put_beliefs(
    net: NetworkArrays, arrays: LaneObservationArrays, state: State, p: int, q: int,
    scale: np.float32, b: int, out: Features,
) -> None:  # fmt: skip
    k = net.beliefs.row[q]
    mean = state.lead_belief[k, b]
    out[0, b] = mean / arrays.scale[p] - 1.0
    out[1, b] = math.sqrt(max(0.0, state.lead_square[k, b] - mean * mean)) / arrays.scale[p]
    out[2, b], out[3, b] = state.on_time[k, b], state.in_full[k, b]
    out[4, b] = _signed(state.overdue[k, b] * scale)


@kernel
def _product(table: Floats, states: Ints, b: int) -> float:
    """table [G, states], states [G, B]: over the regimes whose state is known."""
    product = 1.0
    for g in range(states.shape[0]):
        if states[g, b] >= 0:
            product *= table[g, states[g, b]]
    return product


@kernel
def _periods_closed(net: NetworkArrays, q: int, now: int) -> int:
    """Periods until orders can be placed on the lane; 0: now."""
    row = net.rules.calendar_row[q]
    closed = 0
    if row >= 0:
        while not net.rules.open_periods[row, (now + closed) % net.rules.cycle[row]]:
            closed += 1
    return closed


@kernel
def _signed(x: float) -> float:
    """Squash as in envs/observation/pairs.py, both signs."""
    size = 2.0 * (math.sqrt(1.0 + abs(x)) - 1.0)
    return size if x >= 0.0 else -size


@kernel
def _put_room(
    net: NetworkArrays, state: State, p: int, scale: np.float32, lo: int, hi: int, out: Features
) -> None:
    """Units of this pair that still fit into the node, in periods of its demand."""
    n = net.stocks.node_of[p]
    for b in range(lo, hi):
        free = net.nodes.storage_capacity[n]
        for j in range(net.nodes.stored.pointer[n], net.nodes.stored.pointer[n + 1]):
            free -= net.nodes.stored.value[j] * state.on_hand[net.nodes.stored.index[j], b]
        out[b] = _signed(max(0.0, free) / max(net.stocks.volume[p], 1e-9) * scale)
