"""Goods in the linear programme from when they leave to when they are on the shelf.

When a shipment is due follows from its lead time and the pauses on its way. At nodes whose room is
limited it then waits outside, until the programme lets it in.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.compiled.arrays import NetworkArrays
from envs.linear_programme.draft import Draft, factors, roundings
from envs.linear_programme.programme import Outlook
from envs.types import Bools, Floats, Ints


class _Shipments(NamedTuple):
    """share x columns [R, Q] leave in periods left [R] and are due in periods due [R, Q]."""

    columns: Ints
    left: Ints
    due: Ints
    share: Floats  # [Q]
    is_old: bool  # on their way at the start


def write_receipts(draft: Draft, shipped: Ints, served: Ints) -> None:
    """Write when shipments [T, Q] arrive and what they cost until then; served [T, P]: columns of
    what customers get."""
    good = draft.net.lanes.yield_share * factors(draft.outlook, draft.net.factor_rows.yield_share)
    queue = _ReceivingQueue(draft, good)
    for part in _shipments(draft, shipped):
        came = _arrival(draft.net, draft.outlook, part)
        _charge_transit(draft, queue.limited, good, part, came)
        _deliver(draft, queue, good, part, came)
    queue.close(served)


def _shipments(draft: Draft, shipped: Ints) -> list[_Shipments]:
    net, columns, start = draft.net, draft.columns, draft.start
    left = np.arange(draft.periods)
    due = left[:, None] + draft.outlook.lead_time
    slots = np.arange(len(start.in_transit))
    old_due = np.repeat(slots[:, None], due.shape[1], axis=1)
    whole = np.ones(due.shape[1])
    parts = [_Shipments(columns.given(start.in_transit), 0 * slots, old_due, whole, True)]
    later = due + net.lanes.split_delay
    if not net.lanes.split_share.any():
        return [*parts, _Shipments(shipped, left, due, whole, False)]
    # Of whole units the late ones are rounded.
    is_whole = net.stocks.whole[net.lanes.to] & (net.lanes.split_share > 0.0)
    late, up = columns.new(shipped.shape, where=is_whole), roundings(draft.outlook)
    for right, factor, of_late in (
        (up, -net.lanes.split_share, 1.0),
        (1.0 - up, net.lanes.split_share, -1.0),
        (np.zeros_like(up), -np.ones_like(net.lanes.split_share), 1.0),
    ):
        rows = draft.at_most.new(shipped.shape, right, is_whole)
        draft.at_most.put(rows, late, of_late)
        draft.at_most.put(rows, shipped, factor)
    share = np.where(is_whole, 0.0, net.lanes.split_share)
    return [
        *parts,
        _Shipments(shipped, left, due, 1.0 - share, False),
        _Shipments(shipped, left, later, share, False),
        _Shipments(late, left, due, -whole, False),
        _Shipments(late, left, later, whole, False),
    ]


def _rounded(draft: Draft, good: Floats, limited: Bools) -> Ints:
    """Return columns [T, Q]: by how much more of whole units is good than the share of it; where
    room is limited, it is rounded down."""
    net, up = draft.net, roundings(draft.outlook)
    is_rounded = net.stocks.whole[net.lanes.to] & (good < 1.0)
    lower, upper = np.where(limited, -1.0, up - 1.0), np.where(limited, 0.0, up)
    times = 1.0 + net.lanes.at_once  # what is due, and what has just been shipped
    more = draft.columns.new(good.shape, times * lower, times * upper, is_rounded)
    draft.equal.put(draft.balance[:, net.lanes.to], more, -1.0)
    if not net.switches.receive_after_ship:
        draft.at_most.put(draft.floor[:, net.lanes.to], more, -1.0)
    return more


def _arrival(net: NetworkArrays, outlook: Outlook, part: _Shipments) -> Ints:
    """[R, Q] the period in which goods get to the node: when due, or later where transit or
    receiving is paused. T: not in this outlook."""
    periods = len(outlook.lead_time)
    came = np.minimum(part.due, periods)
    paused = np.flatnonzero((net.factor_rows.transit >= 0) | (net.factor_rows.receiving >= 0))
    if paused.size == 0:
        return came
    moves = factors(outlook, net.factor_rows.transit[paused]) > 0.0
    opens = factors(outlook, net.factor_rows.receiving[paused]) > 0.0
    due, waits = part.due[:, paused].copy(), np.ones((len(part.left), len(paused)), bool)
    for t in range(periods):
        is_old = part.left < t
        if part.is_old or net.switches.receive_after_ship:
            is_old = part.left <= t
        if part.is_old and not net.switches.receive_after_ship and t == 0:
            continue  # today's receipts are over
        on_way = waits & is_old[:, None]
        due += on_way & ~moves[t]
        due += on_way & (due == t) & ~opens[t]
        if not (
            net.switches.receive_after_ship or part.is_old
        ):  # what is shipped now may be there at once
            now = (part.left == t)[:, None] & (due == t)
            due += now & ~(moves[t] & opens[t])
            on_way |= now
        waits &= ~(on_way & (due == t))
    came[:, paused] = np.where(waits, periods, np.minimum(due, periods))
    return came


def _charge_transit(
    draft: Draft, limited: Bools, good: Floats, part: _Shipments, came: Ints
) -> None:
    """In-transit cost, and what goods on their way are worth where stock is valued."""
    net, pricing, periods = draft.net, draft.pricing, draft.periods
    counted = np.concatenate([[0.0], np.cumsum(draft.weight)])
    cost = net.lanes.in_transit_cost * (counted[came] - counted[part.left][:, None])
    worth = pricing.end_worth[net.lanes.to] * net.lanes.expected_yield
    cost = cost - np.where(came >= periods, worth, 0.0)
    first = pricing.first_counted
    opening = pricing.opening_worth[net.lanes.to]
    expected = opening * net.lanes.expected_yield
    if first == 0:
        cost = cost + (expected if part.is_old else 0.0)
    else:
        is_early = not net.switches.receive_after_ship
        on_way = came >= first + is_early
        just_came = opening * np.where(limited, net.lanes.expected_yield, good[first])
        value = np.where(on_way, expected, np.where((came == first) & is_early, just_came, 0.0))
        cost = cost + np.where((part.left < first)[:, None], value, 0.0)
    draft.columns.charge(part.columns, part.share * cost)


def _deliver(
    draft: Draft, queue: _ReceivingQueue, good: Floats, part: _Shipments, came: Ints
) -> None:
    net, periods = draft.net, draft.periods
    row, lane = np.nonzero((came < periods) & (part.columns >= 0) & (part.share != 0.0))
    when, column, share = came[row, lane], part.columns[row, lane], part.share[lane]
    at_once = (part.left[row] == when) & (not part.is_old)
    queued = queue.limited[lane]
    queue.add(column[queued], when[queued], lane[queued], share[queued], at_once[queued])
    when, lane, column = when[~queued], lane[~queued], column[~queued]
    quantity = share[~queued] * good[when, lane]
    pair = net.lanes.to[lane]
    draft.equal.put(draft.balance[when, pair], column, -quantity)
    if not net.switches.receive_after_ship:
        early = ~at_once[~queued]
        draft.at_most.put(draft.floor[when, pair][early], column[early], -quantity[early])


class _ReceivingQueue:
    """Goods that wait while a node is full.

    limited [Q]: whether the lane leads to a node of limited storage.
    Receipts are decided twice a period where goods can be there at once: for those that are due,
    and for those just shipped.
    """

    def __init__(self, draft: Draft, good: Floats) -> None:
        net, columns, periods = draft.net, draft.columns, draft.periods
        self._draft, self._good = draft, good
        capacity = net.nodes.storage_capacity[net.stocks.node_of]
        self.limited: Bools = ((net.stocks.volume > 0.0) & np.isfinite(capacity))[net.lanes.to]
        shape = good.shape
        late = net.switches.receive_after_ship
        is_open = factors(draft.outlook, net.factor_rows.transit) * factors(
            draft.outlook, net.factor_rows.receiving
        )
        upper = np.where(is_open > 0.0, np.inf, 0.0)
        today = upper.copy()
        if not late:
            today[0] = 0.0  # over already
        self._due = columns.new(shape, upper=today, where=self.limited)
        self._at_once = columns.new(
            shape, upper=upper, where=self.limited & net.lanes.at_once & (not late)
        )
        none = np.full((1, shape[1]), -1)
        self._waiting = np.concatenate([none, columns.new(shape, where=self.limited)])
        self._balance = draft.equal.new(shape, where=self.limited)
        self._rounded = _rounded(draft, good, self.limited)
        self._due_limit = draft.at_most.new(shape, where=self.limited & (not late))
        self._at_once_limit = draft.at_most.new(shape, where=self._at_once >= 0)
        self._capacity = np.maximum(
            net.nodes.storage_capacity,
            np.bincount(
                net.stocks.node_of,
                net.stocks.volume * draft.start.on_hand,
                len(net.nodes.storage_capacity),
            ),
        )
        self._periods = periods

    def add(self, columns: Ints, when: Ints, lane: Ints, share: Floats, at_once: Bools) -> None:
        """share x columns reach the node of the lane in the period."""
        draft = self._draft
        draft.equal.put(self._balance[when, lane], columns, -share)
        limit = np.where(at_once, self._at_once_limit[when, lane], self._due_limit[when, lane])
        draft.at_most.put(limit, columns, -share)

    def close(self, served: Ints) -> None:
        """Write what is let in, and the room there is."""
        if not self.limited.any():
            return
        draft, net, pricing = self._draft, self._draft.net, self._draft.pricing
        waiting, let_in = self._waiting, (self._due, self._at_once)
        draft.equal.put(self._balance, waiting[1:], 1.0)
        draft.equal.put(self._balance, waiting[:-1], -1.0)
        for column, limit in zip(let_in, (self._due_limit, self._at_once_limit), strict=True):
            draft.equal.put(self._balance, column, 1.0)
            draft.at_most.put(limit, column, 1.0)
            draft.equal.put(draft.balance[:, net.lanes.to], column, -self._good)
        draft.at_most.put(self._due_limit, waiting[:-1], -1.0)
        late = net.switches.receive_after_ship
        if not late:
            draft.at_most.put(draft.floor[:, net.lanes.to], self._due, -self._good)
        draft.columns.charge(waiting[1:], draft.weight[:, None] * net.lanes.in_transit_cost)
        worth = pricing.end_worth[net.lanes.to] * net.lanes.expected_yield
        draft.columns.charge(waiting[-1], -worth)
        first = pricing.first_counted
        if first > 0:
            opening = pricing.opening_worth[net.lanes.to]
            draft.columns.charge(waiting[first], opening * net.lanes.expected_yield)
            if not late:
                gain = opening * (self._good[first] - net.lanes.expected_yield)
                draft.columns.charge(self._due[first], gain)
        self._write_room(served)

    def _write_room(self, served: Ints) -> None:
        """Whenever goods have been let in, all fits."""
        draft, net, good = self._draft, self._draft.net, self._good
        node, lane_node = net.stocks.node_of, net.stocks.node_of[net.lanes.to]
        capacity = np.broadcast_to(self._capacity, (self._periods, len(self._capacity)))
        has_room = np.isfinite(net.nodes.storage_capacity)
        if not net.switches.receive_after_ship:
            rows = draft.at_most.new(capacity.shape, capacity, has_room)
            draft.at_most.put(rows[:, node], draft.on_hand[:-1], net.stocks.volume)
            volume = net.stocks.volume[net.lanes.to]
            draft.at_most.put(rows[:, lane_node], self._due, volume * good)
            draft.at_most.put(rows[:, lane_node], self._rounded, volume)
        quick = np.zeros(len(has_room), bool)
        quick[lane_node[net.lanes.at_once]] = True
        rows = draft.at_most.new(
            capacity.shape, capacity, has_room & (quick | net.switches.receive_after_ship)
        )
        draft.at_most.put(rows[:, node], draft.on_hand[1:], net.stocks.volume)
        if not net.switches.demand_first:
            draft.at_most.put(rows[:, node], served, net.stocks.volume)
