"""What a buyer believes of a lane whose service varies, from orders and receipts alone.

Receipts are matched to orders first in, first out, as purchasing systems do. Every match shows how
long an order took; beliefs move by a fixed weight with each period that brings something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from envs.compiled.arrays import NetworkArrays
from envs.kernel import kernel
from envs.simulation.state import State
from envs.simulation.world import World
from envs.types import Floats, Ints

if TYPE_CHECKING:
    from envs.compiled.network import CompiledNetwork

_WEIGHT = 0.15  # of the newest receipts, or the newest due date
_CRUMB_UNITS = 1e-9  # what rounding leaves of an overdue order that has come


@kernel
def note_orders(world: World, period: int, lo: int, hi: int) -> None:
    """Remember what was ordered in the period just closed, less what was cancelled."""
    net, state, flows = world.net, world.state, world.flows
    for k in range(net.beliefs.lane.size):
        q = net.beliefs.lane[k]
        kept = state.cohorts.shape[1]
        slot, next_slot = period % kept, (period + 1) % kept
        known = (period - net.lanes.information_delay[q]) % kept  # ordered then, shipped now
        for b in range(lo, hi):
            state.cohorts[k, next_slot, b] += state.cohorts[k, slot, b]  # too old to tell apart
            state.cohorts[k, slot, b] = state.asked[k, slot, b] = flows.ordered[q, b]
            left = state.cohorts[k, known, b] - flows.cancelled[q, b]
            state.cohorts[k, known, b] = max(0.0, left)
        if _comes_late(net, q):
            _match(world, k, q, period, 0, lo, hi)


@kernel
def believe_receipts(world: World, period: int, lo: int, hi: int) -> None:
    """Match what was received since the last look; see what is overdue now."""
    net, state = world.net, world.state
    kept = state.cohorts.shape[1]
    for k in range(net.beliefs.lane.size):
        q = net.beliefs.lane[k]
        promised = net.beliefs.promised[k] + (1 if _comes_late(net, q) else 0)
        due = (period - promised) % kept
        if not _comes_late(net, q):
            _match(world, k, q, period, 1, lo, hi)
        for b in range(lo, hi):
            asked, missing = state.asked[k, due, b], state.cohorts[k, due, b]
            if asked > 0.0:
                there = 1.0 - min(1.0, missing / asked)
                state.in_full[k, b] += _WEIGHT * (there - state.in_full[k, b])
            state.overdue[k, b] += missing


@kernel
def _comes_late(net: NetworkArrays, q: int) -> bool:
    """Whether goods arrive after the orders of the period, and so are looked at when it closes."""
    return bool(net.switches.receive_after_ship or net.lanes.at_once[q])


@kernel
def _match(world: World, k: int, q: int, period: int, youngest: int, lo: int, hi: int) -> None:
    """Take what was received from the oldest orders on; learn from how old they are."""
    state, flows, promised = world.state, world.flows, world.net.beliefs.promised[k]
    kept = state.cohorts.shape[1]
    for b in range(lo, hi):
        left = flows.received[q, b] + flows.scrapped[q, b]
        if left <= 0.0:
            continue
        age = min(period - int(state.oldest[k, b]), kept - 1 + youngest)
        matched = in_time = age_sum = square_sum = 0.0
        while left > 0.0 and age >= youngest:
            slot, since = (period - age) % kept, float(age)
            part = min(left, state.cohorts[k, slot, b])
            state.cohorts[k, slot, b] -= part
            left -= part
            matched += part
            in_time += part if age <= promised else 0.0
            age_sum += part * since
            square_sum += part * since * since
            age -= 1 if left > 0.0 else 0
        state.oldest[k, b] = period - age
        if matched > 0.0:
            mean, square = age_sum / matched, square_sum / matched
            state.lead_belief[k, b] += _WEIGHT * (mean - state.lead_belief[k, b])
            state.lead_square[k, b] += _WEIGHT * (square - state.lead_square[k, b])
            state.on_time[k, b] += _WEIGHT * (in_time / matched - state.on_time[k, b])
            late = state.overdue[k, b] - (matched - in_time)
            state.overdue[k, b] = late if late > _CRUMB_UNITS else 0.0


def forget_receipts(
    net: CompiledNetwork, state: State, period: int, received: Floats | None = None
) -> None:
    """Believe what is believed before any receipt was seen, given what is under way in `state`.

    Goods on their way count as ordered a usual time before they arrive, what is owed as heard of
    just now: without orders to match them, the first receipts would pass for quick ones.
    received: [Q, B] units that this period has brought already, which lanes that can deliver at
    once match when it closes.
    """
    arrays, lane = net.arrays, net.arrays.beliefs.lane
    delay = arrays.lanes.information_delay[lane]
    lead = net.leads.lane[lane]
    state.lead_belief[...] = lead[:, None]
    state.lead_square[...] = (lead**2 + net.leads.lane_sd[lane] ** 2)[:, None]
    state.on_time[...] = state.in_full[...] = 1.0
    state.cohorts[...] = 0.0
    state.oldest[...] = period - net.cohorts
    row, usual = np.arange(lane.size), np.round(lead).astype(np.int64)

    def ordered(units: Floats, when: Ints) -> None:
        state.cohorts[row, np.minimum(when, period - 1) % net.cohorts] += units

    ordered(state.owed[lane], period - delay)
    for ahead in range(net.slots):
        ordered(state.in_transit[lane, (period + ahead) % net.slots], period + ahead - usual)
    for ahead in range(net.order_slots):
        heard = state.orders_on_way[lane, (period + ahead) % net.order_slots]
        ordered(heard, period + ahead - delay)
    if received is not None:
        ordered(np.where(net.comes_late[lane][:, None], received[lane], 0.0), period - usual)
    state.asked[...] = state.cohorts
    state.overdue[...] = overdue_units(net, state, period)


def overdue_units(net: CompiledNetwork, state: State, period: int) -> Floats:
    """[K, B] units ordered longer ago than promised, as seen when `period` has opened."""
    beliefs = net.arrays.beliefs
    promised = beliefs.promised + net.comes_late[beliefs.lane]
    age = 1 + (period - 1 - np.arange(net.cohorts)) % net.cohorts  # of the cohort in each slot
    late: Floats = np.einsum("kmb,km->kb", state.cohorts, age >= promised[:, None])
    return late
