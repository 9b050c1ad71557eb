"""Where Ray Serve's proxy gets the front from: RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH."""

from __future__ import annotations

import os

from starlette.middleware import Middleware

from serving.front import protocol
from serving.front.front import Front
from serving.front.keys import read_keys
from serving.front.settings import FrontSettings

PATH = f"{__name__}.middlewares"


def middlewares() -> list[Middleware]:
    """Return the front with the environment's settings and keys. Raises ConfigError, and then
    the proxy doesn't start."""
    protocol.install()
    keys = read_keys(os.environ)
    return [Middleware(Front, settings=FrontSettings.from_environment(), keys=keys)]
