"""Periods of a simulator on a tape, and back: slopes of their cost by what agents did.

    tape.begin()                                    when agents have seen the first period
    for each period: tape.note_decision(...); close; tape.note_closed(); open; tape.note_opened()
    for each period, the last first: tape.reverse_close(...); slopes of the features;
                                     tape.reverse_open()

The tape keeps what the reverse of a period can't do without; everything else is worked out again
from it, by the kernels that played it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from envs.kernel import Handle, entry
from envs.simulation.actions import Decision
from envs.simulation.events.account import reverse_account
from envs.simulation.events.observe import reverse_positions
from envs.simulation.events.order import note_orders_placed, reverse_decide, reverse_order
from envs.simulation.events.receive import reverse_hear, reverse_receive
from envs.simulation.events.serve import note_served, reverse_serve
from envs.simulation.events.ship import reverse_ship
from envs.simulation.simulator import TILE, Simulator
from envs.simulation.slopes import Marks, Rounds, Slopes
from envs.simulation.state import Flows
from envs.simulation.world import World
from envs.types import Floats, Floats32, Ints


class Period(NamedTuple):
    """What is kept of a period. Units; letters as in `envs.simulation.state`."""

    on_hand: Floats  # [P, B] when agents ordered
    owed: Floats  # [Q, B] when goods were shipped
    inventory_level: Floats  # [P, B] when agents ordered; empty where all sharing is simple
    in_transit_total: Floats  # [Q, B] the same
    target: Floats  # [P, B] the base policy's order
    spread: Floats  # [P, B] half of what action 1 adds
    action: Floats32  # [P, A, B]
    factor: Floats  # [V, B] what regimes multiply
    lead_time: Ints  # [rows, B] drawn, in periods
    decision: Decision
    marks: Marks


@entry
def _note_closed(world: World, owed: Floats, backorders: Floats, marks: Marks) -> None:
    batch = world.offset.size
    for lo in range(0, batch, TILE):
        hi = min(lo + TILE, batch)
        note_orders_placed(world, owed, marks, lo, hi)
        if not world.net.switches.demand_first:
            note_served(world, marks, backorders, lo, hi)


@entry
def _note_opened(world: World, backorders: Floats, marks: Marks) -> None:
    state, batch = world.state, world.offset.size
    for lo in range(0, batch, TILE):
        hi = min(lo + TILE, batch)
        if world.net.switches.demand_first:
            note_served(world, marks, backorders, lo, hi)
        for p in range(world.net.stocks.whole.size):
            mean, position = state.forecast_mean[p], state.inventory_position[p]
            for b in range(lo, hi):
                marks.short[p, b] = 1 if mean[b] >= position[b] else 0


@entry
def _reverse_close(
    world: World, slopes: Slopes, rounds: Rounds, marks: Marks, target: Floats, spread: Floats,
    action: Floats32, lead_time: Ints, weight: Floats, shortage_price: Floats, salvage: float,
    period: int,
) -> None:  # fmt: skip
    """Events 6 to 3."""
    switches, batch = world.net.switches, world.offset.size
    slopes.action[:] = 0.0
    for lo in range(0, batch, TILE):
        hi = min(lo + TILE, batch)
        reverse_account(world, slopes, weight, shortage_price, salvage, lo, hi)  # 6
        if not switches.demand_first:
            reverse_serve(world, slopes, marks, lo, hi)  # 5
        if switches.receive_after_ship:
            reverse_receive(world, slopes, marks.due, marks.let_in, period, False, lo, hi)  # 1
        else:
            due, let_in = marks.due_at_once, marks.let_in_at_once
            reverse_receive(world, slopes, due, let_in, period, True, lo, hi)
        reverse_ship(world, slopes, rounds, action, lead_time, period, lo, hi)  # 4
        reverse_order(world, slopes, marks, period, lo, hi)  # 3
        if target.size > 0:
            reverse_decide(world, slopes, target, spread, action, lo, hi)


@entry
def _reverse_open(world: World, slopes: Slopes, marks: Marks, period: int, plays: bool) -> None:
    """Events 2 and 1 (and 5, where customers come first); plays: else only 2."""
    switches, batch = world.net.switches, world.offset.size
    for lo in range(0, batch, TILE):
        hi = min(lo + TILE, batch)
        reverse_positions(world, slopes, period, lo, hi)  # 2
        if plays and switches.demand_first:
            reverse_serve(world, slopes, marks, lo, hi)  # 5
        if plays and not switches.receive_after_ship:
            reverse_receive(world, slopes, marks.due, marks.let_in, period, False, lo, hi)  # 1
        if plays:
            reverse_hear(world, slopes, period, lo, hi)  # 1


def new_period(simulator: Simulator, heads: int) -> Period:
    """Allocate what is kept of a period; heads: of an action."""
    net, batch, trace = simulator.net, simulator.batch_size, simulator.trace
    pairs, lanes = simulator.state.on_hand, simulator.state.owed
    ruled = len(simulator.flows.limit) > 0
    return Period(
        on_hand=np.zeros_like(pairs),
        owed=np.zeros_like(lanes),
        inventory_level=np.zeros_like(pairs if ruled else pairs[:0]),
        in_transit_total=np.zeros_like(lanes if ruled else lanes[:0]),
        target=np.zeros_like(pairs),
        spread=np.zeros_like(pairs),
        action=np.zeros((len(pairs), heads, batch), np.float32),
        factor=np.zeros_like(trace.factor),
        lead_time=np.zeros_like(trace.lead_time),
        decision=Decision(*(np.zeros_like(part) for part in simulator.decision)),
        marks=Marks.empty(net, batch),
    )


class Tape:
    """Of one simulator, for so many periods.

    periods: what is kept of each.
    slopes: how the loss moves, at the place that the reverse has come to.
    first_period: of the tape, as the simulator counts.
    """

    def __init__(self, simulator: Simulator, heads: int, periods: int) -> None:
        net, batch, state = simulator.net, simulator.batch_size, simulator.state
        self._simulator, self._net = simulator, net
        ruled = len(simulator.flows.limit)
        self._is_ruled = ruled > 0
        self.periods = [new_period(simulator, heads) for _ in range(periods)]
        self.slopes = Slopes.empty(net, heads, batch)
        self.slopes_handle = Handle(self.slopes)
        self._rounds = Handle(Rounds.empty(net, ruled, batch))
        own = ("raw_order", "shipped", "resource_left", "limit", "limit_unused")
        flows: Flows = simulator.flows
        replayed = Handle(flows._replace(**{n: np.zeros_like(getattr(flows, n)) for n in own}))
        known = simulator.handles
        self._worlds = []
        for one in self.periods:
            seen = {"on_hand": one.on_hand, "owed": one.owed}
            if ruled:
                seen["inventory_level"] = one.inventory_level
                seen["in_transit_total"] = one.in_transit_total
            then: dict[str, Any] = {
                "state": Handle(state._replace(**seen)),
                "flows": replayed,
                "decision": Handle(one.decision),
                "factor": one.factor,
            }
            self._worlds.append(Handle(World(**(known._asdict() | then))))
        self.marks = [Handle(one.marks) for one in self.periods]
        self._world = Handle(known)
        self._backorders = np.zeros_like(state.backorders)
        self.first_period = self._count = 0

    def begin(self) -> None:
        """Agents see the first period of the tape now: how it was opened isn't kept."""
        self.first_period, self._count = self._simulator.period, 0
        _note_opened(self._world, self._backorders, self.marks[0])

    def begin_closed(self) -> None:
        """The period before the first one of the tape was closed."""
        self.first_period, self._count = self._simulator.period + 1, 0
        self._backorders[...] = self._simulator.state.backorders

    def note_decision(self, target: Floats, spread: Floats, action: Floats32) -> None:
        """Agents decided: before the period closes."""
        now, simulator = self.periods[self._count], self._simulator
        state, trace = simulator.state, simulator.trace
        now.on_hand[...], now.owed[...] = state.on_hand, state.owed
        if self._is_ruled:
            now.inventory_level[...] = state.inventory_level
            now.in_transit_total[...] = state.in_transit_total
        now.target[...], now.spread[...] = target, spread
        now.action[...], now.factor[...] = action, trace.factor
        now.lead_time[...] = trace.lead_time
        for kept, part in zip(now.decision, simulator.decision, strict=True):
            kept[...] = part
        self._backorders[...] = state.backorders

    def note_closed(self) -> None:
        """The period was closed."""
        now = self.periods[self._count]
        _note_closed(self._world, now.owed, self._backorders, self.marks[self._count])
        if self._net.arrays.switches.receive_after_ship:
            self._note_room(now.marks.due, now.marks.let_in)
        else:
            self._note_room(now.marks.due_at_once, now.marks.let_in_at_once)
        self._backorders[...] = self._simulator.state.backorders
        self._count += 1

    def note_opened(self) -> None:
        """The next period was opened."""
        if self._count < len(self.periods):
            _note_opened(self._world, self._backorders, self.marks[self._count])
            marks = self.periods[self._count].marks
            if not self._net.arrays.switches.receive_after_ship:
                self._note_room(marks.due, marks.let_in)

    def _note_room(self, due: Floats, let_in: Floats) -> None:
        if due.size:
            scratch = self._simulator.scratch
            due[...], let_in[...] = scratch.due, scratch.let_in
            let_in[scratch.is_full > 0.0] = -1.0

    def begin_reverse(self) -> None:
        """After the last period nothing costs any more."""
        for part in self.slopes:
            part[...] = 0.0

    def reverse_close(
        self, t: int, weight: Floats, shortage_price: Floats, salvage_share: float = 0.0
    ) -> None:
        """Events 6 to 3 of the tape's period t; the slopes of actions and orders are there then.

        weight [B]: of a replication's cost in the loss, per currency. shortage_price [B]: currency
        per unit not served at once.
        """
        then = self.periods[t]
        _reverse_close(
            self._worlds[t], self.slopes_handle, self._rounds, self.marks[t], then.target,
            then.spread, then.action, then.lead_time, weight, shortage_price, salvage_share,
            self.first_period + t,
        )  # fmt: skip

    def reverse_open(self, t: int, *, plays: bool = True) -> None:
        """Events 2 and 1 of the tape's period t; plays: else event 2 alone."""
        period = self.first_period + t
        _reverse_open(self._worlds[t], self.slopes_handle, self.marks[t], period, plays)
