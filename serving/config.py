"""Settings of `echelon serve`."""

from __future__ import annotations

from dataclasses import dataclass

from envs.errors import ConfigError
from evaluation.loopback import is_loopback


@dataclass(frozen=True)
class ServeConfig:
    """Where to listen, to whom, and what to serve.

    host: an address beyond loopback needs keys, and TLS.
    port: 0 takes a free one.
    keys: file of API keys; None: those of ECHELON_API_KEYS, and without them no one is asked.
    certificate, certificate_key: PEM files for TLS.
    tls_by_proxy: a proxy before the service has the certificate.
    rate: requests a second for each key.
    access_log: file of one JSON object a request; None: none is written.
    model: name of the registered model; None: the scenario's.
    more_models: of further networks; a request's `network` says which one it is of.
    artifact: an alias (champion, challenger), a version or a folder; only an alias is polled.
    max_replicas: processes that answer, at most: as many as the load asks for.
    shadow: folder that gets the challenger's answers; None: it isn't asked.
    cache: folder that keeps what was served last, for a start without the registry; None: none.
    poll_seconds: between two queries of the registry.
    stale_after, refuse_after: age of a stock row [periods] beyond which the base policy answers
        its lines, and beyond which the request is refused.
    """

    host: str
    port: int
    keys: str | None
    certificate: str | None
    certificate_key: str | None
    tls_by_proxy: bool
    rate: float
    access_log: str | None
    model: str | None
    more_models: list[str]
    artifact: str
    max_replicas: int
    shadow: str | None
    cache: str | None
    poll_seconds: float
    stale_after: int
    refuse_after: int

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"serve.port is {self.port}; expected 0 to 65535.")
        if (self.certificate is None) != (self.certificate_key is None):
            raise ConfigError(
                "serve.certificate and serve.certificate_key go together; expected both or none."
            )
        if self.is_open and not (self.certificate or self.tls_by_proxy):
            raise ConfigError(
                f"serve.host is {self.host}, which others reach, and keys would cross the network "
                "in clear text; give serve.certificate and serve.certificate_key, or "
                "serve.tls_by_proxy=true where a proxy has the certificate; expected a loopback "
                "address otherwise."
            )
        if not 0.1 <= self.rate <= 1e6:
            raise ConfigError(f"serve.rate is {self.rate}; expected 0.1 to 1000000 a second.")
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

    @property
    def is_open(self) -> bool:
        """Whether others than this machine reach it."""
        return self.host != "localhost" and not is_loopback(self.host)
