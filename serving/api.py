"""The HTTP interface as a FastAPI application; knows nothing of Ray.

`serving.front` comes before it: keys, limits, what is a body. JSON is validated here as JSON,
strictly (dates are text, numbers are numbers), and not by FastAPI.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from envs.errors import ArtifactError, ConfigError
from evaluation.recommendation.findings import RequestError, field_path
from evaluation.recommendation.schemas import (
    FieldError,
    RecommendationRequest,
    RecommendationResponse,
)
from serving import promotion
from serving.front.front import CALLER, COUNTS
from serving.live import LivePolicy
from serving.networks import Networks
from serving.schemas import (
    Answering,
    ErrorAnswer,
    Health,
    Moved,
    Policies,
    Promote,
    Switch,
)

_MOST_ERRORS = 20
_LONGEST = 200  # characters of a path or message


def _error(description: str, message: str, field: str = "") -> dict[str, Any]:
    """One entry of the document's responses, with an example."""
    example = {"errors": [{"field": field, "message": message}]}
    content = {"application/json": {"example": example}}
    return {"model": ErrorAnswer, "description": description, "content": content}


_BUSY = _error("Too many requests at once, or no replica yet; Retry-After says when", "try again")
_FAILURES: dict[int | str, dict[str, Any]] = {  # of every path
    401: _error("No valid key", "expected a valid key: Authorization: Bearer KEY"),
    403: _error("The key's roles don't allow it", "the key's roles don't include operate"),
    405: _error("The path has other methods; Allow names them", "Method Not Allowed"),
    429: _error("Too many requests for this key", "more than 100 requests a second for this key"),
    500: _error("The request failed here", "internal error; see the server's log"),
    503: _BUSY,
    504: _error("The answer took too long", "the answer took too long"),
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: _error("No JSON, or a body cut short", "Invalid JSON: EOF while parsing a value"),
    408: _error("The body took too long", "the body took more than 3 s to arrive"),
    413: _error("The body is too large", "the body is larger than 16777216 bytes; send fewer rows"),
    415: _error("Not declared as JSON", "expected Content-Type: application/json"),
    422: _error(
        "A field is wrong",
        "location 'stroe_000' is unknown. Did you mean 'store_000'?",
        "stock[0].location",
    ),
    **_FAILURES,
}

_CONFLICT = _error("Not what is served", "version 7 of retail isn't the champion, 8 is")
_MOVING: dict[str, Any] = {"model": Moved, "description": "The gate is still at work"}
_BODIES: dict[str, type[BaseModel]] = {
    "/v1/recommendations": RecommendationRequest,
    "/v1/policies/classical": Switch,
    "/v1/policies/champion": Switch,
    "/v1/policies/{version}/promote": Promote,
    "/v1/policies/{version}/rollback": Switch,
}
_Body = TypeVar("_Body", bound=BaseModel)
_Done = TypeVar("_Done")

_log = logging.getLogger(__name__)


class _Refused(Exception):
    def __init__(self, status: int, errors: list[FieldError]) -> None:
        self.status, self.errors = status, errors


def build_api(*lives: LivePolicy) -> FastAPI:
    """Return the application of these networks; it polls the registry as long as it lives."""
    networks = Networks(lives)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for network in networks.all():
            network.start()
        yield
        for network in networks.all():
            network.stop()

    app = FastAPI(title="Echelon", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_exception_handler(_Refused, _on_refused)
    app.add_exception_handler(RequestError, _on_request_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_failure)

    @app.post(
        "/v1/recommendations",
        response_model=RecommendationResponse,
        responses=_ERRORS,
        summary="Replenishment orders for a stock snapshot",
    )
    async def recommend(request: Request) -> Response:
        order = _parse(RecommendationRequest, await request.body())
        network = networks.select(order.network)
        answer = await run_in_threadpool(network.recommend, order)
        response = _json(answer)
        response.headers[COUNTS] = _counts(answer)
        return response

    @app.get(
        "/v1/health",
        response_model=Health,
        responses=_FAILURES,
        summary="What is served, and since when",
    )
    async def health() -> Response:
        return _json(networks.health())

    @app.get(
        "/v1/policies",
        response_model=Policies,
        responses={422: _ERRORS[422], **_FAILURES},
        summary="The policies a request can name",
    )
    async def policies(network: str | None = None) -> Response:
        recommender = networks.select(network).live.recommender
        return _json(Policies(champion=recommender.info, classical=dict(recommender.base_policy)))

    async def switch(request: Request, on: bool) -> Response:
        body = _parse(Switch, await request.body())
        network = networks.select(body.network)
        live = network.live
        await _operate(live.switch.set, on, _caller(request), body.reason)
        switched = live.switch.current
        policy: Literal["classical", "champion"] = "classical" if switched else "champion"
        return _json(Answering(network=network.name, policy=policy, classical_only=switched))

    @app.post(
        "/v1/policies/classical",
        response_model=Answering,
        responses={409: _CONFLICT, **_ERRORS},
        summary="Have a network answered by its base policy alone",
    )
    async def classical(request: Request) -> Response:
        return await switch(request, True)

    @app.post(
        "/v1/policies/champion",
        response_model=Answering,
        responses={409: _CONFLICT, **_ERRORS},
        summary="Have a network answered by its model again",
    )
    async def champion(request: Request) -> Response:
        return await switch(request, False)

    async def move(live: LivePolicy, call: Callable[..., Moved], *arguments: Any) -> Response:
        moved = await _operate(call, live.source, *arguments)
        await run_in_threadpool(live.poll)
        return _json(moved, 202 if moved.moved is None else 200)

    @app.post(
        "/v1/policies/{version}/promote",
        response_model=Moved,
        responses={202: _MOVING, 409: _CONFLICT, **_ERRORS},
        summary="Make a version the champion, if it passes the gate",
    )
    async def promote_version(version: str, request: Request) -> Response:
        body, who = _parse(Promote, await request.body()), _caller(request)
        call = promotion.promote, version, body.force, who, body.reason
        return await move(networks.select(body.network).live, *call)

    @app.post(
        "/v1/policies/{version}/rollback",
        response_model=Moved,
        responses={202: _MOVING, 409: _CONFLICT, **_ERRORS},
        summary="Take the champion back: the one before it is the champion again",
    )
    async def roll_back(version: str, request: Request) -> Response:
        body, who = _parse(Switch, await request.body()), _caller(request)
        call = promotion.rollback, version, who, body.reason
        return await move(networks.select(body.network).live, *call)

    _describe_bodies(app)
    return app


async def _operate(call: Callable[..., _Done], *arguments: Any) -> _Done:
    try:
        return await run_in_threadpool(call, *arguments)
    except ConfigError as error:
        raise _Refused(409, [_short_error("", str(error))]) from None
    except ArtifactError as error:
        raise _Refused(503, [_short_error("", str(error))]) from None


def _caller(request: Request) -> str:
    return request.headers.get(CALLER, "")


def _counts(answer: RecommendationResponse) -> str:
    """For the front's metrics."""
    lines = answer.lines
    model, version = answer.model.name, str(answer.model.version)
    return json.dumps([model, version, len(lines), sum(line.fallback for line in lines)])


def _parse(kind: type[_Body], body: bytes) -> _Body:
    try:
        return kind.model_validate_json(body)
    except ValidationError as problem:
        found = problem.errors(include_url=False, include_context=False, include_input=False)
    status = 400 if found[0]["type"] == "json_invalid" else 422
    errors = [_short_error(field_path(e["loc"]), _message(e)) for e in found[:_MOST_ERRORS]]
    raise _Refused(status, errors)


def _message(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown field"
    return str(error["msg"]).removeprefix("Value error, ")


def _short_error(field: str, message: str) -> FieldError:
    return FieldError(field=field[:_LONGEST], message=message[:_LONGEST])


def _json(model: BaseModel, status: int = 200) -> Response:
    return Response(model.model_dump_json(), status_code=status, media_type="application/json")


async def _on_refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, _Refused)
    answer = _json(ErrorAnswer(errors=error.errors), error.status)
    if error.status == 503:
        answer.headers["Retry-After"] = "10"
    return answer


async def _on_request_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    found = [_short_error(e.field, e.message) for e in error.errors]
    return _json(ErrorAnswer(errors=found), 422)


async def _on_http_exception(_: Request, error: Exception) -> Response:
    """Unknown paths and methods."""
    assert isinstance(error, HTTPException)
    answer = _json(ErrorAnswer(errors=[_short_error("", str(error.detail))]), error.status_code)
    answer.headers.update(error.headers or {})
    return answer


async def _on_failure(_: Request, error: Exception) -> Response:
    _log.error("A request failed.", exc_info=error)
    message = "internal error; see the server's log"
    return _json(ErrorAnswer(errors=[FieldError(field="", message=message)]), 500)


def _describe_bodies(app: FastAPI) -> None:
    """Put the bodies' schemas into /openapi.json: FastAPI doesn't see them being read."""
    document = app.openapi()
    for path, kind in _BODIES.items():
        reference = "#/components/schemas/{model}"
        schema = kind.model_json_schema(ref_template=reference)
        parts = {**schema.pop("$defs", {}), kind.__name__: schema}
        document.setdefault("components", {}).setdefault("schemas", {}).update(parts)
        content = {"schema": {"$ref": reference.format(model=kind.__name__)}}
        document["paths"][path]["post"]["requestBody"] = {
            "required": True,
            "content": {"application/json": content},
        }
