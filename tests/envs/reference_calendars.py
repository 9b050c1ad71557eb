"""What calendars close, once more: docs/how_to/calendars.md in plain Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envs.network.calendar import Calendar
from envs.network.network import SupplyNetwork

# (multiplier, lane or resource) -> what regimes make of it in a period
Factors = Mapping[tuple[str, str], float]


def with_calendars(network: SupplyNetwork, factors: Factors, t: int) -> Factors:
    """The factors, 0 where a calendar is closed in period t."""
    nodes = {n.id: n for n in network.nodes}
    closed = {}
    for lane in network.lanes:
        here, senders = nodes[lane.node], [nodes[item.node] for item in lane.inputs]
        closed["ordering", lane.id] = _is_any_closed((lane.calendar, here.review), t)
        shipping = (lane.shipping, *(n.shipping for n in senders))
        closed["availability", lane.id] = _is_any_closed(shipping, t)
        closed["transit", lane.id] = _is_any_closed((lane.transit,), t)
        closed["receiving", lane.id] = _is_any_closed((lane.receiving, here.receiving), t)
    for resource in network.resources:
        closed["availability", resource.id] = _is_any_closed((resource.calendar,), t)
    return {key: 0.0 if closed.get(key) else factor for key, factor in factors.items()}


def _is_any_closed(calendars: Iterable[Calendar | None], t: int) -> bool:
    return not all(
        t in c.open_on or (t % c.cycle in c.open and t not in c.closed_on)
        for c in calendars
        if c is not None
    )
