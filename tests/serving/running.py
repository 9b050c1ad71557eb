"""`echelon serve` for real, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from tests.serving.registry import Registry
from tests.waiting import wait_for

__all__ = ["JSON", "PATIENT", "SNAPSHOT", "Server", "serving"]

ROOT = Path(__file__).resolve().parents[2]
JSON = {"Content-Type": "application/json"}
SNAPSHOT = {"stock": [{"location": "store_000", "item": "item_00", "on_hand": 3}]}
PATIENT = 600.0  # seconds: no test depends on speed


class Server:
    """A running `echelon serve` as its user sees it."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self._log = process, log

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def started(self) -> bool:
        assert self.process.poll() is None, self.output
        return "curl" in self.output

    @property
    def url(self) -> str:
        found = re.search(r"https?://127\.0\.0\.1:\d+", self.output)
        assert found is not None
        return found[0]

    def version(self) -> str:
        got = httpx.get(f"{self.url}/v1/health", timeout=PATIENT)
        return str(got.json()["model"]["version"])


@contextmanager
def serving(registry: Registry, *more: str) -> Iterator[Server]:
    """The command in a process of its own; killed with all its children at the end.

    more: arguments.
    """
    log = registry.folder / "serve.log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "echelon", "serve", "serve.port=0", "serve.poll_seconds=0.2",
             "serve.model=echelon", f"serve.cache={registry.folder / 'cache'}",
             f"serve.access_log={registry.folder / 'access.jsonl'}",
             f"tracking.uri={registry.uri}", *more],
            cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, text=True, env=environment,
        )  # fmt: skip
    children: list[psutil.Process] = []
    try:
        server = Server(process, log)
        wait_for(lambda: server.started)
        children = psutil.Process(process.pid).children(recursive=True)
        yield server
    finally:
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
        for child in children:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
        process.wait(10)
