"""The answers of the HTTP interface that are not recommendations: health, policies, errors."""

from __future__ import annotations

from typing import Literal

from evaluation.recommendation.schemas import Answer, FieldError, ModelInfo


class Health(Answer):
    """What is served, and whether the registry answers. Times are ISO, UTC.

    last_poll: when the registry last answered.
    last_load_error: why the newest version isn't served.
    """

    status: Literal["ok"]
    model: ModelInfo
    loaded_at: str
    uptime_seconds: float
    last_poll: str | None
    last_load_error: str | None


class Policies(Answer):
    """The policies that a request can name.

    champion: the model served.
    classical: its base policy, with parameters.
    """

    champion: ModelInfo
    classical: dict[str, object]


class ErrorAnswer(Answer):
    """Every answer that is not 200."""

    errors: list[FieldError]
