"""The networks of one endpoint, by name; a request says which one it is of."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from evaluation.recommendation.findings import RequestError, classical_only, unknown
from evaluation.recommendation.schemas import (
    FieldError,
    RecommendationRequest,
    RecommendationResponse,
)
from serving.live import LivePolicy
from serving.schemas import Health
from serving.shadow import Shadow


class Network:
    """What answers for one network: its policy, or the base policy alone; the challenger beside."""

    def __init__(self, live: LivePolicy) -> None:
        self.live = live
        self.name = live.source.network
        self._shadow: Shadow | None = None

    def start(self) -> None:
        """Begin to look at the registry, and to ask the challenger."""
        self.live.start_polling()
        if self.live.source.shadow is not None:
            self._shadow = Shadow(self.live.source, Path(self.live.source.shadow))

    def stop(self) -> None:
        """End what `start` began."""
        self.live.stop()
        if self._shadow is not None:
            self._shadow.stop()

    def recommend(self, request: RecommendationRequest) -> RecommendationResponse:
        """Answer. Raises RequestError."""
        recommender = self.live.recommender
        if self.live.switch.current is None or request.policy == "classical":
            answer = recommender.recommend(request)
            if self._shadow is not None:
                self._shadow.ask(request, answer)
            return answer
        answer = recommender.recommend(request.model_copy(update={"policy": "classical"}))
        return answer.model_copy(
            update={"warnings": [*classical_only(self.name), *answer.warnings]}
        )


class Networks:
    """By the name of the network: that of the registered model without `echelon-`."""

    def __init__(self, lives: Sequence[LivePolicy]) -> None:
        self._by_name = {live.source.network: Network(live) for live in lives}
        self._started = time.monotonic()

    def all(self) -> list[Network]:
        """In the order they were given."""
        return list(self._by_name.values())

    def select(self, name: str | None) -> Network:
        """Return a network, by its name or its model's. Raises RequestError."""
        if name is None and len(self._by_name) == 1:
            return self.all()[0]
        if name is None:
            message = f"is missing; give one of {', '.join(sorted(self._by_name))}"
            raise RequestError([FieldError(field="network", message=message)])
        network = self._by_name.get(name.removeprefix("echelon-"))
        if network is None:
            message = unknown("network", name, self._by_name)
            raise RequestError([FieldError(field="network", message=message)])
        return network

    def health(self) -> Health:
        """What GET /v1/health answers."""
        each = {name: network.live.health() for name, network in self._by_name.items()}
        return Health(
            status="ok",
            uptime_seconds=round(time.monotonic() - self._started, 1),
            networks=each,
            **dict(next(iter(each.values()))),
        )
