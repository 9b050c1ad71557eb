"""What a bound is: a cost, and how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class BoundKind(StrEnum):
    """exact: what the best policy costs in the long run. bound: no policy costs less, the best one
    may cost more."""

    exact = "exact"
    bound = "bound"


@dataclass(frozen=True)
class Bound:
    """cost: currency per period, whole network, comparable to a policy's mean cost per period.
    method: in a few words. half_width: of the 95 % interval over traces, currency per period; 0
    where nothing is simulated. seconds: CPU time it took."""

    cost: float
    kind: BoundKind
    method: str
    half_width: float = 0.0
    seconds: float = 0.0
