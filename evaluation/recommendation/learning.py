"""Showing the simulator a period's demand that it did not play: its own observe event, called."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.compiled.network import NetworkArrays
from envs.kernel import Handle, entry
from envs.simulation.events import observe
from envs.simulation.forecast import ForecastArrays
from envs.simulation.simulator import Simulator
from envs.simulation.state import Flows, State

__all__ = ["Learner"]


class _Minds(NamedTuple):
    """What the observe event works on; the kernel gets it as one pointer."""

    net: NetworkArrays
    forecast: ForecastArrays
    state: State
    flows: Flows


@entry
def _observe(minds: _Minds, calendar: NDArray[np.int64], period: int) -> None:
    net, forecast, state, flows = minds.net, minds.forecast, minds.state, minds.flows
    observe(net, forecast, state, flows, calendar, period, True, True, 0, calendar.size)


class Learner:
    """Lets a simulator's forecasts and demand statistics see what its flows hold."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._minds = Handle(_Minds._make(simulator.handles))

    def observe(self, calendar: int, period: int) -> None:
        """Learn from `flows.demand` and `flows.requested`, as if orders were due in `calendar`,
        which is the simulator's `period`."""
        periods = self._simulator.trace.calendar
        periods[:] = calendar
        _observe(self._minds, periods, period)
