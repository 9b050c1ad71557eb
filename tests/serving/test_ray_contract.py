"""What is private in Ray Serve and uvicorn, and built on: a new version has to be alike."""

from __future__ import annotations

import asyncio
import inspect
import os
from types import ModuleType

import psutil
import pytest

from evaluation.loopback import is_loopback
from serving.app import _CALLBACK, ENVIRONMENT, _keep_replica_on_loopback


@pytest.fixture(scope="module")
def replica() -> ModuleType:
    from ray.serve._private import replica

    return replica


def test_a_replicas_own_port_can_be_kept_on_loopback(
    replica: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened on every interface by this one call, which is why the call is replaced."""
    from grpc import aio

    source = inspect.getsource(replica)
    assert source.count('add_port_to_grpc_server(self._server, "[::]:0")') == 1
    monkeypatch.setattr(replica, "add_port_to_grpc_server", replica.add_port_to_grpc_server)
    _keep_replica_on_loopback()

    async def open_and_look() -> str:
        server = aio.server()
        port = replica.add_port_to_grpc_server(server, "[::]:0")
        await server.start()
        try:
            [address] = {
                c.laddr.ip for c in psutil.Process().net_connections("tcp") if c.laddr.port == port
            }
        finally:
            await server.stop(None)
        return address

    assert is_loopback(asyncio.run(open_and_look()))


def test_serve_reads_what_is_set() -> None:
    """Each variable by its name; and the proxy takes the middlewares of ours."""
    from ray.serve._private import constants, http_util, proxy

    text = "".join(inspect.getsource(module) for module in (constants, http_util, proxy))
    for name in ENVIRONMENT:
        assert name in text or name == "RAY_USAGE_STATS_ENABLED", name
    assert "configure_http_middlewares(http_options)" in text
    made = http_util.validate_http_proxy_callback_return(
        http_util.call_function_from_import_path(ENVIRONMENT[_CALLBACK])
    )
    assert [middleware.cls.__name__ for middleware in made] == ["Front"]
    assert os.environ.get(_CALLBACK) is None


def test_serves_proxy_takes_the_protocol_that_is_named_auto() -> None:
    """It gives uvicorn none, so that ours can take that name."""
    import uvicorn
    from ray.serve._private import http_util

    source = inspect.getsource(http_util.start_asgi_http_server)
    assert "uvicorn.Config(" in source
    assert " http=" not in source
    assert uvicorn.Config(lambda: None).http == "auto"
