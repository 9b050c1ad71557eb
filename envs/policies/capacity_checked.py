"""Capacity-checked echelon base-stock: order no more than machines and parts allow.

Produce up to the echelon base-stock level as far as capacity goes (Federgruen and Zipkin 1986;
Glasserman and Tayur 1994 for several stages). Only what can be made soon is released (input
control, Wight 1970), so that hours and parts go to what is short now and not to what was short
when the queue grew, and an order that waits for one part doesn't bind the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import sparse

from envs.compiled.network import CompiledNetwork
from envs.network.regime import Regime
from envs.policies.base import Follows, Parameter, Policy, Target, View, only_if_named
from envs.policies.base_stock import critical_ratio, pack_size, safety_factor
from envs.types import Floats, Ints, Matrix

_NO_CAP = 1e12  # units
_PASSES = 3  # of sharing out, as in the ship event: what one limit holds back is left to others
_LONGEST_COVER = 100  # periods


class CapacityChecked(Policy):
    """order = level - echelon inventory position, capped where a lane uses a limited capacity.

    level = F + the safety stock here and, in units of this pair, of all pairs below. F: forecast
    over the way down to the customer and review. safety stock: k s over the pair's own lead time
    and review, and demand while its supplier or its machine is down, which is a newsvendor fractile
    of the time that takes; none of that where there is a second source.
    cap: the pair's part, in proportion to requests, of the hours that are left of `workload`
    periods of capacity and of the parts on hand, both less what is owed already.
    Expedite lanes bring F_e + k_e s_e - IP_e, as in a dual index policy.
    """

    name = "capacity_checked"
    decides = frozenset({"expedite", "cap"})
    follows = Follows.echelon_inventory_position
    expedite_follows = Follows.expedite_position
    approximate = "caps and expedited parts follow hours and parts that are left"
    suits = staticmethod(only_if_named)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        factor = safety_factor(net, low=-20.0, high=20.0)
        ones, checked = np.ones(len(factor.start)), np.zeros(len(factor.start))
        checked[_checked(net).pair] = 1.0
        has_expedite = net.arrays.stocks.expedite_periods >= 0
        at_risk = (outage_cover(net) > 0) & ~has_expedite
        return {
            "safety_factor": factor,
            "expedite_factor": replace(factor, scale=np.where(has_expedite, 0.5, 0.0)),
            "outage_factor": Parameter(ones, np.where(at_risk, 0.25, 0.0)),
            "workload": Parameter(3.0 * ones, checked, low=1.0),
        }

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        super().__init__(net, parameters)
        arrays, pairs = net.arrays, len(net.network.stocks)
        self._has_expedite = arrays.stocks.expedite_periods >= 0
        cover = np.where(self._has_expedite, 0.0, outage_cover(net)) * net.demand.mean
        self._cover = parameters["outage_factor"] * cover[:, None]
        self._below: Matrix = sparse.csr_array(net.echelon_weight)
        # Demand over the expedite lead time, as a part of that over the regular one.
        span = np.maximum(net.leads.pair + net.review, 1.0)
        expedite_span = np.maximum(arrays.stocks.expedite_periods, 0) + net.review
        self._part = np.minimum(expedite_span / span, 1.0)[:, None]
        self._checked = checked = _checked(net)
        share = net.base_share
        size, resources = (len(net.resource_ids) + pairs, len(share)), len(net.resource_ids)
        every = _requirements(net)
        self._taken: Matrix = sparse.csr_array((every.quantity, (every.limit, every.lane)), size)
        self._wanted: Matrix = sparse.csr_array(
            (checked.quantity * share[checked.lane], (checked.limit, checked.pair)),
            (size[0], pairs),
        )
        periods = np.zeros((resources, parameters["workload"].shape[1]))
        hours = checked.limit < resources
        np.maximum.at(periods, checked.limit[hours], parameters["workload"][checked.pair[hours]])
        # Unlimited capacities are never looked up; 0 stands for them.
        capacity = np.where(np.isfinite(arrays.resources.capacity), arrays.resources.capacity, 0.0)
        self._most = periods * capacity[:, None]
        self._running = [
            # Unknown (-1, the last one): the long-run mean.
            (r, g, np.append([s.availability for s in regime.states], regime.mean("availability")))
            for r, resource in enumerate(net.network.resources)
            for g, regime in enumerate(net.network.regimes)
            if regime.id in resource.regimes and regime.seen_after is not None
        ]
        self._is_checked = np.zeros((pairs, 1), bool)
        self._is_checked[checked.pair] = True
        self._multiple = pack_size(net)

    def target(self, view: View) -> Target:
        state = view.state
        safety = self._parameters["safety_factor"] * state.forecast_sd + self._cover
        level = state.echelon_forecast_mean + self._below @ safety
        order = level - state.echelon_inventory_position
        cap, waiting = self._release(view, order)
        return Target(order, expedite=self._expedite(view, waiting), cap=cap)

    def _expedite(self, view: View, waiting: Floats) -> Floats:
        """F_e + k_e s_e - IP_e [P, B], where IP_e is less the parts for what isn't released."""
        state, factor = view.state, self._parameters["expedite_factor"]
        level = self._part * state.forecast_mean
        level += factor * np.sqrt(self._part) * state.forecast_sd
        wanted = level + waiting - state.expedite_position
        return np.where(self._has_expedite[:, None], wanted, 0.0)

    def _release(self, view: View, order: Floats) -> tuple[Floats, Floats]:
        """Return (cap, waiting) [P, B] units: what the hours and the parts that are left allow, and
        the parts that go into what they don't."""
        state, checked = view.state, self._checked
        wanted = np.where(self._is_checked, np.maximum(order, 0.0), 0.0)
        most = np.repeat(self._most, order.shape[1] // self._most.shape[1], axis=1)
        for resource, regime, available in self._running:
            most[resource] *= available[view.seen[regime]]
        owed = self._taken @ (state.owed + state.orders_on_way_total)
        room = np.maximum(np.concatenate([most, state.on_hand]) - owed, 0.0)
        given = np.zeros(order.shape)
        for _ in range(_PASSES):
            rest = wanted - given
            part = np.minimum(room / np.maximum(self._wanted @ rest, 1e-9), 1.0)
            least = np.ones(order.shape)
            np.minimum.at(least, checked.pair, part[checked.limit])
            given += least * rest
            room = np.maximum(room - self._wanted @ (least * rest), 0.0)
        whole = np.floor(given / self._multiple + 1e-9) * self._multiple
        waiting = (self._wanted @ (wanted - given))[len(most) :]
        return np.where(self._is_checked, whole, _NO_CAP), waiting


class _Requirements(NamedTuple):
    """What a unit on a lane requires: one entry per lane and limit. Limits are numbered: resources
    (hours), then pairs (parts)."""

    lane: Ints
    pair: Ints  # that the lane delivers
    limit: Ints
    quantity: Floats  # capacity units, or units of the part


def _requirements(net: CompiledNetwork) -> _Requirements:
    """All lanes, all that limits their shipments."""
    arrays = net.arrays
    limited = np.isfinite(arrays.resources.capacity) & ~arrays.resources.limits_orders
    uses, inputs = arrays.lanes.uses, arrays.lanes.inputs
    hours = limited[uses.index]
    lane = np.concatenate([uses.rows[hours], inputs.rows])
    limit = np.concatenate([uses.index[hours], len(net.resource_ids) + inputs.index])
    quantity = np.concatenate([uses.value[hours], inputs.value])
    return _Requirements(lane, arrays.lanes.to[lane], limit, quantity)


def _checked(net: CompiledNetwork) -> _Requirements:
    """Only regular lanes that use a limited capacity: the ones whose orders are capped."""
    needs = _requirements(net)
    uses_hours = np.unique(needs.lane[needs.limit < len(net.resource_ids)])
    kept = np.isin(needs.lane, uses_hours) & ~net.arrays.lanes.expedite[needs.lane]
    return _Requirements(
        needs.lane[kept], needs.pair[kept], needs.limit[kept], needs.quantity[kept]
    )


def outage_cover(net: CompiledNetwork) -> Floats:
    """[P] periods of demand to hold against outages of regular lanes: the newsvendor fractile of
    how long a lane has been down (Tomlin 2006; Schmitt, Snyder and Shen 2010)."""
    network = net.network
    regimes = {r.id: r for r in network.regimes}
    exposed = {r.id: r.regimes for r in network.resources}
    ratio, cover = critical_ratio(net), np.zeros(len(network.stocks))
    for q, lane in enumerate(network.lanes):
        p = net.arrays.lanes.to[q]
        for name in {*lane.regimes, *(g for use in lane.resources for g in exposed[use.resource])}:
            if not net.arrays.lanes.expedite[q]:
                cover[p] = max(cover[p], _time_down(regimes[name], ratio[p]))
    return cover


def _time_down(regime: Regime, ratio: float) -> int:
    """Return the least x with P(down for more than x periods) <= 1 - ratio."""
    down = np.array([s.availability == 0.0 or s.ordering == 0.0 for s in regime.states])
    if not regime.process.is_chain or down.all() or not down.any():
        return 0
    stays = regime.step()[np.ix_(down, down)]
    share = regime.stationary()[down]
    for periods in range(_LONGEST_COVER):
        if share.sum() <= 1.0 - ratio:
            return periods
        share = share @ stays
    return _LONGEST_COVER
