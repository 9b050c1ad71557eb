"""What agents see, with slopes: the features of envs/observation/features.py that move with what
they did.

Values are the simulator's. Stock, pipelines, backlogs, positions and what follows from them have
slopes; demand, forecasts, calendars and regimes have none, since no action changes them. Flat too:
what a supplier's belief or the demand on a warehouse owes to earlier orders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from envs.errors import ConfigError
from envs.observation.companions import COMPANION_FLAGS, CompanionArrays
from envs.observation.features import ARRIVALS, FEATURES, Layout, Scale
from envs.simulation.state import State
from training.twin.physics import Positions
from training.twin.state import TwinState
from training.twin.tables import Tables


class _Period(NamedTuple):
    """What the features of a period follow from.

    order: [P, B] units, the base policy's, with its slope.
    arriving: [P, B] units by the features of ARRIVALS that ever hold any, and "owed".
    """

    state: TwinState
    positions: Positions
    order: Tensor
    simulated: State
    arriving: Mapping[str, Tensor]


class ObservationSlopes:
    """Of one network, for the features of a layout and those of companions."""

    def __init__(
        self,
        tables: Tables,
        layout: Layout,
        inverse_scale: np.ndarray,
        path_horizon: np.ndarray,
        companions: CompanionArrays,
    ) -> None:
        """inverse_scale [P]: 1 / mean demand per period; path_horizon [P]: periods.

        Raises:
            ConfigError: a feature claims a slope that isn't here.
        """
        net = tables.net
        self._tables, arrays = tables, net.arrays
        self._pairs = tables.pairs
        self._scale = tables.column(inverse_scale)[:, :, None]
        self.horizon = tables.column(np.maximum(path_horizon, 1))
        self._to = tables.to
        late = 1 if arrays.switches.receive_after_ship else 0
        slots = net.slots
        starts = [min(ahead - late, slots) for ahead in ARRIVALS.values()] + [slots]
        buckets = zip(ARRIVALS, pairwise(starts), strict=True)
        self._buckets = {name: (begin, end) for name, (begin, end) in buckets if begin < end}
        self._has_delay = bool((arrays.lanes.information_delay > 0).any())
        if layout.at.owed_by_me >= 0:
            of_pair = np.repeat(np.arange(self._pairs), np.diff(arrays.stocks.outbound.pointer))
            self._seller = tables.index(of_pair)
            self._below = tables.index(arrays.lanes.to[arrays.stocks.outbound.index])
            self._per_unit = tables.column(arrays.stocks.outbound.value)
            inputs = np.repeat(
                np.arange(len(arrays.lanes.to)), np.diff(arrays.lanes.inputs.pointer)
            )
            self._supplied = tables.index(arrays.lanes.to[inputs])
            self._supplier = tables.index(arrays.lanes.inputs.index)
            above, below = arrays.lanes.inputs.index, arrays.lanes.to[inputs]
            share = net.base_share[inputs]
            self._cover = tables.column(
                share * inverse_scale[above] / inverse_scale[below]  # in `below`'s units
            )
        moving = self._moving(layout)
        self._plain = [name for name in moving if FEATURES[name].scale is Scale.demand]
        self._signed = [name for name in moving if FEATURES[name].scale is Scale.signed]
        columns = [getattr(layout.at, name) for name in self._plain + self._signed]
        self._columns = tables.index(np.array(columns))
        self._companions = companions
        self._seen = tables.index(companions.seen)
        self._companion = tables.index(
            np.where(companions.row >= 0, companions.row, self._pairs).ravel()  # behind the last: 0
        )

    def _moving(self, layout: Layout) -> list[str]:
        """Names of the features with slopes that the layout has and that ever differ from 0."""
        moving = [
            name
            for name, feature in FEATURES.items()
            if feature.slope and getattr(layout.at, name) >= 0
        ]
        missing = [name for name in moving if name not in UNITS]
        if missing:
            raise ConfigError(
                f"Feature '{missing[0]}' claims a slope (envs/observation/features.py), but the "
                "twin has none; expected an entry of UNITS in training/twin/observation.py; add "
                "one, or set slope=False if agents shall see it without."
            )
        return [name for name in moving if name not in ARRIVALS or name in self._buckets]

    def of(
        self,
        observation: Tensor,
        state: TwinState,
        positions: Positions,
        order: Tensor,
        simulated: State,
    ) -> Tensor:
        """The observation [P, F, B] with slopes; order [P, B]: the base policy's, with its own."""
        now = _Period(state, positions, order, simulated, self._arriving(state))
        plain = torch.stack([UNITS[name](self, now) for name in self._plain], dim=1)
        signed = torch.stack([UNITS[name](self, now) for name in self._signed], dim=1)
        x = torch.cat([plain.clamp(min=0.0), signed], dim=1) * self._scale
        squashed = _squash(x)
        moved = squashed - squashed.detach()
        if not self._companion.numel():
            return observation.index_add(1, self._columns, moved)
        own = observation[:, : self._companions.first].index_add(1, self._columns, moved)
        return self._with_companions(own, observation)

    def _arriving(self, state: TwinState) -> dict[str, Tensor]:
        owed = state.owed
        if self._has_delay:
            owed = owed + state.orders_on_way.sum(0)
        of_lanes = [state.in_transit[a:b].sum(0) for a, b in self._buckets.values()] + [owed]
        lanes = torch.stack(of_lanes, dim=1)
        at_pairs = lanes.new_zeros(self._pairs, *lanes.shape[1:]).index_add(0, self._to, lanes)
        return dict(zip([*self._buckets, "owed"], at_pairs.unbind(1), strict=True))

    def _with_companions(self, own: Tensor, observation: Tensor) -> Tensor:
        """[P, F, B] What rows see of companions moves as it does there: own features, with slopes,
        then the rest of the observation with theirs."""
        pairs, count = self._companions.row.shape
        first, seen = self._companions.first, len(self._companions.seen)
        last = first + count * (seen + len(COMPANION_FLAGS))
        flow = own.index_select(1, self._seen)
        others = pad(flow, (0, 0, 0, 0, 0, 1)).index_select(0, self._companion)
        flags = observation[:, first:last].unflatten(1, (count, -1))[:, :, seen:]
        companions = torch.cat([others.unflatten(0, (pairs, count)), flags], dim=2).flatten(1, 2)
        return torch.cat([own, companions, observation[:, last:]], dim=1)

    def shortage(self, now: _Period) -> Tensor:
        """[P, B] units that pairs below lack of their forecast."""
        mean = self._tables.tensor(now.simulated.forecast_mean)
        short = (mean - now.positions.inventory_position).clamp(min=0.0)
        return torch.zeros_like(mean).index_add(
            0, self._seller, self._per_unit * short[self._below]
        )

    def cover(self, now: _Period) -> Tensor:
        """[P, B] stock above, in units of the pair's own mean demand."""
        of_inputs = self._cover * now.state.on_hand[self._supplier]
        return torch.zeros_like(now.order).index_add(0, self._supplied, of_inputs)


# [P, B] units of every feature that has a slope, before they are scaled.
UNITS: Mapping[str, Callable[[ObservationSlopes, _Period], Tensor]] = {
    "on_hand": lambda slopes, now: now.state.on_hand,
    "backorders": lambda slopes, now: now.state.backorders,
    "arriving_in_1": lambda slopes, now: now.arriving["arriving_in_1"],
    "arriving_in_2_to_3": lambda slopes, now: now.arriving["arriving_in_2_to_3"],
    "arriving_in_4_to_7": lambda slopes, now: now.arriving["arriving_in_4_to_7"],
    "arriving_later": lambda slopes, now: now.arriving["arriving_later"],
    "owed_to_me": lambda slopes, now: now.arriving["owed"],
    "stock_gap": lambda slopes, now: now.order / slopes.horizon,
    "base_order": lambda slopes, now: now.order,
    "owed_by_me": lambda slopes, now: now.positions.owed_to_lanes,
    "downstream_shortage_sum": ObservationSlopes.shortage,
    "upstream_cover": ObservationSlopes.cover,
    "expedite_position": lambda slopes, now: now.positions.expedite_position,
}


def _squash(x: Tensor) -> Tensor:
    """As the observation does, 2 (sqrt(1 + |x|) - 1) with the sign of x; slope 1 at 0."""
    return 2.0 * x / ((1.0 + x.abs()).sqrt() + 1.0)
