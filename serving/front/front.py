"""The ASGI middleware before Ray Serve's proxy: who may call, how much, and what is told of it.

In the order of `_admit`: request id, key, role, rate, path, media type, body, room. Every refusal
is JSON, and what passes reaches a replica whole.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from serving.front.body import BodyReader, Message, Receive, Refusal, linger
from serving.front.keys import Key, KeyFile, Keys
from serving.front.metrics import Metrics, read_counts
from serving.front.settings import FrontSettings
from serving.json_log import JsonLog

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CALLER = "x-echelon-caller"  # for a replica: the key's name
COUNTS = "x-echelon-counts"  # of a replica's answer, for the metrics
_PASSED = frozenset({b"host", b"content-type", b"accept", b"user-agent"})
_REQUEST_ID = re.compile(rb"[\w.:/-]{1,100}")
_HEALTH_SECONDS = 3.0
# What a request may wait for room: a refusal comes within 0.1 s, and callers that try again at once
# can't keep the proxy busy with refusals.
_ROOM_SECONDS = 0.05
_TOO_MANY = "the service is busy; try again"
_LOST = "no replica answered: it was lost, or starts; try again"


@dataclass
class _Exchange:
    """A request, and what becomes of it."""

    id: str
    method: str
    path: str
    headers: dict[bytes, bytes]
    key: Key | None = None
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    reason: str = ""
    model: str = ""
    begun: float = field(default_factory=time.monotonic)

    def row(self, seconds: float) -> dict[str, Any]:
        """What the access log says: never a key, a header or a body."""
        return {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": self.id,
            "key": self.key.name if self.key else None,
            "method": self.method[:20],
            "path": self.path[:200],
            "status": self.status,
            "reason": self.reason or None,
            "model": self.model or None,
            "seconds": round(seconds, 4),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
        }


class Front:
    """See the module. keys: None: nobody is asked who they are, and nobody may operate."""

    def __init__(
        self,
        app: App,
        settings: FrontSettings,
        keys: Keys | KeyFile | None = None,
        bodies: BodyReader | None = None,
    ) -> None:
        self._app, self._settings, self._keys = app, settings, keys
        self._bodies = bodies or BodyReader()
        self._metrics = Metrics()
        self._log = JsonLog(settings.access_log)
        self._tokens: dict[str, tuple[float, float]] = {}  # by key: what is left, and when
        self._room = asyncio.Semaphore(settings.at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        name = given.decode() if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        exchange = _Exchange(name, scope["method"], scope["path"], headers)
        try:
            await self._answer(exchange, scope, receive, send)
        except Refusal as refusal:
            exchange.reason = refusal.reason
            self._metrics.refused(refusal.reason)
            await _refuse(exchange, refusal, receive, send)
        except ConnectionError:
            exchange.status, exchange.reason = 499, "the sender has gone"
        finally:
            seconds = time.monotonic() - exchange.begun
            self._metrics.request(exchange.path, exchange.status, seconds)
            self._log.write(exchange.row(seconds))

    async def _answer(
        self, exchange: _Exchange, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if exchange.method == "GET" and exchange.path == "/v1/health/live":
            await _send_json(exchange, 200, {"status": "ok"}, send)
            return
        if exchange.method == "GET" and exchange.path == "/v1/health/ready":
            if await self._health(scope) is None:
                raise Refusal(503, "not ready", _LOST, 1)
            await _send_json(exchange, 200, {"status": "ok"}, send)
            return
        if exchange.method == "GET" and exchange.path == "/-/healthz":  # what KubeRay asks
            await self._app(scope, receive, _Answer(exchange, send).send)
            return
        self._admit(exchange)
        if exchange.method == "GET" and exchange.path == "/v1/metrics":
            text = self._metrics.scrape(await self._health(scope))
            await _send(exchange, 200, text, b"text/plain; version=0.0.4; charset=utf-8", send)
            return
        length = exchange.headers.get(b"content-length", b"").decode("latin-1")
        body = await self._bodies.read(length, receive)
        exchange.bytes_in = len(body)
        try:
            async with asyncio.timeout(_ROOM_SECONDS):
                await self._room.acquire()
        except TimeoutError:
            raise Refusal(503, "busy", _TOO_MANY, 1) from None
        try:
            with self._metrics.in_flight.track_inprogress():
                await self._pass_on(exchange, scope, body, receive, send)
        finally:
            self._room.release()

    def _admit(self, exchange: _Exchange) -> None:
        """Raises Refusal."""
        role = _role(exchange.method, exchange.path)
        if self._keys is not None:
            scheme, _, presented = exchange.headers.get(b"authorization", b"").partition(b" ")
            key = self._keys.find(presented.strip().decode("latin-1"))
            if key is None or scheme.lower() != b"bearer":
                raise Refusal(401, "key", "expected a valid key: Authorization: Bearer KEY")
            exchange.key = key
            self._take_token(key.name)
            if role != "read" and role not in key.roles:
                raise Refusal(403, "role", f"the key's roles don't include {role}")
        elif role == "operate":
            raise Refusal(403, "role", "nobody may operate a service that has no keys")
        hidden = exchange.path == "/openapi.json" and self._keys is not None
        if hidden or not exchange.path.startswith(("/v1/", "/openapi.json")):
            raise Refusal(404, "path", "Not Found")
        media = exchange.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if exchange.method == "POST" and media != b"application/json":
            raise Refusal(415, "media type", "expected Content-Type: application/json")

    def _take_token(self, name: str) -> None:
        now, rate = time.monotonic(), self._settings.rate
        left, then = self._tokens.get(name, (2 * rate, now))
        left = min(2 * rate, left + (now - then) * rate)
        if left < 1.0:
            raise Refusal(429, "rate", f"more than {rate:g} requests a second for this key", 1)
        self._tokens[name] = left - 1.0, now

    async def _pass_on(
        self, exchange: _Exchange, scope: Scope, body: bytes, receive: Receive, send: Send
    ) -> None:
        answer = _Answer(exchange, send)
        await self._app(_inner_scope(exchange, scope, body), _replay(body, receive), answer.send)
        if not exchange.status:  # Ray Serve says nothing where the replica is lost
            raise Refusal(503, "no replica", _LOST, 1)
        if counts := answer.headers.get(COUNTS.encode()):
            model, version, lines, fallback = read_counts(counts.decode())
            exchange.model = f"{model} {version}"
            self._metrics.answered(model, version, lines, fallback)

    async def _health(self, scope: Scope) -> Any:
        """Return what a replica says of itself; None: none answers in time."""
        asked = _Exchange("health", "GET", "/v1/health", {})
        kept: list[bytes] = []

        async def keep(message: Message) -> None:
            kept.append(message.get("body", b""))

        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                inner = _inner_scope(asked, {**scope, "method": "GET", "query_string": b""}, b"")
                inner["path"], inner["raw_path"] = "/v1/health", b"/v1/health"
                await self._app(inner, _replay(b"", _never), _Answer(asked, keep).send)
        except TimeoutError:
            return None
        return json.loads(b"".join(kept)) if asked.status == 200 else None


class _Answer:
    """Passes an answer on, with the request's id; one that is not ours becomes JSON."""

    def __init__(self, exchange: _Exchange, send: Send) -> None:
        self._exchange, self._send = exchange, send
        self._is_replaced = False
        self.headers: dict[bytes, bytes] = {}

    async def send(self, message: Message) -> None:
        if self._is_replaced:
            return
        if message["type"] == "http.response.start":
            self.headers = {name.lower(): value for name, value in message.get("headers", ())}
            status = int(message["status"])
            media = self.headers.get(b"content-type", b"")
            if status >= 400 and not media.startswith(b"application/json"):
                self._is_replaced = True
                await self._replace(status)
                return
            kept = [(n, v) for n, v in message.get("headers", ()) if n.lower() != COUNTS.encode()]
            message = {**message, "headers": [*_without_id(kept), _id_of(self._exchange)]}
            self._exchange.status = status
        self._exchange.bytes_out += len(message.get("body", b""))
        await self._send(message)

    async def _replace(self, status: int) -> None:
        """Ray Serve's own texts: no replica, too slow, gone."""
        if status == 408:
            self._exchange.reason = "slow answer"
            await _send_json(self._exchange, 504, _errors("the answer took too long"), self._send)
        else:
            self._exchange.reason = "no replica"
            refusal = Refusal(503, "no replica", _LOST, 1)
            await _send_refusal(self._exchange, refusal, self._send)


def _role(method: str, path: str) -> str:
    """The role that a call needs; any role may read."""
    if method != "POST":
        return "read"
    return "operate" if path.startswith("/v1/policies/") else "recommend"


def _inner_scope(exchange: _Exchange, scope: Scope, body: bytes) -> Scope:
    """Without the key, and without the headers by which a caller could steer Ray Serve."""
    headers = [(name, value) for name, value in scope["headers"] if name in _PASSED]
    headers += [(b"x-request-id", exchange.id.encode()), (b"content-length", b"%d" % len(body))]
    if exchange.key is not None:
        headers.append((CALLER.encode(), exchange.key.name.encode()))
    return {**scope, "headers": headers}


def _replay(body: bytes, receive: Receive) -> Receive:
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return parts.pop() if parts else await receive()

    return replayed


async def _never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def _refuse(exchange: _Exchange, refusal: Refusal, receive: Receive, send: Send) -> None:
    closes = refusal.status in (408, 413) or b"transfer-encoding" in exchange.headers
    await _send_refusal(exchange, refusal, send, closes=closes, ends=not closes)
    if closes:
        if refusal.status == 413:
            await linger(receive)
        await send({"type": "http.response.body", "body": b""})


async def _send_refusal(
    exchange: _Exchange, refusal: Refusal, send: Send, closes: bool = False, ends: bool = True
) -> None:
    extra = [(b"retry-after", b"%d" % refusal.retry_after)] if refusal.retry_after else []
    if refusal.status == 401:
        extra.append((b"www-authenticate", b"Bearer"))
    if closes:
        extra.append((b"connection", b"close"))
    await _send_json(
        exchange, refusal.status, _errors(refusal.message), send, extra=extra, ends=ends
    )


def _errors(message: str) -> dict[str, Any]:
    return {"errors": [{"field": "", "message": message}]}


async def _send_json(exchange: _Exchange, status: int, plain: Any, send: Send, **more: Any) -> None:
    await _send(exchange, status, json.dumps(plain).encode(), b"application/json", send, **more)


async def _send(
    exchange: _Exchange,
    status: int,
    body: bytes,
    media: bytes,
    send: Send,
    extra: list[tuple[bytes, bytes]] | None = None,
    ends: bool = True,
) -> None:
    exchange.status, exchange.bytes_out = status, len(body)
    headers = [(b"content-type", media), (b"content-length", b"%d" % len(body)), _id_of(exchange)]
    start = {"type": "http.response.start", "status": status, "headers": headers + (extra or [])}
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": not ends})


def _id_of(exchange: _Exchange) -> tuple[bytes, bytes]:
    return b"x-request-id", exchange.id.encode()


def _without_id(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() != b"x-request-id"]
