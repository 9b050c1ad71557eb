"""How a base policy's wishes move with the state.

Nearly every rule orders a level less a position, and levels move with demand alone: the slope of
its order is minus the slope of that position. The value is always the policy's own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from envs.compiled.network import CompiledNetwork
from envs.policies.base import Policy
from envs.policies.dual_sourcing import expedite_lead
from envs.policies.sterman import Sterman
from envs.simulation.action_spaces import ActionSpace
from training.twin.physics import Positions

__all__ = ["Arrivals", "BasePolicySlopes"]

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


class Arrivals:
    """Units that reach each pair within the next periods: sums over lanes and over the pipeline."""

    def __init__(
        self, net: CompiledNetwork, within: np.ndarray, dtype: torch.dtype, device: str
    ) -> None:
        """within [P]: periods ahead, -1: none."""
        arrays = net.arrays
        late = 1 if arrays.receive_after_ship else 0  # today's are still to come, in slot 0
        slot = np.arange(net.slots)[:, None]
        counted = (slot + late >= 1) & (slot <= within[arrays.lane_to])
        weight = np.where(counted, arrays.expected_yield, 0.0)  # [L, Q]
        self._weight = torch.as_tensor(weight[:, :, None], dtype=dtype, device=device)
        self._to = torch.as_tensor(arrays.lane_to.copy(), device=device)
        self._last = int(np.flatnonzero(counted.any(axis=1)).max(initial=-1)) + 1

    def of(self, in_transit: Tensor, pairs: int) -> Tensor:
        """[L, Q, B] by periods to go -> [P, B]."""
        last = self._last
        due = (in_transit[:last] * self._weight[:last]).sum(0)
        return due.new_zeros(pairs, due.shape[1]).index_add(0, self._to, due)


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
                has, lead = expedite_lead(net)
                self._soon = Arrivals(net, np.where(has, lead, -1), dtype, device)

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

    def expedite(self, positions: Positions, in_transit: Tensor) -> Tensor | None:
        """[P, B] units: moves as `Target.expedite` does; None: the policy expedites nothing."""
        if self._expedite is None:
            return None
        if self._expedite == "inventory_position":
            return -positions.inventory_position
        soon = positions.inventory_level + self._soon.of(
            in_transit, positions.inventory_level.shape[0]
        )
        if self._expedite == "echelon":
            soon = soon + positions.echelon_inventory_position - positions.inventory_position
        return -soon
