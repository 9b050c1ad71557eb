"""uvicorn's HTTP connection with a deadline for the headers, which uvicorn has no setting for."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 3.0
MAX_HEADER_BYTES = 64 * 2**10


class PromptProtocol(HttpToolsProtocol):
    """Closes a connection whose headers don't come in time, or are too long.

    The first request's time counts from the connection, a later one's from its first byte.
    """

    _deadline: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _has_begun = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._deadline is not None:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(431, f"the headers are larger than {MAX_HEADER_BYTES} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._has_begun = True
        if self._deadline is None:
            self._expect_headers()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def _expect_headers(self) -> None:
        self._header_bytes = 0
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._on_late)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_late(self) -> None:
        if self._has_begun:
            self._refuse(408, f"the headers took more than {HEADER_SECONDS:g} s to arrive")
        else:
            self._stop_waiting()
            self.transport.close()

    def _refuse(self, status: int, message: str) -> None:
        self._stop_waiting()
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:  # else it would cut into an answer
            phrase = {408: "Request Timeout", 431: "Request Header Fields Too Large"}[status]
            body = json.dumps({"errors": [{"field": "", "message": message}]})
            self.transport.write(
                f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode()
            )
        self.transport.close()


def install() -> None:
    """Let every uvicorn of this process take it: Ray Serve's proxy has no setting for it."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{PromptProtocol.__name__}"
