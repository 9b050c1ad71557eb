"""What the front is told: through the environment, since Ray Serve starts it in its own process."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass

VARIABLE = "ECHELON_FRONT"


@dataclass(frozen=True)
class FrontSettings:
    """The front's limits.

    at_once: requests that are passed on at a time; more are answered with 503.
    rate: requests a second for each key, and as many more in a burst; beyond it: 429.
    access_log: file of one JSON object a request; None: none is written.
    """

    at_once: int = 16
    rate: float = 100.0
    access_log: str | None = None

    def to_environment(self) -> dict[str, str]:
        """Return the variable that `from_environment` reads."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> FrontSettings:
        """Return what was set; the defaults where nothing was."""
        return cls(**json.loads(environment.get(VARIABLE, "{}")))
