"""Settings of the gate."""

from __future__ import annotations

from dataclasses import dataclass

from envs.errors import ConfigError


@dataclass(frozen=True)
class GateConfig:
    """What a version must show before it becomes @champion.

    traces: fresh ones, on which it is compared.
    target_fill_rate: of class A; None: what the tuned rule reaches in each group.
    service_margin: by how much the fill rate of a group of class A may miss its target.
    segment_margin: which share of the present champion's fill rate any group may lose.
    tie_margin: the first version's cost may be above the tuned rule's by this share of it, at the
        upper end of the interval.
    """

    traces: int
    target_fill_rate: float | None
    service_margin: float
    segment_margin: float
    tie_margin: float

    def __post_init__(self) -> None:
        if self.traces < 2:
            raise ConfigError(f"gate.traces is {self.traces}; expected at least 2.")
        if self.target_fill_rate is not None and not 0.0 < self.target_fill_rate < 1.0:
            raise ConfigError(
                f"gate.target_fill_rate is {self.target_fill_rate}; expected a share between 0 and "
                "1, or null."
            )
        for name in ("service_margin", "segment_margin", "tie_margin"):
            value = getattr(self, name)
            if not 0.0 <= value < 1.0:
                raise ConfigError(f"gate.{name} is {value}; expected a share >= 0 and < 1.")
