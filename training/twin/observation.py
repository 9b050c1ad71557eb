"""What agents see, with slopes: the features of envs/observation/pairs.py that move with what they
did.

Values are the simulator's. Stock, pipelines, backlogs, positions and what follows from them have
slopes; demand, forecasts, calendars and regimes have none, since no action changes them. Flat too:
what a supplier's belief or the demand on a warehouse owes to earlier orders.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from envs.compiled.network import CompiledNetwork
from envs.observation.companions import COMPANION_FLAGS, CompanionArrays
from envs.simulation.state import State
from training.twin.physics import Positions
from training.twin.state import TwinState

__all__ = ["ObservationSlopes"]

_ARRIVING = ("arriving_in_1", "arriving_in_2_to_3", "arriving_in_4_to_7", "arriving_later")
_AHEAD = (1, 2, 4, 8)  # periods at which these begin


class ObservationSlopes:
    """Of one network, for features in the order of `names`."""

    def __init__(
        self,
        net: CompiledNetwork,
        names: tuple[str, ...],
        inverse_scale: np.ndarray,
        path_horizon: np.ndarray,
        companions: CompanionArrays,
        dtype: torch.dtype,
        device: str,
    ) -> None:
        """inverse_scale [P]: 1 / mean demand per period; path_horizon [P]: periods."""
        arrays = net.arrays
        self._dtype, self._device = dtype, device
        self._pairs = len(net.network.stocks)
        self._scale = self._column(inverse_scale)[:, :, None]
        self._horizon = self._column(np.maximum(path_horizon, 1))
        self._to = self._index(arrays.lanes.to)
        self._late = 1 if arrays.switches.receive_after_ship else 0
        slots = net.slots
        starts = [min(a - self._late, slots) for a in _AHEAD] + [slots]
        self._buckets = [(begin, end) for begin, end in pairwise(starts) if begin < end]
        self._has_delay = bool((arrays.lanes.information_delay > 0).any())
        self._network = "owed_by_me" in names
        if self._network:
            of_pair = np.repeat(np.arange(self._pairs), np.diff(arrays.stocks.outbound.pointer))
            self._seller, self._below = (
                self._index(of_pair),
                self._index(arrays.lanes.to[arrays.stocks.outbound.index]),
            )
            self._per_unit = self._column(arrays.stocks.outbound.value)
            inputs = np.repeat(
                np.arange(len(arrays.lanes.to)), np.diff(arrays.lanes.inputs.pointer)
            )
            share = np.zeros(len(arrays.lanes.to))
            share[arrays.stocks.inbound.index] = arrays.stocks.inbound.value
            self._supplied = self._index(arrays.lanes.to[inputs])
            self._supplier = self._index(arrays.lanes.inputs.index)
            above, below = arrays.lanes.inputs.index, arrays.lanes.to[inputs]
            self._cover = self._column(
                share[inputs] * inverse_scale[above] / inverse_scale[below]  # in `below`'s units
            )
        self._expedites = "expedite_position" in names
        columns = ["on_hand", "backorders", *_ARRIVING[: len(self._buckets)], "owed_to_me"]
        columns += ["base_order"]
        columns += ["owed_by_me", "downstream_shortage_sum", "upstream_cover"] * self._network
        columns += ["stock_gap"] + ["expedite_position"] * self._expedites
        self._columns = self._index(np.array([names.index(name) for name in columns]))
        self._companions = companions
        self._companion = self._index(
            np.where(companions.row >= 0, companions.row, self._pairs).ravel()  # behind the last: 0
        )

    def _index(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.asarray(values, np.int64), device=self._device)

    def _column(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.array(values), dtype=self._dtype, device=self._device)[:, None]

    def of(
        self,
        observation: Tensor,
        state: TwinState,
        positions: Positions,
        order: Tensor,
        simulated: State,
    ) -> Tensor:
        """The observation [P, F, B] with slopes; order [P, B]: the base policy's, with its own."""
        pipeline = state.in_transit
        owed = state.owed
        if self._has_delay:
            owed = owed + state.orders_on_way.sum(0)
        lanes = torch.stack([pipeline[a:b].sum(0) for a, b in self._buckets] + [owed], dim=1)
        at_pairs = lanes.new_zeros(self._pairs, *lanes.shape[1:]).index_add(0, self._to, lanes)
        parts = [state.on_hand, state.backorders]
        more = [order.clamp(min=0.0)]
        if self._network:
            more += self._neighbours(state, positions, simulated)
        plain = torch.cat(
            [torch.stack(parts, dim=1), at_pairs, torch.stack(more, dim=1)], dim=1
        ).clamp(min=0.0)
        signed = [order / self._horizon]
        if self._expedites:
            signed.append(positions.expedite_position)
        x = torch.cat([plain, torch.stack(signed, dim=1)], dim=1) * self._scale
        squashed = _squash(x)
        moved = squashed - squashed.detach()
        if not self._companion.numel():
            return observation.index_add(1, self._columns, moved)
        own = observation[:, : self._companions.first].index_add(1, self._columns, moved)
        return self._with_companions(own, observation)

    def _with_companions(self, own: Tensor, observation: Tensor) -> Tensor:
        """[P, F, B] What rows see of companions moves as it does there: own features, with slopes,
        then the rest of the observation with theirs."""
        pairs, count = self._companions.row.shape
        first, seen = self._companions.first, self._companions.seen
        last = first + count * (seen + len(COMPANION_FLAGS))
        theirs = pad(own[:, :seen], (0, 0, 0, 0, 0, 1)).index_select(0, self._companion)
        flags = observation[:, first:last].unflatten(1, (count, -1))[:, :, seen:]
        companions = torch.cat([theirs.unflatten(0, (pairs, count)), flags], dim=2).flatten(1, 2)
        return torch.cat([own, companions, observation[:, last:]], dim=1)

    def _neighbours(self, state: TwinState, positions: Positions, simulated: State) -> list[Tensor]:
        mean = torch.tensor(simulated.forecast_mean, dtype=self._dtype, device=self._device)
        short = (mean - positions.inventory_position).clamp(min=0.0)
        zeros = torch.zeros_like(mean)
        shortage = zeros.index_add(0, self._seller, self._per_unit * short[self._below])
        cover = zeros.index_add(0, self._supplied, self._cover * state.on_hand[self._supplier])
        return [positions.owed_to_lanes, shortage, cover]


def _squash(x: Tensor) -> Tensor:
    """As the observation does, 2 (sqrt(1 + |x|) - 1) with the sign of x; slope 1 at 0."""
    return 2.0 * x / ((1.0 + x.abs()).sqrt() + 1.0)
