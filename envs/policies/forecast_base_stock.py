"""Forecast-driven base-stock: the level follows the forecast, echelon by echelon.

level = F(lead time + review) + safety_factor x s(lead time + review), both over the whole way down
to the customer. This is the default base policy that a learned correction starts from.
"""

from __future__ import annotations

from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import has_calendar, has_hidden_state, has_several_pairs
from envs.policies.base import Follows, Parameter, Policy, Target, View
from envs.policies.base_stock import safety_factor


class ForecastBaseStock(Policy):
    """target = F + k s - echelon_inventory_position."""

    name = "forecast_base_stock"
    follows = Follows.echelon_inventory_position

    @classmethod
    def suits(cls, net: CompiledNetwork) -> bool:
        return has_several_pairs(net) or has_hidden_state(net) or has_calendar(net)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        return {"safety_factor": safety_factor(net)}

    def target(self, view: View) -> Target:
        state, factor = view.state, self._parameters["safety_factor"]
        level = state.echelon_forecast_mean + factor * state.echelon_forecast_sd
        return Target(level - state.echelon_inventory_position)
