"""A whole endpoint: its networks, and how many replicas answer for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from envs.errors import ConfigError, did_you_mean
from evaluation.recommendation.recommender import REFUSE_AFTER, STALE_AFTER
from serving.source import Source


@dataclass(frozen=True)
class Service:
    """The fields of `Source`, for several models at once.

    models: registered names, one for each network.
    tracking_uri: None: MLFLOW_TRACKING_URI, where the replica runs.
    min_replicas, max_replicas: in between there are as many as the load asks for.
    Raises ConfigError.
    """

    models: tuple[str, ...]
    artifact: str = "champion"
    tracking_uri: str | None = None
    poll_seconds: float = 10.0
    cache: str | None = None
    shadow: str | None = None
    stale_after: int = STALE_AFTER
    refuse_after: int = REFUSE_AFTER
    min_replicas: int = 1
    max_replicas: int = 1

    def __post_init__(self) -> None:
        for model in self.models:
            if not model.strip() or set(model) & set("/:"):
                raise ConfigError(
                    f"the model's name {model!r} is none; expected a registered name, as "
                    "echelon-SCENARIO, without '/' and ':'."
                )
        if not self.models or len(set(self.models)) < len(self.models):
            raise ConfigError(f"models are {[*self.models]}; expected one or more, each once.")
        if len(self.models) > 1 and self.artifact not in ("champion", "challenger"):
            raise ConfigError(
                f"artifact is {self.artifact}, of one of the models at most; expected champion or "
                "challenger where several are served."
            )
        if not 1 <= self.min_replicas <= self.max_replicas:
            raise ConfigError(
                f"min_replicas is {self.min_replicas} and max_replicas {self.max_replicas}; "
                "expected 1 <= min_replicas <= max_replicas."
            )

    @classmethod
    def from_plain(cls, args: Mapping[str, Any]) -> Service:
        """Return the service of a Serve file's `args`. Raises ConfigError."""
        known = [field.name for field in fields(cls)]
        for key in args:
            if key not in known:
                raise ConfigError(f"args.{key} is unknown.{did_you_mean(key, known)}")
        models = args.get("models")
        if not isinstance(models, list | tuple) or not all(isinstance(m, str) for m in models):
            raise ConfigError("args.models is no list of registered names, as [echelon-retail].")
        return cls(**{**args, "models": tuple(models)})

    def sources(self) -> list[Source]:
        """Where the policies come from, as seen from this process. Raises ConfigError."""
        uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            raise ConfigError(
                "there is no model registry; expected args.tracking_uri, or MLFLOW_TRACKING_URI "
                "in the environment of Ray's nodes."
            )
        return [
            Source(
                self.artifact, model, uri, self.poll_seconds, self.cache,
                self.stale_after, self.refuse_after, self.shadow,
            )
            for model in self.models
        ]  # fmt: skip
