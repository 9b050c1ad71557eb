"""Settings of `echelon serve`."""

from __future__ import annotations

from dataclasses import dataclass

from envs.errors import ConfigError
from evaluation.loopback import is_loopback


@dataclass(frozen=True)
class ServeConfig:
    """Where to listen, and what to serve.

    host: a loopback address; a proxy with authentication opens it to others.
    port: 0 takes a free one.
    model: name of the registered model; None: the scenario's.
    artifact: an alias (champion, challenger), a version or a folder; only an alias is polled.
    poll_seconds: between two queries of the registry.
    stale_after, refuse_after: age of a stock row [periods] beyond which the base policy answers
        its lines, and beyond which the request is refused.
    """

    host: str
    port: int
    model: str | None
    artifact: str
    poll_seconds: float
    stale_after: int
    refuse_after: int

    def __post_init__(self) -> None:
        if self.host != "localhost" and not is_loopback(self.host):
            raise ConfigError(
                f"serve.host is {self.host}; expected a loopback address such as 127.0.0.1, "
                "because requests are not authenticated. To open it, put a reverse proxy with "
                "authentication in front."
            )
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"serve.port is {self.port}; expected 0 to 65535.")
        if self.model is not None and (not self.model.strip() or set(self.model) & set("/:")):
            raise ConfigError(
                f"serve.model is {self.model!r}; expected a registered name, as echelon-SCENARIO, "
                "without '/' and ':'."
            )
        if not self.artifact:
            raise ConfigError(
                "serve.artifact is empty; expected champion, challenger, a version or a folder."
            )
        if not 0 <= self.stale_after <= self.refuse_after:
            raise ConfigError(
                f"serve.stale_after is {self.stale_after} and refuse_after {self.refuse_after}; "
                "expected 0 <= stale_after <= refuse_after, in periods."
            )
        if not 0.1 <= self.poll_seconds <= 86_400:
            raise ConfigError(
                f"serve.poll_seconds is {self.poll_seconds}; expected 0.1 to 86400 seconds."
            )
