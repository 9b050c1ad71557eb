"""Settings of tracking."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from envs.errors import ConfigError, shown


@dataclass(frozen=True)
class TrackingConfig:
    """Where a run is tracked."""

    enabled: bool  # off: files in the run folder only
    # MLflow tracking URI, which may hold a password; a relative file is in the working directory.
    uri: str = field(repr=False)
    experiment: str
    system_metrics: bool
    system_metrics_interval: float  # seconds
    flush_timeout: float  # seconds to wait at the end for a server that doesn't answer
    request_timeout: int  # seconds per HTTP request

    def __post_init__(self) -> None:
        for name in ("system_metrics_interval", "flush_timeout", "request_timeout"):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"tracking.{name} is {getattr(self, name)}; expected seconds > 0."
                )
        if not self.uri or not self.experiment:
            raise ConfigError(
                "tracking.uri and tracking.experiment can't be empty; to run without a server "
                "set tracking.enabled=false."
            )
        if not re.match(r"databricks|file:|[a-z][a-z0-9+.-]*://", self.uri):
            raise ConfigError(
                f"tracking.uri is {shown(self.uri)}; expected an address, such as "
                "sqlite:///mlflow.db or http://HOST:5000. To run without a server set "
                "tracking.enabled=false."
            )
        match = re.fullmatch(r"sqlite:///(?!/)(.+)", self.uri)
        if match is not None:  # what it means must not change with the working directory
            object.__setattr__(self, "uri", f"sqlite:///{Path(match[1]).absolute()}")
