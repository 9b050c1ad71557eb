"""What a classical policy is.

A policy reads the typed State and answers with a `Target` per stocked pair: what it would order,
negative where stock is above its level, and where it has an opinion, what to expedite, a cap, when
to order at all, and on which lanes. `envs.simulation.events.order.decide` adds a learned
correction, clips the sum at zero and splits it over the inbound lanes: that is why the zero action
reproduces the policy exactly.

To add a policy: a file with a subclass of `Policy`, a line in `envs/policies/__init__.py`, a YAML
that names it, a test. Tuning, reports, training, export and serving read what the class declares.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.errors import ConfigError, did_you_mean
from envs.simulation.state import State
from envs.types import Floats, Ints


@dataclass(slots=True)  # one for all periods: to make one takes a microsecond
class View:
    """What a policy may look at when it orders."""

    net: CompiledNetwork
    state: State
    period: int
    seen: Ints  # [G, B] regime states that agents may know of, -1: hidden
    forecast: Ints  # [F, G, B] forecasts of the states 1..F periods ahead, -1: none
    calendar: Ints  # [B] place in the calendar of demand that is known ahead
    offset: Ints  # [B] calendar period in which each episode began: today is period + offset
    has_news: bool  # whether a period's demand has been seen since the last look


class Target(NamedTuple):
    """What a policy requests. Units, [P, B]; None where it has no opinion."""

    # in all; regular lanes bring what is not expedited. Negative: stock is above its level
    order: Floats
    expedite: Floats | None = None  # the same for expedite lanes
    cap: Floats | None = None  # regular order at most
    smoothing: Floats | None = None  # share of the gap that is ordered at once
    gate: Floats | None = None  # order only where this is >= 0: reorder point - position
    # where >= 0, order too when another pair of the supplier must (can-order)
    can_gate: Floats | None = None
    # [Q, B] weights of the lanes of one speed to a pair, not base shares
    lane_share: Floats | None = None


def only_if_named(net: CompiledNetwork) -> bool:
    """What `Policy.suits` says of a policy that is tried only where it is named."""
    return False


@dataclass(frozen=True)
class Parameter:
    """A number of a policy that can be tuned.

    The search moves all pairs of a node kind together: value = start + x scale, within low..high.
    """

    start: Floats  # [P] a textbook value
    scale: Floats | None  # [P] one natural step; None: not searched, only set by hand
    low: float = 0.0
    high: float = float("inf")
    whole: bool = False  # in whole numbers

    def moved(self, x: Floats) -> Floats:
        """Return [P] values at x [P] steps from the start."""
        if self.scale is None:
            return self.start
        values = np.clip(self.start + x * self.scale, self.low, self.high)
        return np.round(values) if self.whole else values


class Follows(StrEnum):
    """What an order moves with: a unit more of it, and a unit less is ordered.

    The values are fields of `State`; an order that no stock changes follows `nothing`.
    """

    nothing = ""
    inventory_level = "inventory_level"
    on_order = "on_order"
    inventory_position = "inventory_position"
    echelon_inventory_position = "echelon_inventory_position"
    expedite_position = "expedite_position"

    @property
    def weights(self) -> Weights:
        """Units ordered less for a unit more."""
        return {} if self is Follows.nothing else {self: 1.0}


Weights = Mapping[Follows, float | Floats]


class Policy(ABC):
    """A rule that orders. Batched: every array is [P, B], those of parameters [P, 1] or [P, B].

    Class attributes:
        name: of the policy in configurations and artifacts.
        decides: the fields of `Target`, beside order, that the policy sets; always the same ones.
        follows: how `Target.order` moves with stock, for training by slopes
            (algorithm=pathwise), which refuses a policy that doesn't say it. Levels, caps and
            lane shares don't move with stock.
        expedite_follows: the same of `Target.expedite`, if the policy decides it.
        remembers: whether `target` learns from what it sees, one look a period; in serving it looks
            at the periods of before, too.
        keeps_plan: whether it follows a plan of a period before, which in serving is made anew.
        by_date: whether it orders on some dates only, by a calendar of its own.
        approximate: "", or in which way orders move otherwise than declared; then training by
            slopes warns where it would else refuse.
    """

    name: ClassVar[str]
    decides: ClassVar[frozenset[str]] = frozenset()
    follows: ClassVar[Follows | None] = None
    expedite_follows: ClassVar[Follows | None] = None
    remembers: ClassVar[bool] = False
    keeps_plan: bool = False
    by_date: ClassVar[bool] = False
    approximate: ClassVar[str] = ""

    @classmethod
    def unfit(cls, net: CompiledNetwork) -> str | None:
        """Return why the policy can't be used on a network; None: it can."""
        return None

    @classmethod
    def suits(cls, net: CompiledNetwork) -> bool:
        """Return whether `echelon tune` and `echelon report` try the policy by default."""
        return True

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        """Return the parameters that a search may move; by default there are none."""
        return {}

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        """Bind the policy to a network; parameters: a value for every name of `tunable`."""
        self._parameters = dict(parameters)

    def reset(self, batch_size: int) -> None:  # noqa: B027
        """Forget what was seen: new episodes begin. By default nothing was kept."""

    @abstractmethod
    def target(self, view: View) -> Target:
        """Return what to order."""

    def spread(self, view: View) -> Floats:
        """Return [P, B] units that a learned correction is measured in: by default the spread of
        demand over the time that the followed position covers."""
        is_echelon = self.follows is Follows.echelon_inventory_position
        return view.state.echelon_forecast_sd if is_echelon else view.state.forecast_sd

    def order_weights(self, view: View) -> Weights | None:
        """Return units of `Target.order` less for a unit more; None: not declared.

        Overridden by policies that follow several positions, or different ones at times.
        """
        return None if self.follows is None else self.follows.weights

    def expedite_weights(self, view: View) -> Weights | None:
        """Return the same of `Target.expedite`."""
        return None if self.expedite_follows is None else self.expedite_follows.weights


def per_pair(net: CompiledNetwork, policy: str, name: str, value: Any) -> Floats:
    """Spread a parameter over pairs: a number, or one per node, node kind or `sku@node`.

    Returns [P]. Raises ConfigError for unknown names and pairs left without a value.
    """
    stocks, kinds = net.network.stocks, {n.id: n.kind for n in net.network.nodes}
    if isinstance(value, Mapping):
        known = {*kinds.values(), *kinds, *(s.label for s in stocks)}
        for key in value:
            if key not in known:
                raise ConfigError(
                    f"policy_params.{policy}.{name}: '{key}' is no node, node kind or sku@node."
                    f"{did_you_mean(str(key), known)}"
                )
        row = [
            value.get(s.label, value.get(s.node, value.get(kinds[s.node], np.nan))) for s in stocks
        ]
    else:
        row = [value] * len(stocks)
    try:
        values = np.array(row, float)
    except (TypeError, ValueError):
        values = np.full(len(stocks), np.nan)
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ConfigError(
            f"policy_params.{policy}.{name} is {value!r}; expected a finite number for every pair, "
            f"got none for {stocks[bad].label}."
        )
    return values
