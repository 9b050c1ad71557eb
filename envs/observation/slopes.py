"""What an agent sees, backwards: how the loss moves with stock and orders, by how it moves with the
features of `envs.observation.pairs`.

Stock, pipelines, backlogs, positions and what follows from them have slopes; demand, forecasts,
calendars and regimes have none, since no action changes them. Flat too: what a supplier's belief or
the demand on a warehouse owes to earlier orders.
"""

from __future__ import annotations

import numpy as np

from envs.compiled.arrays import NetworkArrays
from envs.errors import ConfigError
from envs.kernel import add_scaled, entry, kernel
from envs.observation.arrays import ObservationArrays
from envs.observation.companions import COMPANION_FLAGS, CompanionArrays
from envs.observation.features import ARRIVALS, FEATURES, Columns, Layout
from envs.simulation.forecast import ForecastArrays
from envs.simulation.slopes import Marks, Slopes
from envs.types import Bytes, Floats, Floats32, Ints

_TILE = 256  # replications worked on together
_BUCKETS = tuple(ARRIVALS.values())  # periods ahead at which each begins

# The features that `reverse_observation` knows.
REVERSED = frozenset(ARRIVALS) | {
    "on_hand", "backorders", "owed_to_me", "stock_gap", "base_order", "owed_by_me",
    "downstream_shortage_sum", "upstream_cover", "expedite_position",
}  # fmt: skip


class MovingFeatures:
    """The columns of an observation that move with orders, and where they stand among themselves.

    columns: [M] of the observation. at: the place of each feature among them, -1: absent.
    """

    def __init__(self, layout: Layout, companions: CompanionArrays) -> None:
        """Raises ConfigError: a feature claims a slope that isn't here."""
        names = [f for f, feature in FEATURES.items() if feature.slope]
        own = [name for name in names if getattr(layout.at, name) >= 0]
        for name in own:
            if name not in REVERSED:
                raise ConfigError(
                    f"Feature '{name}' claims a slope (envs/observation/features.py) and has none; "
                    "expected it in `reverse_observation` and REVERSED of "
                    "envs/observation/slopes.py; add it, or set slope=False if agents shall see it "
                    "without."
                )
        places = dict.fromkeys(FEATURES, -1) | {name: i for i, name in enumerate(own)}
        self.at = Columns(**places)
        columns = [getattr(layout.at, name) for name in own]
        self._others: list[tuple[Ints, Ints, slice]] = []  # rows, their companions, where seen
        size = len(companions.seen) + len(COMPANION_FLAGS)
        seen = [list(companions.seen).index(c) for c in columns if c in companions.seen]
        self._seen = [i for i, c in enumerate(columns) if c in companions.seen]
        for place in range(companions.row.shape[1]):
            rows = np.flatnonzero(companions.row[:, place] >= 0)
            where = slice(len(columns), len(columns) + len(seen))
            self._others.append((rows, companions.row[rows, place], where))
            columns += [companions.first + place * size + i for i in seen]
        self.columns = np.array(columns, np.int64)

    def gather(self, by_features: Floats32) -> None:
        """Add what companions see of a row to what it sees itself; by_features [P, M, B]."""
        for rows, others, where in self._others:
            for i, column in zip(self._seen, range(where.start, where.stop), strict=True):
                np.add.at(by_features[:, i], others, by_features[rows, column])


@kernel
def _by_units(seen: Floats32, by_feature: Floats32, scale: np.float32, out: Floats) -> None:
    """Undo the squashing, 2 (sqrt(1 + |x|) - 1) with the sign of x: its slope by what came out."""
    for b in range(out.size):
        out[b] = by_feature[b] * scale / (np.float32(1.0) + np.float32(0.5) * abs(seen[b]))


@entry
def reverse_observation(
    net: NetworkArrays, forecast: ForecastArrays, arrays: ObservationArrays, at: Columns,
    observation: Floats32, by_features: Floats32, target: Floats, marks: Marks, slopes: Slopes,
    tiles: Floats, period: int,
) -> None:  # fmt: skip
    """Add to slopes what moves the features.

    observation [P, F, B] as it was seen; by_features [P, M, B] with places `at`; target [P, B]: the
    base policy's order, units; tiles [5, B]: working memory.
    """
    pairs, batch = target.shape
    for lo in range(0, batch, _TILE):
        hi = min(lo + _TILE, batch)
        for p in range(pairs):
            seen, by, scale = observation[p], by_features[p], arrays.inverse_scale[p]
            unit = tiles[0, lo:hi]
            _by_units(seen[arrays.at.on_hand, lo:hi], by[at.on_hand, lo:hi], scale, unit)
            add_scaled(slopes.on_hand[p, lo:hi], 1.0, unit)
            _by_units(seen[arrays.at.backorders, lo:hi], by[at.backorders, lo:hi], scale, unit)
            add_scaled(slopes.backorders[p, lo:hi], 1.0, unit)
            _reverse_arrivals(net, arrays, at, slopes, seen, by, p, period, tiles, lo, hi)
            order, wanted = slopes.order[p, lo:hi], target[p, lo:hi]
            horizon = np.float32(max(forecast.path_horizon[p], 1))
            gap = by[at.stock_gap, lo:hi]
            _by_units(seen[arrays.at.stock_gap, lo:hi], gap, scale / horizon, unit)
            add_scaled(order, 1.0, unit)
            _by_units(seen[arrays.at.base_order, lo:hi], by[at.base_order, lo:hi], scale, unit)
            for b in range(hi - lo):
                order[b] += unit[b] if wanted[b] >= 0.0 else 0.0
            if at.expedite_position >= 0 and net.stocks.expedite_periods[p] >= 0:
                position = seen[arrays.at.expedite_position, lo:hi]
                _by_units(position, by[at.expedite_position, lo:hi], scale, unit)
                add_scaled(slopes.expedite_position[p, lo:hi], 1.0, unit)
            if at.owed_by_me >= 0:
                _reverse_neighbours(net, arrays, at, marks.short, slopes, seen, by, p, unit, lo, hi)


@kernel
def _reverse_arrivals(
    net: NetworkArrays, arrays: ObservationArrays, at: Columns, slopes: Slopes, seen: Floats32,
    by: Floats32, p: int, period: int, tiles: Floats, lo: int, hi: int,
) -> None:  # fmt: skip
    """Goods by periods ahead, and what suppliers owe. What holds for all that comes later than the
    last bucket begins holds for the total; nearer slots have the difference."""
    first, last = net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]
    if first == last:
        return
    scale, slots = arrays.inverse_scale[p], slopes.in_transit.shape[1]
    late = 1 if net.switches.receive_after_ship else 0
    end = slots + late
    used = 0
    while used < 4 and _BUCKETS[used] < end:
        column = arrays.at.arriving_in_1 + used
        unit = tiles[1 + used, lo:hi]
        _by_units(seen[column, lo:hi], by[at.arriving_in_1 + used, lo:hi], scale, unit)
        used += 1
    owed = tiles[0, lo:hi]
    _by_units(seen[arrays.at.owed_to_me, lo:hi], by[at.owed_to_me, lo:hi], scale, owed)
    for i in range(first, last):
        q = net.stocks.inbound.index[i]
        add_scaled(slopes.owed[q, lo:hi], 1.0, owed)
        if net.lanes.information_delay[q] > 0:
            add_scaled(slopes.orders_on_way_total[q, lo:hi], 1.0, owed)
        if used > 0:
            add_scaled(slopes.in_transit_total[q, lo:hi], 1.0, tiles[used, lo:hi])
        for bucket in range(used - 1):
            for ahead in range(_BUCKETS[bucket], _BUCKETS[bucket + 1]):
                due = slopes.in_transit[q, (period + ahead - late) % slots, lo:hi]
                add_scaled(due, 1.0, tiles[1 + bucket, lo:hi])
                add_scaled(due, -1.0, tiles[used, lo:hi])


@kernel
def _reverse_neighbours(
    net: NetworkArrays, arrays: ObservationArrays, at: Columns, short: Bytes, slopes: Slopes,
    seen: Floats32, by: Floats32, p: int, unit: Floats, lo: int, hi: int,
) -> None:  # fmt: skip
    """What lanes out wait for, shortage below, stock above."""
    inverse_scale = arrays.inverse_scale
    first, last = net.stocks.outbound.pointer[p], net.stocks.outbound.pointer[p + 1]
    if first < last:
        scale, column = inverse_scale[p], arrays.at.owed_by_me
        _by_units(seen[column, lo:hi], by[at.owed_by_me, lo:hi], scale, unit)
        add_scaled(slopes.owed_to_lanes[p, lo:hi], 1.0, unit)
        column = arrays.at.downstream_shortage_sum
        _by_units(seen[column, lo:hi], by[at.downstream_shortage_sum, lo:hi], scale, unit)
        for i in range(first, last):
            below = net.lanes.to[net.stocks.outbound.index[i]]
            position, is_short = slopes.inventory_position[below, lo:hi], short[below, lo:hi]
            for b in range(hi - lo):
                position[b] -= net.stocks.outbound.value[i] * unit[b] * is_short[b]
    one = np.float32(1.0)
    _by_units(seen[arrays.at.upstream_cover, lo:hi], by[at.upstream_cover, lo:hi], one, unit)
    for i in range(net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]):
        q = net.stocks.inbound.index[i]
        for k in range(net.lanes.inputs.pointer[q], net.lanes.inputs.pointer[q + 1]):
            above = net.lanes.inputs.index[k]
            cover = net.stocks.inbound.value[i] * inverse_scale[above]
            add_scaled(slopes.on_hand[above, lo:hi], cover, unit)
