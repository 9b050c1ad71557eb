"""Reads a request's body whole, within a size and a time, before anything else is done with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

MAX_BODY_BYTES = 16 * 2**20
MAX_HELD_BYTES = 256 * 2**20  # of all bodies that are being read
BODY_SECONDS = 3.0
_BYTES_PER_SECOND = 2**20  # what arrives gives the rest more time
_LINGER_SECONDS, _LINGER_BYTES = 1.0, 4 * 2**20


class Refusal(Exception):
    """A request that isn't passed on; retry_after: seconds."""

    def __init__(
        self, status: int, reason: str, message: str, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message
        self.retry_after = retry_after


class BodyReader:
    """Reads bodies; all that are read at once hold no more than a limit."""

    def __init__(self, limit: int = MAX_BODY_BYTES, held: int = MAX_HELD_BYTES) -> None:
        self._limit, self._left = limit, held

    async def read(self, length: str, receive: Receive) -> bytes:
        """Return the body; length: what Content-Length says. Raises Refusal (408, 413, 503), and
        ConnectionError where the sender has gone."""
        body = bytearray()
        if length.isdecimal() and int(length[:20]) > self._limit:
            raise self._too_large()
        clock = asyncio.get_running_loop()
        end = clock.time() + BODY_SECONDS
        try:
            async with asyncio.timeout_at(end) as deadline:
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ConnectionError
                    chunk = message.get("body", b"")
                    self._left -= len(chunk)
                    body += chunk
                    if len(body) > self._limit:
                        raise self._too_large()
                    if self._left < 0:
                        raise Refusal(503, "memory", "too many large bodies at once", 1)
                    if not message.get("more_body", False):
                        return bytes(body)
                    deadline.reschedule(end + len(body) / _BYTES_PER_SECOND)
        except TimeoutError:
            late = f"the body took more than {BODY_SECONDS:g} s, and 1 s more a MiB, to arrive"
            raise Refusal(408, "slow body", late) from None
        finally:
            self._left += len(body)

    def _too_large(self) -> Refusal:
        message = f"the body is larger than {self._limit} bytes; send fewer rows at a time"
        return Refusal(413, "large body", message)


async def linger(receive: Receive) -> None:
    """Drop what still arrives, a little of it: a connection closed at once can lose its answer."""
    left = _LINGER_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            while left > 0:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))
