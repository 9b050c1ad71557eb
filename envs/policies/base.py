"""What a classical policy is, and the registry of them.

A policy reads the typed State and answers with a `Target` per stocked pair: what it would order,
negative where stock is above its level, and where it has an opinion, what to expedite, a cap, when
to order at all, and on which lanes. `envs.simulation.events.order` clips it at zero and splits it
over the inbound lanes, and a learned correction is added before the clip: that is why the zero
action reproduces the policy exactly.

To add a policy: one file with one class, one line in `envs/policies/__init__.py`, one YAML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from envs.compiled.network import CompiledNetwork
from envs.errors import ConfigError, did_you_mean
from envs.simulation.state import State

__all__ = ["Parameter", "Policy", "Target", "View", "per_pair"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(slots=True)  # one for all periods: to make one takes a microsecond
class View:
    """What a policy may look at when it orders.

    seen [G, B]: regime states that agents may know of, -1: hidden. forecast [F, G, B]: what they
    are told of the states 1..F periods ahead, -1: nothing. calendar [B]: today's place in the
    calendar of `net.multiplier`, for demand that is known ahead.
    """

    net: CompiledNetwork
    state: State
    period: int
    seen: Ints
    forecast: Ints
    calendar: Ints


class Target(NamedTuple):
    """What a policy wants. Units, [P, B]; None where it has no opinion.

    order: what to order in all (regular lanes bring what is not expedited); negative: stock is
      above its level by so much. expedite: the same for expedite lanes.
    cap: regular order at most. smoothing: share of the gap that is ordered at once.
    gate: order only where this is >= 0 (reorder point - position); can_gate: where it is >= 0,
      order too when another pair of the same supplier must (can-order policy).
    lane_share [Q, B]: weights of the lanes of one speed to a pair, instead of their base shares.
    """

    order: Floats
    expedite: Floats | None = None
    cap: Floats | None = None
    smoothing: Floats | None = None
    gate: Floats | None = None
    can_gate: Floats | None = None
    lane_share: Floats | None = None


@dataclass(frozen=True)
class Parameter:
    """A number of a policy that can be tuned.

    The search moves all pairs of a node kind together: value = start + x scale, within low..high,
    in whole numbers if asked. scale None: not searched, only set by hand.
    """

    start: Floats  # [P] a textbook value
    scale: Floats | None  # [P] one natural step
    low: float = 0.0
    high: float = float("inf")
    whole: bool = False

    def moved(self, x: Floats) -> Floats:
        """Return [P] values at x [P] steps from the start."""
        if self.scale is None:
            return self.start
        values = np.clip(self.start + x * self.scale, self.low, self.high)
        return np.round(values) if self.whole else values


class Policy(Protocol):
    """A rule that orders. Batched: every array is [P, B].

    parameters: name -> value [P, 1] or [P, B]; set by `bind`.
    decides: fields of Target, beside order, that the policy sets; always the same ones.
    """

    name: ClassVar[str]
    decides: ClassVar[frozenset[str]]

    @staticmethod
    def tunable(net: CompiledNetwork) -> dict[str, Parameter]:
        """Return the parameters that a search may move."""

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Floats]) -> None:
        """Bind the policy to a network."""

    def reset(self, batch_size: int) -> None:
        """Forget everything; a new batch of episodes begins."""

    def target(self, view: View) -> Target:
        """Return what to order."""

    def spread(self, view: View) -> Floats:
        """Return [P, B] units: the demand uncertainty a learned correction is measured in."""


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
