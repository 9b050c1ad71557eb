"""Echelon base-stock: order up to a constant level of the stock here and everywhere below.

Optimal for serial systems with backlog (Clark and Scarf 1960).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from envs.compiled.network import CompiledNetwork
from envs.policies.base import Parameter, Target, View
from envs.policies.base_stock import newsvendor_level, whole_units

__all__ = ["EchelonBaseStock"]

Floats = NDArray[np.float64]


class EchelonBaseStock:
    """target = level - echelon_inventory_position."""

    name: ClassVar[str] = "echelon_base_stock"
    decides: ClassVar[frozenset[str]] = frozenset()

    @staticmethod
    def tunable(net: CompiledNetwork) -> dict[str, Parameter]:
        level, sd = newsvendor_level(net, net.path_lead, net.review)
        return {"level": Parameter(level, sd, whole=whole_units(net))}

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        self._level = parameters["level"]

    def reset(self, batch_size: int) -> None:
        """Nothing to forget."""

    def target(self, view: View) -> Target:
        return Target(self._level - view.state.echelon_inventory_position)

    def spread(self, view: View) -> Floats:
        return view.state.echelon_forecast_sd
