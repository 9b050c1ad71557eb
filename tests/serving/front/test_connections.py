"""Real connections to a real uvicorn that took the front's protocol as Ray Serve's proxy does."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from serving.front import body, protocol
from serving.front.front import Front
from serving.front.settings import FrontSettings
from tests.waiting import wait_for

URL = "/v1/recommendations"
HEAD = b"POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


async def _echo_length(scope: Any, receive: Any, send: Any) -> None:
    text = (await receive())["body"]
    length = json.dumps(len(text)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(length))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": length})


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """Of a server in this process, whose time-outs are a tenth."""
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr(body, "BODY_SECONDS", 0.3)
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", "")
    protocol.install()
    # As ray.serve._private.http_util makes it: a protocol can't be given.
    config = uvicorn.Config(
        lambda: Front(_echo_length, FrontSettings(at_once=4)), factory=True, lifespan="off",
        log_config=None, host="127.0.0.1", port=0,
    )  # fmt: skip
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        wait_for(lambda: server.started)
        yield listening.getsockname()
        server.should_exit = True
        thread.join()


def received(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    connection.settimeout(30)
    got = b""
    while chunk := connection.recv(65536):
        got += chunk
    return got


def test_slow_headers_and_bodies_are_cut_and_good_requests_are_not(
    address: tuple[str, int],
) -> None:
    """Far more of them than requests are passed on at a time."""
    slow = [socket.create_connection(address) for _ in range(60)]
    for i, connection in enumerate(slow):
        if i % 3 == 0:
            connection.sendall(HEAD)  # no end of the headers
        elif i % 3 == 1:
            connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
    url = f"http://{address[0]}:{address[1]}{URL}"
    with httpx.Client() as client:
        assert {client.post(url, json={}).status_code for _ in range(20)} == {200}
    got = [received(connection) for connection in slow]
    for connection in slow:
        connection.close()
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in got[0::3])
    assert all(b'"errors"' in answer for answer in got[0::3] + got[1::3])
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in got[1::3])
    assert set(got[2::3]) == {b""}  # nothing was asked


def test_headers_without_end_are_refused(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(HEAD + b"X-Long: " + b"x" * (protocol.MAX_HEADER_BYTES + 1))
        assert received(connection).startswith(b"HTTP/1.1 431 ")


def test_a_connection_is_kept_between_requests(address: tuple[str, int]) -> None:
    """Only a request that has begun has a deadline, and each has its own."""
    request = HEAD + b"Content-Length: 2\r\n\r\n{}"
    with socket.create_connection(address) as connection:
        for _ in range(2):
            connection.sendall(request)
            got = b""
            while not got.endswith(b"\r\n\r\n2"):
                got += connection.recv(65536)
            assert got.startswith(b"HTTP/1.1 200 ")
            threading.Event().wait(0.5)  # longer than headers may take
        connection.sendall(HEAD)
        assert received(connection).startswith(b"HTTP/1.1 408 ")


def test_a_body_without_end_is_refused_early(address: tuple[str, int]) -> None:
    """In chunks, undeclared: the answer comes though the sender has not stopped."""
    with socket.create_connection(address) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
        sent = 0
        try:
            while sent < 400:
                connection.sendall(chunk)
                sent += 1
        except OSError:
            pass
        assert sent < 100
        assert received(connection).startswith(b"HTTP/1.1 413 ")
