"""The answers of the HTTP interface that are not recommendations: health, policies, errors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from evaluation.recommendation.schemas import Answer, FieldError, ModelInfo, Name, Strict


class Switched(Answer):
    """Who had a network answered by its base policy alone, when (ISO, UTC) and why."""

    who: str
    when: str
    why: str


class NetworkHealth(Answer):
    """What is served of a network, and whether the registry answers. Times are ISO, UTC.

    last_poll: when the registry last answered.
    last_load_error: why the newest version isn't served.
    classical_only: None: the model answers.
    """

    model: ModelInfo
    loaded_at: str
    last_poll: str | None
    last_load_error: str | None
    classical_only: Switched | None


class Health(NetworkHealth):
    """The first network's, and each one's by its name."""

    status: Literal["ok"]
    uptime_seconds: float
    networks: dict[str, NetworkHealth]


class Switch(Strict):
    """A body of POST /v1/policies/classical and champion. reason: kept in the registry."""

    network: Name | None = None
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class Promote(Switch):
    """A body of POST /v1/policies/VERSION/promote. force: past the gate."""

    force: bool = False


class Moved(Answer):
    """What became of a promotion or rollback.

    champion: the version that is the champion now.
    moved: whether it was done; None: the gate is still at work.
    message: what the command printed.
    """

    network: str
    champion: str | None
    moved: bool | None
    message: str


class Answering(Answer):
    """Who answers for a network now."""

    network: str
    policy: Literal["champion", "classical"]
    classical_only: Switched | None


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
