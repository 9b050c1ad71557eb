"""Who gets what is scarce, once more: docs/how_to/orders.md in plain Python."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

from envs.network.lane import Allocation, Lane, LaneInput, Speed
from envs.network.network import SupplyNetwork
from tests.envs.reference_units import CRUMB, down

_ROUNDS = 3  # of sharing: what a lane can't use, others get in the next one

Amounts = dict[str, float]
# The weight and the offset by which a lane takes part.
Line = tuple[float, float]


def pair_of(place: Lane | LaneInput) -> str:
    """`sku@node`"""
    return f"{place.sku}@{place.node}"


class Sharing:
    """Shares out stocks and capacities to lanes.

    left: units by pair or resource. limits: what a unit on a lane takes of them. stock: what
    receivers have, by pair. weights: of learned allocation, by pair and lane; 1 where missing."""

    def __init__(
        self,
        network: SupplyNetwork,
        left: Amounts,
        limits: Mapping[str, Mapping[str, float]],
        stock: Mapping[str, float],
        weights: Mapping[tuple[str, str], float],
    ) -> None:
        self.lanes = {lane.id: lane for lane in network.lanes}
        self.rule = {s.label: s.allocation for s in network.stocks}
        self.rule |= {r.id: r.allocation for r in network.resources}
        self.rate = demand_rates(network)
        self.left, self.limits, self.stock, self.weights = left, limits, stock, weights
        self.shipped = dict.fromkeys(self.lanes, 0.0)

    def in_rounds(self, may: Mapping[str, float]) -> None:
        """Ship as much of what lanes may as sharing allows."""
        for again in range(_ROUNDS):
            want = {q: max(0.0, may[q] - self.shipped[q]) for q in self.lanes}
            if again:
                for q, use in self.limits.items():
                    want[q] = min([want[q], *(self.left[thing] / n for thing, n in use.items())])
            part = dict(want)
            for thing, available in self.left.items():
                for q, most in self._parts(thing, max(0.0, available), want).items():
                    part[q] = min(part[q], most)
            for q in self.lanes:
                self._take(q, part[q])

    def _take(self, lane: str, units: float) -> None:
        self.shipped[lane] += units
        for thing, quantity in self.limits[lane].items():
            self.left[thing] = max(0.0, self.left[thing] - quantity * units)

    def _parts(self, thing: str, available: float, want: Amounts) -> Amounts:
        """Lane -> units it gets at most of what is shared."""
        takes = {q: use[thing] for q, use in self.limits.items() if thing in use and want[q] > 0.0}
        if sum(n * want[q] for q, n in takes.items()) <= available:
            return {}
        lines = {q: self._line(thing, self.lanes[q], want[q]) for q in takes}

        def parts(level: float) -> Amounts:
            return {q: min(want[q], max(0.0, w * level - o)) for q, (w, o) in lines.items()}

        def given(level: float) -> float:
            return sum(takes[q] * units for q, units in parts(level).items())

        corners = {o / w for w, o in lines.values()}
        corners |= {(o + want[q]) / w for q, (w, o) in lines.items()}
        below, *above = sorted(corners)
        for corner in above:  # what is given out rises in straight lines from corner to corner
            if given(corner) >= available:
                rise = (available - given(below)) / max(given(corner) - given(below), 1e-300)
                return parts(below + rise * (corner - below))
            below = corner
        return {}

    def _line(self, thing: str, lane: Lane, want: float) -> Line:
        weight, offset = want, 0.0
        if self.rule[thing] is Allocation.priority:
            offset = want * lane.priority
        elif self.rule[thing] is Allocation.fair_share:
            here = pair_of(lane)
            weight, offset = self.rate[here], self.stock[here]
            offset += sum(self.shipped[q.id] for q in self.lanes.values() if pair_of(q) == here)
        return weight * self.weights.get((thing, lane.id), 1.0), offset

    def by_largest_remainder(
        self, steps: Mapping[str, float], may: Mapping[str, float], order: Iterable[str]
    ) -> None:
        """Leave whole steps; what that leaves of one thing after the other goes to the largest
        remainders."""
        rest: Amounts = {}
        for q, step in steps.items():
            more = self.shipped[q] - down(self.shipped[q], step) if step else 0.0
            if more > 0.0 and self.shipped[q] != may[q]:
                rest[q] = more / step
                self._take(q, -more)
        for thing in order:
            users = [q for q in rest if thing in self.limits[q]]
            for q in sorted(users, key=lambda q: (-round(rest[q], 9), self.lanes[q].priority, q)):
                step = steps[q]
                fits = self.shipped[q] + step <= may[q] + CRUMB and all(
                    n * step <= self.left[what] + CRUMB for what, n in self.limits[q].items()
                )
                if rest.pop(q) > CRUMB and fits:
                    self._take(q, step)


def demand_rates(network: SupplyNetwork) -> Amounts:
    """Pair -> units expected per period by its customers, and by all supplied from it in regular
    use; where that is nothing, the median of the others."""
    regimes = {g.id: g for g in network.regimes}
    rates: Amounts = {}
    shares = _regular_shares(network)

    def rate(pair: str) -> float:
        if pair not in rates:
            stock = next(s for s in network.stocks if s.label == pair)
            own = stock.demand.mean if stock.demand is not None else 0.0
            for name in stock.demand_regimes:
                own *= regimes[name].mean("demand")
            rates[pair] = own + sum(
                shares[lane.id] * item.quantity * rate(pair_of(lane))
                for lane in network.lanes
                for item in lane.inputs
                if pair_of(item) == pair and shares[lane.id] > 0.0
            )
        return rates[pair]

    for stock in network.stocks:
        rate(stock.label)
    some = [r for r in rates.values() if r > 0.0]
    return {pair: r if r > 0.0 else statistics.median(some or [1.0]) for pair, r in rates.items()}


def _regular_shares(network: SupplyNetwork) -> Amounts:
    """Lane -> share of what its pair gets in regular use."""
    regular = {q.id: q.base_share * (q.speed is Speed.regular) for q in network.lanes}
    return {
        lane.id: regular[lane.id]
        / sum(regular[q.id] for q in network.lanes if pair_of(q) == pair_of(lane))
        for lane in network.lanes
    }
