"""Echelon base-stock: order up to a constant level of the stock here and everywhere below.

Optimal for serial systems with backlog (Clark and Scarf 1960).
"""

from __future__ import annotations

from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import has_several_pairs
from envs.policies.base import Follows, Parameter, Policy, Target, View
from envs.policies.base_stock import newsvendor_level


class EchelonBaseStock(Policy):
    """target = level - echelon_inventory_position."""

    name = "echelon_base_stock"
    follows = Follows.echelon_inventory_position
    suits = staticmethod(has_several_pairs)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        return {"level": newsvendor_level(net, net.leads.path)}

    def target(self, view: View) -> Target:
        return Target(self._parameters["level"] - view.state.echelon_inventory_position)
