"""Capped dual index on forecasts, echelon by echelon: the strongest rule of a planner who follows
demand, has two speeds of supply, and knows what lies below.

With F(h), s(h) the forecast mean and spread of demand over h periods, EIP the echelon inventory
position and EIP_e the part of it that is there within the expedite lead time L_e:

order    = F(L + R) + safety_factor s(L + R) - EIP
expedite = F(L_e + R) + expedite_factor s(L_e + R) - EIP_e
cap      = cap_factor x forecast of a review period, on what regular lanes bring

L and L_e reach down to the customer. This is the capped dual index of Sun and Van Mieghem (2019)
with levels that follow the forecast, on echelon stock (Clark and Scarf 1960). Pairs without
expedite lanes follow the capped forecast base-stock.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import expedites, has_calendar
from envs.policies.base import Follows, Parameter, Policy, Target, View, Weights
from envs.policies.base_stock import safety_factor
from envs.types import Floats, Ints


class ForecastDualIndex(Policy):
    """order = F + k s - EIP, capped; expedite = F_e + k_e s_e - EIP_e."""

    name = "forecast_dual_index"
    decides = frozenset({"expedite", "cap"})
    follows = Follows.echelon_inventory_position

    @classmethod
    def unfit(cls, net: CompiledNetwork) -> str | None:
        return None if expedites(net) else "no lane expedites"

    @classmethod
    def suits(cls, net: CompiledNetwork) -> bool:
        return expedites(net) and has_calendar(net)

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        has = net.arrays.stocks.expedite_periods >= 0
        one = np.ones(len(has))
        return {
            "safety_factor": safety_factor(net, high=12.0),
            "expedite_factor": Parameter(0.0 * one, np.where(has, 1.0, 0.0), -12.0, 12.0),
            "cap_factor": Parameter(np.where(has, 1.5, 3.0), np.where(has, 0.25, 1.0), 0.25, 20.0),
        }

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        super().__init__(net, parameters)
        self._has = net.arrays.stocks.expedite_periods >= 0
        self._cover = _Cover(net, np.flatnonzero(self._has))
        periods = np.maximum(np.round(net.leads.path).astype(np.int64) + net.review, 1)
        review_share = (np.maximum(net.review, 1) / periods)[:, None]
        self._cap = parameters["cap_factor"] * review_share  # of the forecast

    def target(self, view: View) -> Target:
        p, state = self._parameters, view.state
        level = state.echelon_forecast_mean + p["safety_factor"] * state.echelon_forecast_sd
        expedite = np.zeros_like(level)
        if self._has.any():
            mean, sd = self._cover.forecast(view)
            below = (
                state.echelon_inventory_position[self._has] - state.inventory_position[self._has]
            )
            soon = state.expedite_position[self._has] + below
            expedite[self._has] = mean + p["expedite_factor"][self._has] * sd - soon
        cap = self._cap * state.echelon_forecast_mean
        return Target(level - state.echelon_inventory_position, expedite=expedite, cap=cap)

    def expedite_weights(self, view: View) -> Weights:
        return {
            Follows.expedite_position: 1.0,
            Follows.echelon_inventory_position: 1.0,
            Follows.inventory_position: -1.0,
        }


class _Cover:
    """Demand that expedited goods must cover: from now until the next ones are with customers."""

    def __init__(self, net: CompiledNetwork, pairs: Ints) -> None:
        fast, units = np.flatnonzero(net.arrays.lanes.expedite), net.leaf_weight[pairs]
        variance = np.zeros(len(net.network.stocks))
        np.maximum.at(variance, net.arrays.lanes.to[fast], net.leads.lane_sd[fast] ** 2)
        variance += np.maximum(net.leads.path_sd**2 - net.leads.pair_sd**2, 0.0)
        down = net.leads.path - net.leads.pair
        lead = net.arrays.stocks.expedite_periods
        periods = np.round(lead + down + net.review).astype(np.int64)[pairs]
        self._lead_share = (np.sqrt(variance)[pairs] / np.maximum(periods, 1))[:, None]
        self._pairs = len(pairs)
        self._groups = [
            (int(h), rows, units[rows], units[rows].power(2))  # [rows, D] units per unit sold
            for h in np.unique(periods)
            for rows in (np.flatnonzero(periods == h),)
        ]
        self._first = int(net.arrays.switches.demand_first)  # today's demand is served already
        self._seasons = None
        if net.demand.multiplier is not None:
            self._seasons = net.demand.seasons(int(periods.max(initial=0)))

    def forecast(self, view: View) -> tuple[Floats, Floats]:
        """Return mean and spread [pairs, B] of demand, as `State.echelon_forecast_mean` has it for
        the regular lead time [units]."""
        level, variance = view.state.demand_level, view.state.demand_variance
        mean = np.zeros((self._pairs, level.shape[1]))
        square = np.zeros_like(mean)
        for periods, rows, units, squares in self._groups:
            factor: Floats | float = float(periods)
            if self._seasons is not None:
                start, sums = view.calendar + self._first, self._seasons.sums
                factor = (sums[:, start + periods] - sums[:, start])[self._seasons.of]
            mean[rows] = units @ (level * factor)
            square[rows] = squares @ (variance * factor)
        return mean, np.sqrt(square + (mean * self._lead_share) ** 2)
