"""Settings of `echelon serve`."""

from __future__ import annotations

from dataclasses import dataclass

from envs.errors import ConfigError

__all__ = ["ServeConfig"]


@dataclass(frozen=True)
class ServeConfig:
    """host: loopback unless a proxy guards it. poll_seconds: between two looks at the registry."""

    host: str = "127.0.0.1"
    port: int = 8000
    model: str = "echelon"
    poll_seconds: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"serve.port is {self.port}; expected 0 to 65535.")
        if not self.poll_seconds > 0:
            raise ConfigError(f"serve.poll_seconds is {self.poll_seconds}; expected seconds > 0.")
