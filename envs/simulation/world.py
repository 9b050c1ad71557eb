"""All that a period works on."""

from __future__ import annotations

from typing import NamedTuple

from envs.compiled.arrays import NetworkArrays
from envs.simulation.actions import Decision, HeadArrays
from envs.simulation.forecast import ForecastArrays
from envs.simulation.state import Flows, Scratch, State
from envs.types import Floats, Ints


class World(NamedTuple):
    """What events read and write; kernels get it, and each named tuple in it, as one pointer."""

    net: NetworkArrays
    forecast: ForecastArrays
    state: State
    flows: Flows
    scratch: Scratch
    heads: HeadArrays
    decision: Decision
    factor: Floats  # [V, B] what regimes multiply today
    calendar: Ints  # [B] each episode's place in the calendar
    offset: Ints  # [B] calendar period in which each episode began
