"""What becomes of a wish, once more: docs/how_to/orders.md in plain Python."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

from envs.network.lane import Lane, Limits, Rounding
from envs.network.network import SupplyNetwork, Unfilled
from tests.envs.reference_units import CRUMB, pack_of

Amounts = dict[str, float]


class Orders:
    """What a network makes of wishes. steps: lane -> what its whole units are multiples of."""

    def __init__(self, network: SupplyNetwork, steps: Mapping[str, float]) -> None:
        self.network = network
        self.packs = {q.id: float(pack_of(q, steps[q.id])) for q in network.lanes}
        self.lanes = {q.id: q for q in network.lanes}

    def placed(
        self,
        raw: Mapping[str, float],
        factors: Mapping[tuple[str, str], float],
        room: Mapping[str, float],
    ) -> Amounts:
        """Lane -> units ordered of what is asked for [units by lane]. factors: what regimes and
        calendars make of a lane's ordering, of a budget's availability. room: volume by node."""
        orders = dict.fromkeys(raw, 0.0)
        for lane in self.network.lanes:
            if factors["ordering", lane.id] > 0.0:
                orders[lane.id] = self._rounded(lane, max(raw[lane.id], 0.0))
        left = {_room(node): volume for node, volume in room.items()}
        for r in self.network.resources:
            if r.limits is Limits.orders:
                up = factors["availability", r.id]
                left[r.id] = r.capacity * up if up > 0.0 else 0.0
        return self._within(left, orders)

    def _rounding(self, lane: Lane) -> Rounding:
        if lane.rounding is not None:
            return lane.rounding
        network, pair = self.network, (lane.node, lane.sku)
        here = next(s for s in network.stocks if (s.node, s.sku) == pair)
        lanes_wait = network.timing.unfilled is Unfilled.backlog and any(
            (item.node, item.sku) == pair for q in network.lanes for item in q.inputs
        )
        somebody_waits = lanes_wait or (here.demand is not None and here.p_wait > 0.0)
        is_coarse = max(self.packs[lane.id], lane.minimum_order) > 1.0
        return Rounding.up if somebody_waits and is_coarse else Rounding.nearest

    def _around(self, lane: Lane, wish: float) -> list[float]:
        """What the lane takes: nothing, and the next quantities below and above the wish."""
        pack, least, most = self.packs[lane.id], lane.minimum_order, lane.maximum_order
        if pack == 0.0:
            return [0.0, min(max(wish, least), most)]
        packs = range(1, math.ceil((least + wish) / pack) + 2)
        takes = [n * pack for n in packs if least - CRUMB <= n * pack <= most + CRUMB]
        below = [q for q in takes if q <= wish + CRUMB * pack]
        above = [q for q in takes if q > wish + CRUMB * pack]
        return [0.0, *below[-1:], *above[:1]]

    def _rounded(self, lane: Lane, wish: float) -> float:
        takes, rounding = self._around(lane, wish), self._rounding(lane)
        if rounding is Rounding.down:
            return self._largest(lane, wish)
        if rounding is Rounding.up:
            return min((q for q in takes if q >= wish - CRUMB), default=max(takes))
        return min(takes, key=lambda q: (abs(q - wish), -q))

    def _largest(self, lane: Lane, limit: float) -> float:
        """The largest quantity the lane takes that isn't more; crumbs of a limit are nothing."""
        if limit <= CRUMB:
            return 0.0
        return max(q for q in self._around(lane, limit) if q <= limit * (1.0 + CRUMB))

    def _within(self, left: Amounts, wanted: Amounts) -> Amounts:
        """Each gets its part of what isn't enough, and then what still fits."""
        use, volume = defaultdict[str, Amounts](dict), {s.id: s.volume for s in self.network.skus}
        for lane in self.network.lanes:
            use[lane.id] = {u.resource: u.per_unit for u in lane.resources if u.resource in left}
            if _room(lane.node) in left and volume[lane.sku] > 0.0:
                use[lane.id][_room(lane.node)] = volume[lane.sku]
        need = {r: sum(use[q].get(r, 0.0) * units for q, units in wanted.items()) for r in left}
        if all(need[r] <= left[r] for r in left):
            return wanted
        orders = dict(wanted)

        def order(lane: str, units: float) -> None:
            for r, per in use[lane].items():
                left[r] -= per * (units - orders[lane])
            orders[lane] = units

        parts = {
            q: min([left[r] / need[r] for r in use[q] if need[r] > left[r]], default=1.0)
            for q in wanted
        }
        for q in wanted:
            if parts[q] < 1.0:
                orders[q] = self._largest(self.lanes[q], parts[q] * wanted[q])
            for r, per in use[q].items():
                left[r] -= per * orders[q]
        for sweep in ("the smallest order", "a pack more", "as many as fit"):
            for lane in sorted(self.network.lanes, key=lambda q: (q.priority, q.id)):
                has, most = orders[lane.id], wanted[lane.id]
                if sweep == "the smallest order":
                    smallest = min((q for q in self._around(lane, 0.0) if q > 0.0), default=0.0)
                    most = min(most, smallest) if has == 0.0 else has
                elif sweep == "a pack more" and has > 0.0:
                    most = min(most, has + self.packs[lane.id])
                for r, per in use[lane.id].items():
                    most = min(most, has + max(left[r], 0.0) / per)
                more = self._largest(lane, most)
                if more > has:
                    order(lane.id, more)
        return orders


def _room(node: str) -> str:
    return f"room at {node}"
