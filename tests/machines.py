"""Two machines in one: network namespaces, with a cable between them that can be pulled.

Needs root, and iproute2, a package of Debian that is installed where it is missing.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import psutil

ROOT = Path(__file__).resolve().parents[1]
HEAD = "10.0.0.1:6379"  # where the first machine's Ray listens
_NODE = "ECHELON_TEST_NODE"  # in the environment of a machine's processes: which one


def need_root() -> None:
    """Raise RuntimeError where this process can't change networks and mounts."""
    if os.geteuid() != 0:
        raise RuntimeError("the test changes networks or mounts; expected root: run it as root.")


def ip(*arguments: str) -> None:
    """Run iproute2's command."""
    if shutil.which("ip") is None:
        subprocess.run(["apt-get", "update"], check=True)
        subprocess.run(["apt-get", "install", "--yes", "iproute2"], check=True)
    subprocess.run(["ip", *arguments], check=True)


def space(node: int) -> str:
    """The name of a machine's network namespace, and of its end of the cable."""
    return f"ech{os.getpid()}n{node}"


class TwoMachines:
    """Machine 1 is 10.0.0.1, machine 2 is 10.0.0.2; their home and temporary folders are a test's.

    All that they started has ended after the `with` block.
    """

    def __init__(self) -> None:
        need_root()
        # With a short name: Ray's sockets lie in it.
        self.folder = Path(tempfile.mkdtemp(prefix="e"))
        (self.folder / "t").mkdir()

    def __enter__(self) -> Self:
        try:
            self._connect()
        except BaseException:
            self.close()
            raise
        return self

    def _connect(self) -> None:
        for node in (1, 2):
            ip("netns", "add", space(node))
        ip("link", "add", space(1), "netns", space(1), "type", "veth",
           "peer", "name", space(2), "netns", space(2))  # fmt: skip
        for node in (1, 2):
            ip("-n", space(node), "addr", "add", f"10.0.0.{node}/24", "dev", space(node))
            ip("-n", space(node), "link", "set", "lo", "up")
            ip("-n", space(node), "link", "set", space(node), "up")

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, take the network away."""
        for node in (1, 2):
            self.kill(node)
            subprocess.run(["ip", "netns", "delete", space(node)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def pull(self) -> None:
        """Pull the cable: what is sent is lost, and nobody is told."""
        ip("-n", space(2), "link", "set", space(2), "down")

    def plug(self) -> None:
        """Put it back."""
        ip("-n", space(2), "link", "set", space(2), "up")

    def command(self, node: int, script: str) -> list[str]:
        """Run a script on a machine."""
        return ["ip", "netns", "exec", space(node), "bash", "-e", "-c", script]

    def environment(self, node: int) -> Mapping[str, str]:
        """Of a machine: this environment's programs, a home of its own."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "ECHELON_"))}
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {
            "HOME": str(self.folder), "PATH": programs, "PYTHONPATH": str(ROOT), _NODE: str(node)
        }  # fmt: skip
        return {**kept, **own, **dict.fromkeys(("TMPDIR", "RAY_TMPDIR"), str(self.folder / "t"))}

    def run(self, node: int, script: str) -> str:
        """Run a script on a machine, successfully; returns what it printed."""
        done = subprocess.run(
            self.command(node, script), cwd=self.folder, env=self.environment(node),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout}\n{self.logs()}"
        return done.stdout

    def join(self, node: int, script: str) -> None:
        """Start a machine's Ray, twice at most: on a loaded machine it gives up by itself."""
        try:
            self.run(node, script)
        except AssertionError:
            self.kill(node)
            self.run(node, script)

    def start_ray(self, node: int, cpus: int = 1) -> None:
        """Start a machine's Ray; the first one's is the head."""
        where = "--head --port=6379 --include-dashboard=false" if node == 1 else f"--address={HEAD}"
        self.join(
            node,
            f"ray start {where} --node-ip-address=10.0.0.{node} --num-cpus={cpus} "
            "--disable-usage-stats --object-store-memory=100000000",
        )

    def start(self, node: int, script: str, log: Path) -> subprocess.Popen[bytes]:
        """Run a script on a machine; what it prints goes into a file."""
        with log.open("wb") as output:
            return subprocess.Popen(
                self.command(node, script), cwd=self.folder, env=self.environment(node),
                stdout=output, stderr=subprocess.STDOUT,
                # What a shell starts in the background ignores it, and so do its children.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )  # fmt: skip

    def logs(self) -> str:
        """What went wrong, for a failed test."""
        errors = (self.folder / "t").rglob("*.err")
        return "\n".join(path.read_text(encoding="utf-8")[-2000:] for path in errors)

    def processes(self, node: int) -> list[psutil.Process]:
        """All of a machine's."""
        found = []
        for process in psutil.process_iter():
            try:
                own = process.environ()
            except psutil.Error:
                continue
            if own.get("HOME") == str(self.folder) and own.get(_NODE) == str(node):
                found.append(process)
        return found

    def kill(self, node: int) -> None:
        """The machine is gone."""
        for process in self.processes(node):
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
