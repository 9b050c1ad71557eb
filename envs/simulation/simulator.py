"""One period of a supply network, for B replications at once.

A period, in the order of its numbers (timing can move the goods of 1 behind 4, and 5 before 2):

1. Receive  orders due now reach their sender, shipments due now arrive.
2. Observe  positions, forecasts: what agents know.
3. Order    actions become feasible orders; the sender owes them.
4. Ship     all lanes at once, limited by what is owed, inputs, resources.
5. Serve    backlog first, then today's demand; the unmet waits or is lost.
6. Account  each cost in its own column.

Agents act between 2 and 3, so `open_period` runs up to 2 and `close_period` from 3 on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.compiled.network import CompiledNetwork
from envs.kernel import Handle, entry
from envs.simulation.actions import Decision, compile_heads
from envs.simulation.events.account import account
from envs.simulation.events.believe import (
    believe_receipts,
    forget_receipts,
    note_orders,
    overdue_units,
)
from envs.simulation.events.observe import observe
from envs.simulation.events.order import decide, order
from envs.simulation.events.receive import hear, receive, receive_at_once
from envs.simulation.events.serve import serve
from envs.simulation.events.ship import ship
from envs.simulation.forecast import compile_forecast
from envs.simulation.moment import Moment, Packed
from envs.simulation.snapshot import Snapshot, split_sales
from envs.simulation.state import DERIVED, SEEN_FLOWS, Flows, Scratch, State
from envs.simulation.world import World
from envs.trace.trace import Bootstrap, Trace
from envs.types import Floats, Floats32, Ints

TILE = 256  # replications worked on together: their state fits the L2 cache

# What `observe` learns: of a pair from all demand on it, of its customers from theirs.
_LEARNED_OF_PAIRS = ("incoming", "mean_7", "mean_28", "square_28", "zero_share_28", "history")
_LEARNED_OF_CUSTOMERS = ("demand_level", "demand_variance")


@entry
def _close_period(
    world: World, target: Floats, spread: Floats, action: Floats32, demand: Floats,
    lead_time: Ints, period: int, salvage: float,
) -> None:  # fmt: skip
    """Events 3-6. Orders come from target and action, or are in flows.raw_order (target empty)."""
    switches, batch = world.net.switches, world.offset.size
    for lo in range(0, batch, TILE):
        hi = min(lo + TILE, batch)
        if target.size > 0:
            decide(world, target, spread, action, lo, hi)
        order(world, period, lo, hi)  # 3
        ship(world, action, lead_time, period, lo, hi)  # 4
        if switches.receive_after_ship:
            receive(world, period, lo, hi)  # 1
        else:
            receive_at_once(world, period, lo, hi)
        if not switches.demand_first:
            serve(world, demand, period, lo, hi)  # 5
        account(world, salvage, lo, hi)  # 6
        note_orders(world, period, lo, hi)


@entry
def _open_period(
    world: World, demand: Floats, period: int, plays: bool, first: bool, seen: bool
) -> None:
    """Events 1-2 of a new period (and 5, where customers come first); plays: else only 2.

    first, seen: see `observe`.
    """
    switches, batch = world.net.switches, world.offset.size
    for lo in range(0, batch, TILE):
        hi = min(lo + TILE, batch)
        if plays:
            hear(world, period, lo, hi)  # 1
        if plays and not switches.receive_after_ship:
            receive(world, period, lo, hi)  # 1
        if plays and switches.demand_first:
            serve(world, demand, period, lo, hi)  # 5
        if plays:
            believe_receipts(world, period, lo, hi)
        observe(world, period, first, seen, lo, hi)  # 2


@entry
def _recall_period(world: World, period: int) -> None:
    """What is learned when a period opens, of the last one's flows."""
    batch = world.offset.size
    for lo in range(0, batch, TILE):
        hi = min(lo + TILE, batch)
        note_orders(world, period - 1, lo, hi)
        believe_receipts(world, period, lo, hi)
        observe(world, period, True, True, lo, hi)


def _plain(array: NDArray[Any], dtype: type) -> NDArray[Any]:
    """Return the array in the one form the kernels are compiled for (each other form: seconds)."""
    flags = array.flags
    if array.dtype == dtype and flags.c_contiguous and flags.writeable:
        return array
    return np.array(array, dtype, order="C")


_NO_TARGET = np.zeros((0, 0))
_NO_ACTION = np.zeros((0, 0, 0), np.float32)


class Simulator:
    """Runs a compiled network period by period.

    state: State between the events 2 and 3 (after `reset` and `open_period`).
    flows: Flows of the period just closed (after `close_period`).
    decision: what the base policy requests beyond its order; the caller fills it.
    smoothing: weight of the newest period in the demand forecast, 0..1.
    decides, extra_heads: see `envs.simulation.actions.compile_heads`. memory: periods of
    `State.history`.
    """

    def __init__(
        self,
        net: CompiledNetwork,
        batch_size: int,
        smoothing: float = 0.0,
        decides: Collection[str] = (),
        extra_heads: Collection[str] = (),
        memory: int = 0,
    ) -> None:
        self.net, self.batch_size = net, batch_size
        self.decision = Decision.empty(net, decides, batch_size)
        heads, self.groups = compile_heads(net, decides, extra_heads)
        self.forecast = compile_forecast(net, smoothing)
        self.state = State.empty(net, batch_size, memory)
        self.flows = Flows.empty(net, batch_size)
        self.scratch = Scratch.empty(net, batch_size)
        self.trace = Trace(net, batch_size)
        parts = (self.forecast, self.state, self.flows, self.scratch, heads, self.decision)
        handles = (Handle(net.arrays), *(Handle(part) for part in parts))
        trace = self.trace
        self.handles = World._make((*handles, trace.factor, trace.calendar, trace.offset))
        self._world = Handle(self.handles)
        self.period = 0

    def reset(
        self,
        seed: int,
        first_episode: int = 0,
        starts: tuple[int, int] = (0, 1),
        bootstrap: Bootstrap | None = None,
    ) -> None:
        """Begin episodes first_episode + b of a seed; ends where agents act for the first time.

        starts: (first, how many) calendar periods an episode may begin at. bootstrap: of replayed
        demand.
        """
        self.trace.reset(seed, first_episode, starts, bootstrap)
        self.period = 0
        for array in (*self.state, *self.flows):
            array[...] = 0.0
        self._fill_initial()
        self._open(0, plays=True, first=True, seen=self.net.arrays.switches.demand_first)
        received = self.flows.received + self.flows.scrapped
        # Receipts of before are no evidence.
        forget_receipts(self.net, self.state, self.period, received)

    def close_period(
        self,
        target: Floats,
        spread: Floats,
        action: Floats32,
        salvage_share: float = 0.0,
    ) -> None:
        """Order the target [P, B] moved by the action [P, A, B]; ship, serve, account.

        target: the base policy's order, units. spread [P, B]: units that half of action 1 adds.
        """
        trace = self.trace
        _close_period(
            self._world, _plain(target, np.float64), _plain(spread, np.float64),
            _plain(action, np.float32), trace.demand, trace.lead_time, self.period, salvage_share,
        )  # fmt: skip

    def close_period_with_orders(self, raw_order: Floats, salvage_share: float = 0.0) -> None:
        """Order the given quantities [Q, B] on the lanes, made feasible; ship, serve, account."""
        self.flows.raw_order[...] = raw_order
        self.close_period(_NO_TARGET, _NO_TARGET, _NO_ACTION, salvage_share)

    def open_period(self) -> None:
        """Move to the next period, up to where agents act."""
        self.period += 1
        self.trace.advance()
        self._open(self.period, plays=True, first=False, seen=True)

    def mark(self) -> Moment:
        """Return what `return_to` needs to be here again, in the same episodes."""
        arrays = tuple(Packed.of(array) for array in self._going_on())
        return Moment(self.period, self.trace.mark(), arrays)

    def return_to(self, moment: Moment) -> None:
        """Be where the simulator was when it was marked."""
        self.period = moment.period
        self.trace.return_to(moment.drawn)
        for array, packed in zip(self._going_on(), moment.arrays, strict=True):
            packed.write(array)
        self.refresh()

    def _going_on(self) -> Iterator[Floats]:
        """What the next half of a period goes on from, but for what is derived of it."""
        yield from (part for name, part in self.state._asdict().items() if name not in DERIVED)
        yield from (getattr(self.flows, name) for name in SEEN_FLOWS)
        yield from self.decision

    def restore(self, snapshot: Snapshot) -> None:
        """Put the snapshot's goods and orders into every replication.

        Nothing is remembered: what is believed of demand and lanes is the network's own figures.
        Periods count from the first one of the snapshot's history. Nothing is drawn: what the trace
        holds of regimes is the snapshot's; its demand and lead times stay. Call `reset` once
        before; then `learn` for each row of history, then `refresh`.
        """
        net, state, trace = self.net, self.state, self.trace
        self.period = max(len(snapshot.sales) - int(net.arrays.switches.demand_first), 0)
        trace.offset[:] = snapshot.today - self.period
        trace.calendar[:] = snapshot.calendar
        trace.seen[...] = snapshot.seen[-1][:, None]
        trace.forecast[...] = snapshot.forecast[..., None]
        trace.factor[...] = (snapshot.factor * self.net.open_factors(snapshot.today, 1)[0])[:, None]
        for array in (*state, *self.flows):
            array[...] = 0.0
        state.on_hand[...] = snapshot.on_hand[:, None]
        state.backorders[...] = snapshot.backorders[:, None]
        state.owed[...] = snapshot.owed[:, None]
        slots = (self.period + np.arange(net.slots)) % net.slots
        state.in_transit[:, slots] = snapshot.in_transit[..., None]
        state.in_transit_total[...] = snapshot.in_transit.sum(axis=1)[:, None]
        slots = (self.period + np.arange(net.order_slots)) % net.order_slots
        state.orders_on_way[:, slots] = snapshot.orders_on_way[..., None]
        state.orders_on_way_total[...] = snapshot.orders_on_way.sum(axis=1)[:, None]
        self._forget()
        first = self.period - len(snapshot.sales)  # opened before any history
        state.cohorts[...], state.oldest[...] = 0.0, first - net.cohorts
        before = snapshot.ordered[: len(snapshot.ordered) - len(snapshot.sales)]
        for age, units in enumerate(before[::-1], start=1):
            state.cohorts[:, (first - min(age, net.cohorts)) % net.cohorts] += units[:, None]
        state.asked[...] = state.cohorts
        state.overdue[...] = overdue_units(net, state, first)

    def learn(self, snapshot: Snapshot, ago: int) -> None:
        """Show a row of the snapshot's history to forecasts, statistics and beliefs; the oldest row
        first.

        A pair whose sales are unknown keeps what is believed of it. ago: periods since; 0: what was
        seen last before the next orders.
        """
        state, trace, flows, row = self.state, self.trace, self.flows, -1 - ago
        sold, lane = snapshot.sales[row], self.net.arrays.beliefs.lane
        known, demand, requested = split_sales(self.net, sold, snapshot.asked[row])
        flows.demand[...], flows.requested[...] = demand[:, None], requested[:, None]
        flows.ordered[lane] = snapshot.ordered[row][:, None]
        flows.received[lane] = snapshot.received[row][:, None]
        flows.cancelled[lane] = snapshot.cancelled[row][:, None]
        unknown = {name: ~known for name in _LEARNED_OF_PAIRS}
        unknown |= dict.fromkeys(_LEARNED_OF_CUSTOMERS, np.isnan(sold[self.net.customer_pair]))
        old = {name: getattr(state, name)[rows] for name, rows in unknown.items()}
        trace.calendar[:] = snapshot.sold_in[row] + self.forecast.seen_lag
        trace.seen[...] = snapshot.seen[row][:, None]
        _recall_period(self._world, self.period - ago)
        for name, rows in unknown.items():
            getattr(state, name)[rows] = old[name]

    def refresh(self) -> None:
        """Recompute what is derived, after the state was set from outside."""
        self._open(self.period, plays=False, first=True, seen=False)

    def _open(self, period: int, plays: bool, first: bool, seen: bool) -> None:
        _open_period(self._world, self.trace.demand, period, plays, first, seen)

    def _fill_initial(self) -> None:
        net, state = self.net, self.state
        self._forget()
        state.on_hand[...] = net.arrays.stocks.initial_stock[:, None]
        for q, lane in enumerate(net.network.lanes):
            for period, quantity in enumerate(lane.initial_in_transit):
                state.in_transit[q, period] = quantity
            for period, quantity in enumerate(lane.initial_orders):
                state.orders_on_way[q, period] = quantity
        state.in_transit_total[...] = state.in_transit.sum(axis=1)
        state.orders_on_way_total[...] = state.orders_on_way.sum(axis=1)

    def _forget(self) -> None:
        """Believe what is believed before any demand or receipt was seen."""
        net, state = self.net, self.state
        forget_receipts(net, state, self.period)
        state.demand_level[...] = net.demand.customer_mean[:, None]
        state.demand_variance[...] = net.demand.customer_sd[:, None] ** 2
        mean, variance = net.demand.mean[:, None], net.demand.sd[:, None] ** 2
        state.incoming[...] = state.mean_7[...] = state.mean_28[...] = mean
        state.history[...] = mean[:, None]
        state.square_28[...] = mean**2 + variance
