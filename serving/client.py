"""A thin client of the HTTP interface, with the types of its requests and answers.

    with EchelonClient("http://127.0.0.1:8000") as client:
        answer = client.recommend(RecommendationRequest(stock=[...]))

Loads neither Ray, torch nor MLflow. Equal requests get equal answers, so they are repeated
where the service is busy, starting, or gone: as it says (Retry-After), else after pauses that grow,
by chance, so that callers don't come back all at once.
"""

from __future__ import annotations

import email.utils
import os
import random
import time
import uuid
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from envs.errors import ServiceError
from envs.redact import redact
from evaluation.recommendation.schemas import RecommendationRequest, RecommendationResponse
from serving.schemas import Answering, ErrorAnswer, Health, Moved, Policies, Promote, Switch

__all__ = ["EchelonClient"]

KEY_VARIABLE = "ECHELON_API_KEY"
_PASSING = frozenset({408, 429, 502, 503, 504})  # statuses that may be gone a moment later
_LONGEST_PAUSE = 5.0  # seconds, where the service names none
_MOST_TOLD = 5  # errors of an answer in a message

T = TypeVar("T", bound=BaseModel)


class EchelonClient:
    """Asks one service; safe to use from several threads."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float = 60.0,
        retry_for: float = 60.0,
        first_pause: float = 0.1,
        http: httpx.Client | None = None,
    ) -> None:
        """url: without a path.
        key: None: what ECHELON_API_KEY holds, if anything.
        timeout: until a request counts as unanswered [s].
        retry_for: a request isn't begun again later than this after its first try [s]; 0: one try.
        first_pause: longest one before the second try, doubled from try to try [s].
        http: sends the requests in place of a client of this one's own: certificates, proxies.
        """
        key = os.environ.get(KEY_VARIABLE) if key is None else key
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._url, self._retry_for, self._first_pause = url.rstrip("/"), retry_for, first_pause
        self._is_own = http is None
        self._http = http or httpx.Client(timeout=timeout)

    def recommend(self, request: RecommendationRequest) -> RecommendationResponse:
        """Return orders. A request without `request_id` gets one, the same at every try.

        Raises ServiceError.
        """
        if request.request_id is None:
            request = request.model_copy(update={"request_id": uuid.uuid4().hex})
        body = request.model_dump_json(by_alias=True, exclude_unset=True)
        return self._ask(RecommendationResponse, "POST", "/v1/recommendations", body)

    def health(self) -> Health:
        """Return what is served, and since when. Raises ServiceError."""
        return self._ask(Health, "GET", "/v1/health")

    def policies(self, network: str | None = None) -> Policies:
        """Return the policies that a request can name; network: which, where several are served.

        Raises ServiceError.
        """
        query = "" if network is None else f"?network={quote(network, safe='')}"
        return self._ask(Policies, "GET", f"/v1/policies{query}")

    def use_classical(self, reason: str, network: str | None = None) -> Answering:
        """Have a network answered by its base policy alone; needs the role operate.

        Raises ServiceError.
        """
        return self._switch("classical", reason, network)

    def use_champion(self, reason: str, network: str | None = None) -> Answering:
        """Have it answered by its model again. Raises ServiceError."""
        return self._switch("champion", reason, network)

    def promote(
        self, version: str, reason: str, network: str | None = None, force: bool = False
    ) -> Moved:
        """Make a version the champion, if it passes the gate, or with force; needs the role
        operate. `moved` of the answer is None while the gate is at work.

        Never repeated: an answer that is lost may have been done. Raises ServiceError.
        """
        body = Promote(reason=reason, network=network, force=force)
        return self._move(version, "promote", body)

    def rollback(self, version: str, reason: str, network: str | None = None) -> Moved:
        """Take the champion, this version, back: the one before it is the champion again.

        Never repeated. Raises ServiceError.
        """
        return self._move(version, "rollback", Switch(reason=reason, network=network))

    def _move(self, version: str, how: str, body: Switch) -> Moved:
        path = f"/v1/policies/{quote(version, safe='')}/{how}"
        text = body.model_dump_json(exclude_none=True)
        return self._ask(Moved, "POST", path, text, repeats=False)

    def _switch(self, policy: str, reason: str, network: str | None) -> Answering:
        body = Switch(reason=reason, network=network).model_dump_json(exclude_none=True)
        return self._ask(Answering, "POST", f"/v1/policies/{policy}", body)

    def close(self) -> None:
        """Close the connections, but for those of an `http` that was given."""
        if self._is_own:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(
        self, kind: type[T], method: str, path: str, body: str | None = None, repeats: bool = True
    ) -> T:
        """Return the answer; ask again where that can bring one. Raises ServiceError."""
        url, begun, tries = f"{self._url}{path}", time.monotonic(), 0
        headers = {**self._headers, "X-Request-ID": uuid.uuid4().hex}
        if body:
            headers["Content-Type"] = "application/json"
        while True:
            tries += 1
            got: httpx.Response | None = None
            problem: Exception | None = None
            try:
                got = self._http.request(method, url, content=body, headers=headers)
            except (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError) as why:
                problem = why
            except (httpx.HTTPError, httpx.InvalidURL) as why:
                raise ServiceError(
                    f"{redact(url)} can't be asked ({redact(str(why))}); expected an address such "
                    "as http://127.0.0.1:8000."
                ) from why
            if got is not None and got.status_code in (200, 202):
                return _parsed(kind, got)
            if got is not None and got.status_code not in _PASSING:
                raise _refusal(got)
            pause = self._pause(got, tries)
            if not repeats or time.monotonic() - begun + pause > self._retry_for:
                if got is not None:
                    raise _refusal(got, tries)
                raise ServiceError(
                    f"{redact(url)} gave no answer in {tries} tries ({type(problem).__name__}: "
                    f"{redact(str(problem))}). Check the address, and that the service runs."
                ) from problem
            time.sleep(pause)

    def _pause(self, got: httpx.Response | None, tries: int) -> float:
        """Return seconds until the next try."""
        grown = min(self._first_pause * 2.0 ** (tries - 1), _LONGEST_PAUSE)
        named = None if got is None else _seconds(got.headers.get("Retry-After"))
        return (named or 0.0) + random.uniform(0.0, grown)


def _seconds(retry_after: str | None) -> float | None:
    """What Retry-After says, a number or a date (RFC 9110, 10.2.3); None where it says nothing."""
    try:
        return max(float(int(retry_after or "")), 0.0)
    except ValueError:
        pass
    try:
        when = email.utils.parsedate_to_datetime(retry_after or "")
    except ValueError:
        return None
    return max(when.timestamp() - time.time(), 0.0)


def _parsed(kind: type[T], got: httpx.Response) -> T:
    try:
        return kind.model_validate_json(got.content)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        raise ServiceError(
            f"{redact(str(got.url))} answers {got.status_code}, but not as Echelon does "
            f"({first['msg']}); expected {kind.__name__}. Check the address, and that service and "
            "client have one version."
        ) from problem


def _refusal(got: httpx.Response, tries: int = 1) -> ServiceError:
    """The answer's own errors, where it has them; proxies answer with pages."""
    try:
        errors = ErrorAnswer.model_validate_json(got.content).errors
    except ValidationError:
        errors = []
    told = [": ".join(filter(None, (e.field, e.message))) for e in errors[:_MOST_TOLD]]
    if len(errors) > _MOST_TOLD:
        told.append(f"and {len(errors) - _MOST_TOLD} more")
    remedies: dict[int, Any] = {
        401: f"Give key=..., or set {KEY_VARIABLE}.",
        403: "Use a key whose role may do this.",
    }
    again = f" {tries} times" if tries > 1 else ""
    what = "; ".join(told) or got.reason_phrase
    remedy = remedies.get(got.status_code, "Try again later." if tries > 1 else "")
    name = got.request.headers["X-Request-ID"]
    text = f"{redact(str(got.url))} answers {got.status_code}{again}: {what} {remedy}".rstrip()
    return ServiceError(
        f"{text} (request {name} in the service's log)",
        status=got.status_code,
        errors=[(e.field, e.message) for e in errors],
    )
