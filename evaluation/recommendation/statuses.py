"""Statuses, forecasts and prices of a request as arrays: what is known of regimes.

A regime is what moves by itself: a supplier, the weather of a region, a machine. A row names it by
its id, or by a lane, location or resource that feels it.
"""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.simulation.snapshot import factors
from envs.types import Floats, Ints
from evaluation.recommendation.findings import Findings, hint_at, short, unknown
from evaluation.recommendation.names import Names
from evaluation.recommendation.schemas import OfRegime, RecommendationRequest


class Known(NamedTuple):
    """Fields as in `envs.simulation.snapshot.Snapshot`."""

    seen: Ints
    forecast: Ints
    factor: Floats


class StatusReader:
    """Reads what a request says of regimes."""

    def __init__(self, net: CompiledNetwork, names: Names) -> None:
        self._net, self._names = net, names
        network = net.network
        self._number = number = {regime.id: g for g, regime in enumerate(network.regimes)}
        self._felt_by: dict[str, dict[str, set[int]]] = {
            "lane": {},
            "location": {node.id: set() for node in network.nodes},
            "resource": {r.id: {number[n] for n in r.regimes} for r in network.resources},
            "regime": {name: {g} for name, g in number.items()},
        }
        at = self._felt_by["location"]
        for lane in network.lanes:
            felt = {number[name] for name in lane.regimes}
            felt.update(*(self._felt_by["resource"][use.resource] for use in lane.resources))
            self._felt_by["lane"][lane.id] = felt
            at[lane.node] |= felt
        for stock in network.stocks:
            at[stock.node] |= {number[name] for name in stock.demand_regimes}

    def read(self, request: RecommendationRequest, periods: int, found: Findings) -> Known:
        """Return what is known; `periods`: of the snapshot's history."""
        states = self._states(request, found)
        regimes = self._net.network.regimes
        seen = np.full((max(periods, 1), len(regimes)), -1, np.int64)
        for g, regime in enumerate(regimes):
            delay = regime.seen_after
            if delay is None:
                if g in states:
                    found.notice("STATUS_HIDDEN", regime.id)
                continue
            if g not in states:
                found.notice("MISSING_STATUS", regime.id)
            for ago in range(len(seen)):
                seen[-1 - ago, g] = _as_seen(states.get(g, {}), -ago, delay)
        today = {g: rows[max(rows)] for g, rows in states.items()}
        forecast = self._forecast(request, found)
        return Known(seen, forecast, self._factor(request, today, found))

    def _states(self, request: RecommendationRequest, found: Findings) -> dict[int, dict[int, int]]:
        """Regime -> periods from now -> the state it was in from then on."""
        states: dict[int, dict[int, int]] = {}
        for name in ("lane_status", "node_status"):
            for i, row in enumerate(getattr(request, name)):
                path = f"{name}[{i}]"
                when = 0
                if row.date is not None:
                    when = self._names.past(row.date, request.as_of, f"{path}.date", found)
                self._put(row, when, states, path, found)
        return states

    def _forecast(self, request: RecommendationRequest, found: Findings) -> Ints:
        regimes, told = self._net.network.regimes, dict[int, dict[int, int]]()
        longest = max((len(r.forecast_accuracy) for r in regimes), default=0)
        for i, row in enumerate(request.forecasts):
            path = f"forecasts[{i}]"
            when = self._target(row.target_date, request.as_of, f"{path}.target_date", found)
            self._put(row, when, told, path, found)
        forecast = np.full((longest, len(regimes)), -1, np.int64)
        for g, regime in enumerate(regimes):
            for ahead in range(1, len(regime.forecast_accuracy) + 1):
                forecast[ahead - 1, g] = told.get(g, {}).get(ahead, -1)
            if (forecast[: len(regime.forecast_accuracy), g] < 0).any():
                found.notice("MISSING_FORECASTS", regime.id)
        return forecast

    def _target(
        self, when: dt.date | int, as_of: dt.date | None, path: str, found: Findings
    ) -> int:
        ahead = self._names.periods(when, as_of, path, found)
        if ahead < 1 and not found.errors:
            found.error(path, f"is {when}; expected a period after as_of")
        return ahead

    def _put(
        self, row: OfRegime, when: int, states: dict[int, dict[int, int]], path: str,
        found: Findings,
    ) -> None:  # fmt: skip
        g = self._find(row, path, found)
        if g is None:
            return
        names = [state.name for state in self._net.network.regimes[g].states]
        state, of = names.index(row.status), states.setdefault(g, {})
        if of.setdefault(when, state) != state:
            regime = self._net.network.regimes[g].id
            found.error(
                f"{path}.status",
                f"'{regime}' is '{names[of[when]]}' by a row before; expected one status a period",
            )

    def _find(self, row: OfRegime, path: str, found: Findings) -> int | None:
        """Return the one regime that a row can mean, or None after noting what is wrong."""
        regimes = self._net.network.regimes
        fitting = set(range(len(regimes)))
        for kind, by_name in self._felt_by.items():
            name = getattr(row, kind)
            if name is None:
                continue
            if name not in by_name:
                found.error(f"{path}.{kind}", unknown(kind, name, by_name))
                return None
            fitting &= by_name[name]
        with_state = [g for g in fitting if row.status in [s.name for s in regimes[g].states]]
        if len(with_state) == 1:
            return with_state[0]
        if with_state:
            ids = ", ".join(f"'{regimes[g].id}'" for g in sorted(with_state)[:5])
            found.error(path, f"fits {len(with_state)} regimes ({ids}); give regime")
        elif not fitting:
            found.error(path, "feels no regime: nothing that moves in this network")
        else:
            known = {s.name for g in fitting for s in regimes[g].states}
            message = f"'{short(row.status)}' is no status of it.{hint_at(known, row.status)}"
            found.error(f"{path}.status", message)
        return None

    def _factor(
        self, request: RecommendationRequest, today: dict[int, int], found: Findings
    ) -> Floats:
        net, lanes = self._net, self._net.network.lanes
        factor = factors(net, today)
        given: dict[int, float] = {}
        for i, row in enumerate(request.prices):
            q = self._names.lane.get(row.lane)
            if q is None:
                found.error(f"prices[{i}].lane", unknown("lane", row.lane, self._names.lane))
            elif q in given:
                found.error(f"prices[{i}]", f"'{row.lane}' is given twice; expected one row each")
            else:
                given[q] = row.unit_price
        by_row: dict[int, list[float]] = {}
        for q, v in enumerate(net.arrays.factor_rows.cost):
            usual = lanes[q].unit_cost
            if q in given and (v < 0 or usual == 0.0):
                if abs(given[q] - usual) > 1e-9 * max(usual, 1.0):
                    found.notice("PRICE_UNUSED", lanes[q].id)
            elif q in given:
                by_row.setdefault(int(v), []).append(given[q] / usual)
            elif v >= 0 and not all(self._number[n] in today for n in net.exposures[v].regimes):
                found.notice("MISSING_PRICES", lanes[q].id)
        for v, moved in by_row.items():
            factor[v] = moved[0]
            if max(moved) - min(moved) > 1e-9:
                factor[v] = float(np.mean(moved))
                found.notice("PRICES_DIFFER", ", ".join(net.exposures[v].regimes))
        return factor


def _as_seen(states: dict[int, int], when: int, delay: int) -> int:
    """Return what agents see in period `when` of a state that they see `delay` periods later: the
    last one of before, else the first one told until `when`; -1: unknown.

    states: periods from now -> the state from then on."""
    told = [t for t in states if t <= when]
    if not told:
        return -1
    known = [t for t in told if t <= when - delay]
    return states[max(known)] if known else states[min(told)]
