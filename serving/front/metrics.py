"""Prometheus metrics of the endpoint, as GET /v1/metrics answers them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PATHS = (
    "/v1/recommendations", "/v1/health", "/v1/health/live", "/v1/health/ready", "/v1/metrics",
    "/v1/policies", "/v1/policies/classical", "/v1/policies/champion", "/openapi.json",
)  # fmt: skip
_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Metrics:
    """One process's; a replica's counts come in the header of its answers, its state by asking."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "echelon_requests", "Requests answered", ("path", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "echelon_request_seconds", "From the headers to the last byte", ("path",),
            buckets=_BUCKETS, registry=self._registry,
        )  # fmt: skip
        self._refused = Counter(
            "echelon_refused", "Requests not passed on", ("reason",), registry=self._registry
        )
        self.in_flight = Gauge(
            "echelon_requests_in_flight", "Requests passed on", registry=self._registry
        )
        self._lines = Counter(
            "echelon_lines", "Order lines answered", ("model", "version"), registry=self._registry
        )
        self._fallback = Counter(
            "echelon_fallback_lines", "Lines that the base policy answered in the model's place",
            ("model", "version"), registry=self._registry,
        )  # fmt: skip
        self._ready = Gauge(
            "echelon_ready", "1: a replica answered just now", registry=self._registry
        )
        self._model = Gauge(
            "echelon_model", "1: the version that is served", ("model", "version"),
            registry=self._registry,
        )  # fmt: skip
        self._load_error = Gauge(
            "echelon_load_error", "1: the newest version can't be served, or the registry doesn't "
            "answer", ("model",), registry=self._registry,
        )  # fmt: skip
        self._classical = Gauge(
            "echelon_classical_only", "1: the base policy answers alone", ("model",),
            registry=self._registry,
        )  # fmt: skip
        self._poll_age = Gauge(
            "echelon_registry_age_seconds", "Since the registry last answered", ("model",),
            registry=self._registry,
        )  # fmt: skip

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count one that is answered."""
        known = path if path in PATHS else "other"  # versions among them
        self._requests.labels(known, str(status)).inc()
        self._seconds.labels(known).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count one that was not passed on."""
        self._refused.labels(reason).inc()

    def answered(self, model: str, version: str, lines: int, fallback: int) -> None:
        """Count the lines of an answer."""
        self._lines.labels(model, version).inc(lines)
        self._fallback.labels(model, version).inc(fallback)

    def scrape(self, health: Mapping[str, Any] | None) -> bytes:
        """Return the text; health: what GET /v1/health answers, None: nothing did."""
        self._ready.set(health is not None)
        if health is not None:
            for gauge in (self._model, self._load_error, self._poll_age, self._classical):
                gauge.clear()
            for network in health["networks"].values():
                self._note(network)
        return generate_latest(self._registry)

    def _note(self, health: Mapping[str, Any]) -> None:
        name = health["model"]["name"]
        self._model.labels(name, str(health["model"]["version"])).set(1)
        self._load_error.labels(name).set(health["last_load_error"] is not None)
        self._classical.labels(name).set(health["classical_only"] is not None)
        if health["last_poll"] is not None:
            polled = datetime.fromisoformat(health["last_poll"])
            self._poll_age.labels(name).set(max(0.0, time.time() - polled.timestamp()))


def read_counts(header: str) -> tuple[str, str, int, int]:
    """Return model, version, lines and fallback lines of a replica's header."""
    model, version, lines, fallback = json.loads(header)
    return model, version, lines, fallback
