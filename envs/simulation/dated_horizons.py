"""What an order must cover where calendars close lanes: until the next one could have arrived.

On the Friday before a holiday that is longer than on a Monday; as usual it is the mean lead time
and the longest gap between two orders.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.kernel import kernel
from envs.network.calendar import LaneCalendars
from envs.types import Ints


class DatedHorizons(NamedTuple):
    """Tables by date, of H kinds of pairs."""

    matter: bool  # for some pair
    row: Ints  # [P] the pair's table; -1: the same on every date
    # [H, periods] by how many periods longer than usual; by calendar period up to known_until,
    # then one cycle that goes on for ever
    longer: Ints
    known_until: Ints  # [H] period, a multiple of the cycle
    cycle: Ints  # [H] periods


class _Way(NamedTuple):
    """What decides when orders on a lane arrive."""

    calendars: LaneCalendars
    information_delay: int
    lead: int
    share: float


def dated_horizons(net: CompiledNetwork, usual: Ints) -> DatedHorizons:
    """Tabulate the pairs that lanes with calendars bring goods to in regular use.

    usual: [P] periods that an order must cover as usual.
    """
    demand_first, known = int(net.arrays.switches.demand_first), dict[object, int]()
    row = np.full(usual.size, -1, np.int64)
    tables: list[tuple[Ints, int, int]] = []
    cover = cache(_cover)
    for p in range(usual.size):
        ways = tuple(_ways(net, p))
        if not any(calendar is not None for way in ways for calendar in way.calendars):
            continue
        kind = (ways, int(usual[p]))
        if kind not in known:
            known[kind] = len(tables)
            parts = [c for way in ways for c in way.calendars if c is not None]
            cycle = math.lcm(*(c.cycle for c in parts))
            until = -(-max(c.known_until for c in parts) // cycle) * cycle
            mean = sum(
                way.share * np.array([cover(way, t) for t in range(until + cycle)]) for way in ways
            )
            longer = np.round(mean).astype(np.int64) - demand_first - usual[p]
            tables.append((np.maximum(longer, -usual[p]), until, cycle))
        row[p] = known[kind]
    width = max((longer.size for longer, _, _ in tables), default=1)
    longer = np.zeros((max(1, len(tables)), width), np.int64)
    for h, (values, _, _) in enumerate(tables):
        longer[h, : values.size] = values
    return DatedHorizons(
        bool(tables),
        row,
        longer,
        np.array([until for _, until, _ in tables] or [0], np.int64),
        np.array([cycle for _, _, cycle in tables] or [1], np.int64),
    )


@kernel
def horizon_on(dates: DatedHorizons, row: int, usual: int, period: int) -> int:
    """Periods that an order of a calendar period must cover."""
    until = dates.known_until[row]
    known = 0 <= period < until
    longer: int = dates.longer[row, period if known else until + period % dates.cycle[row]]
    return usual + longer


def _ways(net: CompiledNetwork, p: int) -> list[_Way]:
    """Lanes in regular use to a pair."""
    inbound, lanes = net.arrays.stocks.inbound, net.network.lanes
    found = []
    for i in range(inbound.pointer[p], inbound.pointer[p + 1]):
        q = int(inbound.index[i])
        share = 0.0 if net.arrays.lanes.expedite[q] else float(inbound.value[i])
        if share > 0.0:
            lead = round(float(net.leads.open_lane[q]))
            found.append(_Way(net.calendars[q], lanes[q].information_delay, lead, share))
    return found


def _cover(way: _Way, period: int) -> int:
    """Periods from `period` until what is ordered at the next chance after it arrives."""
    following, ordering = period + 1, way.calendars.ordering
    if ordering is not None:
        following = ordering.next_open(following)
    return way.calendars.arrival(following + way.information_delay, way.lead) - period
