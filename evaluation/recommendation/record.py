"""A simulated run as the tables of a request: what a planner's records would hold of it."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from envs.environment.batched_env import BatchedEnv
from envs.types import Floats

_DUST = 1e-9  # units: rounding of sums, no goods


class RunRecord:
    """Follows replication 0 of an environment, from the first period on; units as it has them.

    Made after `reset` of a scenario without warm-up. Call `close` after every
    `BatchedEnv.close_period` and `open` after every `open_period`; `tables` are then the fields of
    `evaluation.recommendation.schemas.RecommendationRequest` at this moment.
    """

    def __init__(self, env: BatchedEnv) -> None:
        self._env, self._net = env, env.net
        arrays, kept = self._net.arrays, self._net.cohorts
        # Of lanes with beliefs: periods and units of orders not received, the oldest first.
        self._open: dict[int, deque[list[float]]] = {}
        for k, q in enumerate(arrays.beliefs.lane):
            ages = range(kept, 0, -1)
            units = [env.state.cohorts[k, -age % kept, 0] for age in ages]
            self._open[int(q)] = deque(
                [-age, x] for age, x in zip(ages, units, strict=True) if x > 0
            )
        self._receipts: list[dict[str, Any]] = []  # periods count from the first one
        self._customers: list[Floats] = []
        self._lanes: list[Floats] = []
        self._status: list[tuple[int, int, int]] = []  # regime, since, state
        if arrays.switches.demand_first:
            self._note_demand()
        self._note_status()

    def close(self) -> None:
        """Note what was ordered, cancelled and received at the end of a period."""
        env, now = self._env, self._env.simulator.period
        for q, orders in self._open.items():
            orders.append([now, float(env.flows.ordered[q, 0])])
            cancelled = float(env.flows.cancelled[q, 0])
            if cancelled > 0.0:
                ordered = now - int(self._net.arrays.lanes.information_delay[q])
                for order in orders:
                    order[1] -= cancelled if order[0] == ordered else 0.0
                self._note(q, ordered, received=None, cancelled=cancelled)
            if self._net.comes_late[q]:
                self._receive(q, now)

    def open(self) -> None:
        """Note what was received, and seen, when a period opened."""
        for q in self._open:
            if not self._net.comes_late[q]:
                self._receive(q, self._env.simulator.period)
        self._note_demand()
        self._note_status()

    def tables(self) -> dict[str, Any]:
        """Return all tables and `as_of`, as plain values."""
        env, net = self._env, self._net
        now = env.simulator.period
        today = env.scenario.date_of(now + int(env.simulator.trace.offset[0]))
        stocks, state = net.network.stocks, env.state
        pairs = [{"location": s.node, "item": s.sku} for s in stocks]
        return {
            "as_of": today.isoformat(),
            "stock": [
                {
                    **pair,
                    "on_hand": float(state.on_hand[p, 0]),
                    "backorders": float(state.backorders[p, 0]),
                }
                for p, pair in enumerate(pairs)
            ],
            "open_orders": [
                row for q in range(len(net.network.lanes)) for row in self._open_orders(q)
            ],
            "recent_sales": [{**pair, **self._sales(p)} for p, pair in enumerate(pairs)]
            if self._customers
            else [],
            "receipts": [
                {**row, "ordered": row["ordered"] - now, **_since(row["received"], now)}
                for row in self._receipts
            ],
            "lane_status": self._statuses(),
            "forecasts": [
                {
                    "regime": regime.id,
                    "target_date": ahead,
                    "status": regime.states[told[g, 0]].name,
                }
                for ahead, told in enumerate(env.simulator.trace.forecast, start=1)
                for g, regime in enumerate(net.network.regimes)
                if told[g, 0] >= 0
            ],
            "prices": self._prices(),
        }

    def _note_demand(self) -> None:
        flows = self._env.flows
        self._customers.append(flows.demand[:, 0].copy())
        self._lanes.append(flows.requested[:, 0].copy())

    def _note_status(self) -> None:
        """Regimes that agents see, and hidden ones that decide whether orders are taken."""
        now, last = self._env.simulator.period, {g: state for g, _, state in self._status}
        for g, state in enumerate(self._env.simulator.trace.true_regime[:, 0]):
            if g not in last or last[g] != state:
                self._status.append((g, now, int(state)))

    def _receive(self, q: int, now: int) -> None:
        """Match what was received to the oldest orders."""
        flows, orders = self._env.flows, self._open[q]
        left = float(flows.received[q, 0] + flows.scrapped[q, 0])
        while left > 0.0 and orders:
            part = min(left, orders[0][1])
            if part > 0.0:
                self._note(q, int(orders[0][0]), received=now, quantity=part)
            left -= part
            orders[0][1] -= part
            if orders[0][1] <= 0.0:
                orders.popleft()

    def _note(self, q: int, ordered: int, received: int | None, **units: float) -> None:
        lane = self._net.network.lanes[q].id
        self._receipts.append({"lane": lane, "ordered": ordered, "received": received, **units})

    def _open_orders(self, q: int) -> list[dict[str, Any]]:
        state, now, net = self._env.state, self._env.simulator.period, self._net
        lane, slots, heard = net.network.lanes[q], net.slots, net.order_slots
        rows: list[dict[str, Any]] = []
        ordered = [[when - now, units] for when, units in self._open.get(q, ())]
        for ahead in range(heard):
            units = float(state.orders_on_way[q, (now + ahead) % heard, 0])
            if units > _DUST:
                when = ahead - lane.information_delay
                rows.append({"lane": lane.id, "quantity": units, "ordered": when})
                for order in ordered:
                    order[1] -= units if order[0] == when else 0.0
        due: list[tuple[dict[str, int], float]] = []
        today = now + int(self._env.simulator.trace.offset[0])
        for way in range(slots):
            units = float(state.in_transit[q, (now + way) % slots, 0])
            due.append(({"due_in_periods": net.calendars[q].due_in(today, way)}, units))
        due.append(({}, float(state.owed[q, 0])))
        waiting = deque(order for order in ordered if order[1] > _DUST)
        for when_due, units in due:
            while units > _DUST:
                known: dict[str, int] = {}
                part = units
                if waiting:
                    known["ordered"] = int(waiting[0][0])
                    if len(waiting) > 1 and waiting[0][1] < units - _DUST:
                        part = waiting[0][1]
                    waiting[0][1] -= part
                    if waiting[0][1] <= _DUST and len(waiting) > 1:
                        waiting.popleft()
                rows.append({"lane": lane.id, "quantity": part, **when_due, **known})
                units -= part
        return rows

    def _sales(self, p: int) -> dict[str, list[float]]:
        customers, lanes = ([float(row[p]) for row in t] for t in (self._customers, self._lanes))
        if self._net.arrays.stocks.demand_of[p] < 0:
            return {"quantities": lanes}
        return {"quantities": customers, "transfers": lanes}

    def _statuses(self) -> list[dict[str, Any]]:
        """What is seen at all times; of hidden states, those that decide orders now."""
        net, now = self._net, self._env.simulator.period
        regimes, last = net.network.regimes, {g: since for g, since, _ in self._status}
        rows = (net.arrays.factor_rows.ordering, net.arrays.factor_rows.capacity)
        deciding = {
            name
            for v in np.unique(np.concatenate(rows))
            if v >= 0
            for name in net.exposures[v].regimes
        }
        return [
            {
                "regime": regimes[g].id,
                "status": regimes[g].states[state].name,
                "date": since - now,
            }
            for g, since, state in self._status
            if regimes[g].seen_after is not None or (regimes[g].id in deciding and since == last[g])
        ]

    def _prices(self) -> list[dict[str, Any]]:
        factor, rows = self._env.simulator.trace.factor, self._net.arrays.factor_rows.cost
        return [
            {"lane": lane.id, "unit_price": lane.unit_cost * float(factor[rows[q], 0])}
            for q, lane in enumerate(self._net.network.lanes)
            if rows[q] >= 0 and lane.unit_cost > 0.0
        ]


def _since(received: int | None, now: int) -> dict[str, int | None]:
    return {"received": None if received is None else received - now}
