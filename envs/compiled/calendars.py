"""Compile calendars: when lanes take orders, when goods leave, move and are let in."""

from __future__ import annotations

from functools import cache

import numpy as np

from envs.compiled.arrays import CalendarArrays
from envs.errors import NetworkError
from envs.kernel import kernel
from envs.network.calendar import Calendar, LaneCalendars, joint
from envs.network.network import Receive, SupplyNetwork


class CalendarRows:
    """Numbers the distinct calendars of a network."""

    def __init__(self) -> None:
        self._known: dict[Calendar, int] = {}

    def row(self, calendar: Calendar | None) -> int:
        """Return the row of a calendar; -1: always open."""
        return -1 if calendar is None else self._known.setdefault(calendar, len(self._known))

    def arrays(self) -> CalendarArrays:
        """Return what kernels read of the calendars numbered so far."""
        width = max((c.table.size for c in self._known), default=1)
        is_open = np.zeros((max(1, len(self._known)), width), bool)
        for calendar, row in self._known.items():
            is_open[row, : calendar.table.size] = calendar.table
        return CalendarArrays(
            is_open=is_open,
            known_until=np.array([c.known_until for c in self._known] or [0], np.int64),
            cycle=np.array([c.cycle for c in self._known] or [1], np.int64),
        )


@kernel
def place_of(period: int, known_until: int, cycle: int) -> int:
    """The place of a period in a table of the periods up to known_until, and of one cycle that goes
    on for ever (and before period 0)."""
    return period if 0 <= period < known_until else known_until + period % cycle


@kernel
def is_open_on(calendars: CalendarArrays, row: int, period: int) -> bool:
    """Whether a calendar is open in a period, counted from the network's start date."""
    place = place_of(period, calendars.known_until[row], calendars.cycle[row])
    is_open: bool = calendars.is_open[row, place]
    return is_open


def lane_calendars(network: SupplyNetwork) -> tuple[LaneCalendars, ...]:
    """Return [Q] the calendars that orders and goods of each lane meet: its own, and its ends'.

    Raises NetworkError where they are never open together.
    """
    nodes = {n.id: n for n in network.nodes}
    met = cache(joint)  # a network has many lanes and few calendars
    found = []
    for lane in network.lanes:
        senders, receiver = [nodes[item.node] for item in lane.inputs], nodes[lane.node]
        try:
            one = LaneCalendars(
                ordering=met((receiver.review, lane.calendar)),
                shipping=met((lane.shipping, *(n.shipping for n in senders))),
                transit=lane.transit,
                receiving=met((receiver.receiving, lane.receiving)),
                leaves_before_receipts=network.timing.receive is Receive.after_ship,
            )
        except NetworkError as error:
            raise NetworkError(f"Lane '{lane.id}': {error}") from error
        found.append(one)
    return tuple(found)
