"""What carries over between periods, with slopes, and what is drawn in one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.simulation.state import State
from envs.simulation.whole_units import rounding_of
from envs.trace.trace import Trace
from envs.types import Floats


def anchor(value: Floats | None, slope: Tensor) -> Tensor:
    """The simulator's value with the twin's slope; the twin's own value where there is none."""
    if value is None:
        return slope
    return slope + (torch.tensor(value, dtype=slope.dtype, device=slope.device) - slope.detach())


class TwinState(NamedTuple):
    """The system between two events. Pipelines are by periods to go: row 0 is due now."""

    on_hand: Tensor  # [P, B] units
    backorders: Tensor  # [P, B] units that customers wait for
    owed: Tensor  # [Q, B] units ordered, known to the sender, not shipped
    in_transit: Tensor  # [L, Q, B] units
    orders_on_way: Tensor  # [slots, Q, B] units of orders the sender doesn't know yet

    @classmethod
    def of(cls, state: State, period: int, dtype: torch.dtype, device: str) -> TwinState:
        """Copy the simulator's state of a period, without any slope."""
        return cls(*(torch.tensor(v, dtype=dtype, device=device) for v in _values(state, period)))

    def advanced(self) -> TwinState:
        """A period later: what was due in two periods is due in one."""
        return self._replace(
            in_transit=self.in_transit.roll(-1, 0), orders_on_way=self.orders_on_way.roll(-1, 0)
        )

    def anchored(self, state: State, period: int) -> TwinState:
        """The same slopes at the simulator's values."""
        return TwinState(
            *(anchor(v, own) for v, own in zip(_values(state, period), self, strict=True))
        )


def _values(state: State, period: int) -> tuple[Floats, ...]:
    return (
        state.on_hand,
        state.backorders,
        state.owed,
        _from_now(state.in_transit, period),
        _from_now(state.orders_on_way, period),
    )


def _from_now(pipeline: Floats, period: int) -> Floats:
    """[Q, L, B] by slot -> [L, Q, B] by periods to go."""
    return np.roll(pipeline, -(period % pipeline.shape[1]), axis=1).swapaxes(0, 1)


class Draws(NamedTuple):
    """What was drawn for a period."""

    demand: Tensor  # [D, B] units
    lead_time: Tensor  # [rows, B] periods, of what ships in it
    factor: Tensor  # [V, B]: what regimes multiply
    rounding: float  # of parts of whole units, see `envs.simulation.whole_units.rounding_of`

    @classmethod
    def of(cls, trace: Trace, dtype: torch.dtype, device: str) -> Draws:
        """Copy the trace's current period."""
        return cls(
            torch.tensor(trace.demand, dtype=dtype, device=device),
            torch.tensor(trace.lead_time, device=device),
            torch.tensor(trace.factor, dtype=dtype, device=device),
            rounding_of(trace.period),
        )
