"""Other meanings of an agent's first head, for ablation: how much does the base policy help?

    residual        the base policy's level, moved (the default; zero is the base policy)
    direct          a quantity: nothing at -1, twice the demand expected until the next order at 1
    days_of_cover   a level: no cover at -1, three times lead time and review at 1; order up to it

All other heads stay residuals.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.simulation.actions import LEVEL_RANGE
from envs.simulation.state import State
from envs.types import Floats

MOST_QUANTITY = 2.0  # times expected demand
MOST_COVER = 3.0  # times lead time and review


class ActionSpace(StrEnum):
    """What head 0 means."""

    residual = "residual"
    direct = "direct"
    days_of_cover = "days_of_cover"


def replace_level(space: ActionSpace, net: CompiledNetwork, state: State) -> tuple[Floats, Floats]:
    """Return (target, spread) [P, B] so that target + 2 x action x spread is what head 0 means."""
    periods = np.maximum(net.leads.pair + net.review, 1.0)[:, None]
    demand = state.forecast_mean / periods
    if space is ActionSpace.direct:
        middle = 0.5 * MOST_QUANTITY * demand * np.maximum(net.review, 1)[:, None]
        return middle, middle / LEVEL_RANGE
    middle = 0.5 * MOST_COVER * demand * periods
    return middle - state.inventory_position, middle / LEVEL_RANGE
