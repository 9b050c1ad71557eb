"""What a bound is: a cost, and how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class BoundKind(StrEnum):
    """How far to trust a bound."""

    exact = "exact"  # what the best policy costs in the long run
    bound = "bound"  # no policy costs less, the best one may cost more


@dataclass(frozen=True)
class Bound:
    """What no policy can beat, comparable to a policy's mean cost per period."""

    cost: float  # currency per period, whole network
    kind: BoundKind
    method: str  # in a few words
    half_width: float = 0.0  # of the 95 % interval over traces; 0 where nothing is simulated
    seconds: float = 0.0  # CPU time it took
