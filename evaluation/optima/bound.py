"""What a bound is: a cost, and how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_NOTHING = 5e-5  # currency per period, shown as 0.0000


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

    @property
    def says_nothing(self) -> bool:
        """Whether it is 0 where all costs are charges anyway: true, and worthless."""
        return self.kind is BoundKind.bound and abs(self.cost) <= _NOTHING
