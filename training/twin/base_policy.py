"""How a base policy's wishes move with the state.

Nearly every rule orders a level less a position, and levels move with demand alone: the slope of
its order is minus the slope of that position. The value is always the policy's own.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from envs.compiled.network import CompiledNetwork
from envs.policies.base import Policy
from envs.policies.sterman import Sterman
from envs.simulation.action_spaces import ActionSpace
from training.twin.physics import Positions

__all__ = ["BasePolicySlopes"]

# What the order of a policy follows; all others follow the inventory position.
_ECHELON = {
    "bayes_base_stock",
    "capacity_checked",
    "echelon_base_stock",
    "forecast_base_stock",
    "forecast_dual_index",
}
_NOTHING = {"constant_order", "tailored_base_surge"}
# What the expedite order follows; all others follow what is there when expedited goods arrive.
_EXPEDITE_BY_POSITION = {"single_index"}
_EXPEDITE_BY_ECHELON = {"forecast_dual_index"}


class BasePolicySlopes:
    """Of one policy on one network. space: what the first action head means."""

    def __init__(
        self,
        policy: Policy,
        net: CompiledNetwork,
        space: ActionSpace,
        dtype: torch.dtype,
        device: str,
    ) -> None:
        self._weights = self._weights_of(policy, space, dtype, device)
        self._expedite = None
        if "expedite" in policy.decides:
            if policy.name in _EXPEDITE_BY_POSITION:
                self._expedite = "inventory_position"
            else:
                self._expedite = (
                    "echelon" if policy.name in _EXPEDITE_BY_ECHELON else "inventory_level"
                )

    @staticmethod
    def _weights_of(
        policy: Policy, space: ActionSpace, dtype: torch.dtype, device: str
    ) -> Mapping[str, float | Tensor]:
        """Of positions, in the order."""
        if space is ActionSpace.direct or policy.name in _NOTHING:
            return {}
        if space is ActionSpace.days_of_cover:
            return {"inventory_position": 1.0}
        if isinstance(policy, Sterman):
            stock, line = (
                torch.as_tensor(policy.parameters[name], dtype=dtype, device=device)
                for name in ("stock_weight", "supply_line_weight")
            )
            return {"inventory_level": stock, "on_order": stock * line}
        if policy.name in _ECHELON:
            return {"echelon_inventory_position": 1.0}
        return {"inventory_position": 1.0}

    def order(self, positions: Positions) -> Tensor:
        """[P, B] units: moves as `Target.order` does."""
        total = torch.zeros_like(positions.inventory_position)
        for name, weight in self._weights.items():
            total = total - weight * getattr(positions, name)
        return total

    def expedite(self, positions: Positions) -> Tensor | None:
        """[P, B] units: moves as `Target.expedite` does; None: the policy expedites nothing."""
        if self._expedite is None:
            return None
        if self._expedite == "inventory_position":
            return -positions.inventory_position
        soon = positions.expedite_position
        if self._expedite == "echelon":
            soon = soon + positions.echelon_inventory_position - positions.inventory_position
        return -soon
