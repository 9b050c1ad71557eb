"""The page "On a cluster", word for word: two nodes, in network namespaces of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "how_to" / "cluster.md"
SECRET = "pl4nted-on-every-node"
DISCOVERY = "prom_metrics_service_discovery.json"  # Ray's list for Prometheus
# Print what an address answers, without a token, or the error.
GET = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1]).read().decode())
except urllib.error.HTTPError as error:
    print(error.code)
"""
NODE = "ECHELON_TEST_NODE"  # in the environment of a node's processes: which one


def ip(*arguments: str) -> None:
    """Run iproute2's command."""
    subprocess.run(["ip", *arguments], check=True)


def space(node: int) -> str:
    """The name of a machine's network namespace, and of its end of the cable."""
    return f"ech{os.getpid()}n{node}"


class TwoMachines:
    """Two machines in one: each has a network of its own, with the page's address in it; home and
    shared folder are a test's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "shared").mkdir()
        (folder / ".venv" / "bin").mkdir(parents=True)
        (folder / ".venv" / "bin" / "activate").write_text("", encoding="utf-8")
        [section] = re.findall(
            r"^## Two machines\n(.*?)^## ", PAGE.read_text(encoding="utf-8") + "## ", re.M | re.S
        )
        self.first, self.second, self.use = (
            self._here(block) for block in re.findall(r"^```sh\n(.*?)^```", section, re.M | re.S)
        )

    def _here(self, text: str) -> str:
        return text.replace("/mnt/shared", str(self.folder / "shared"))

    def connect(self) -> None:
        """Give each machine its network, and put a cable between them."""
        for node in (1, 2):
            ip("netns", "add", space(node))
        ip("link", "add", space(1), "netns", space(1), "type", "veth",
           "peer", "name", space(2), "netns", space(2))  # fmt: skip
        for node in (1, 2):
            ip("-n", space(node), "addr", "add", f"10.0.0.{node}/24", "dev", space(node))
            ip("-n", space(node), "link", "set", space(node), "up")
            ip("-n", space(node), "link", "set", "lo", "up")

    def command(self, node: int, script: str) -> list[str]:
        """Run a script on a machine."""
        return ["ip", "netns", "exec", space(node), "bash", "-e", "-c", script]

    def environment(self, node: int) -> Mapping[str, str]:
        """Of a machine: this environment's programs, a home of its own, the planted secret."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "ECHELON_"))}
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {"HOME": str(self.folder), "PATH": programs, "PYTHONPATH": str(ROOT), NODE: str(node)}
        own |= dict.fromkeys(("TMPDIR", "RAY_TMPDIR"), str(self.folder / "t"))
        secrets = dict.fromkeys(("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY"), SECRET)
        return {**kept, **own, **secrets}

    def run(self, node: int, script: str) -> str:
        """Run a script of the page on a machine, successfully; returns what it printed."""
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

    def start(self, script: str, log: Path) -> subprocess.Popen[bytes]:
        """Run a script on the first machine; what it prints goes into a file."""
        with log.open("wb") as output:
            return subprocess.Popen(
                self.command(1, script), cwd=self.folder, env=self.environment(1),
                stdout=output, stderr=subprocess.STDOUT,
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
            if own.get("HOME") == str(self.folder) and own.get(NODE) == str(node):
                found.append(process)
        return found

    def kill(self, node: int) -> None:
        """The machine is gone."""
        for process in self.processes(node):
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue

    def holding(self, needle: str) -> list[str]:
        """The files that have a text somewhere in their bytes."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return [str(path) for path in files if needle.encode() in path.read_bytes()]


@pytest.fixture
def machines() -> Iterator[TwoMachines]:
    """With a short name: Ray's sockets lie in it. All that they started has ended afterwards."""
    assert os.geteuid() == 0, "only root makes network namespaces: run this test as root"
    folder = Path(tempfile.mkdtemp(prefix="e"))
    (folder / "t").mkdir()
    made = TwoMachines(folder)
    try:
        made.connect()
        yield made
    finally:
        for node in (1, 2):
            made.kill(node)
            subprocess.run(["ip", "netns", "delete", space(node)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.nightly
def test_the_page_works_and_keeps_no_secret(machines: TwoMachines) -> None:
    """Two nodes, seen by Prometheus; a training is sent, loses the second node on the way, and is
    registered; another one is stopped, and saves what it has."""
    machines.join(1, machines.first)
    machines.join(2, machines.second)
    activate, doctor, submit, status = machines.use.splitlines()
    printed = machines.run(1, f"{activate}\n{doctor}")
    assert "Nothing is wrong." in printed
    assert "10.0.0.2" in printed
    wait_for(lambda: machines.run(1, f"{activate}\n{status}").count("ALIVE") == 2)

    [listed] = json.loads((machines.folder / "t/ray" / DISCOVERY).read_text(encoding="utf-8"))
    for address in ("10.0.0.1", "10.0.0.2"):
        [target] = [t for t in listed["targets"] if t.startswith(f"{address}:")][:1]
        assert "ray_" in machines.run(1, f"python -c '{GET}' http://{target}/metrics")
    assert "401" in machines.run(1, f"python -c '{GET}' http://127.0.0.1:8265/api/jobs/")

    log = machines.folder / "submit.log"
    ppo = "algorithm=ppo algorithm.iterations=12 resources.env_runners=2 tune.budget=10"
    job = machines.start(f"{activate}\nexec {submit} {ppo}", log)
    run = machines.folder / "shared" / "first"
    metrics = run / "metrics.jsonl"
    wait_for(lambda: job.poll() is not None or (metrics.exists() and metrics.stat().st_size > 0))
    assert job.poll() is None, log.read_text()
    machines.kill(2)
    assert job.wait() == 0, log.read_text()
    assert "Registered echelon-lost_sales version 1" in log.read_text()
    assert (run / "policy" / "manifest.json").exists()
    assert "succeeded" in machines.run(1, f"{activate}\n{status}")

    again = submit.replace("shared/first", "shared/second")
    job = machines.start(f"{activate}\nexec {again} checkpoint_every=1000 tune.budget=10", log)
    metrics = machines.folder / "shared" / "second" / "metrics.jsonl"
    wait_for(lambda: job.poll() is not None or (metrics.exists() and metrics.stat().st_size > 0))
    job.send_signal(signal.SIGINT)
    assert job.wait() == 130, log.read_text()
    assert any((metrics.parent / "checkpoints").iterdir()), log.read_text()
    assert "stopped" in machines.run(1, f"{activate}\n{status}")

    assert machines.holding("Running entrypoint"), "Ray's logs are among what is searched"
    assert machines.holding(SECRET) == []
