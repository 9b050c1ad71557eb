"""The page "On a cluster", word for word: two nodes, in network namespaces of their own."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator, Mapping

import pytest

from tests.machines import ROOT, TwoMachines
from tests.waiting import wait_for

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


class PageMachines(TwoMachines):
    """With the page's scripts; a secret is planted on every machine."""

    def __init__(self) -> None:
        super().__init__()
        (self.folder / "shared").mkdir()
        (self.folder / ".venv" / "bin").mkdir(parents=True)
        (self.folder / ".venv" / "bin" / "activate").write_text("", encoding="utf-8")
        [section] = re.findall(
            r"^## Two machines\n(.*?)^## ", PAGE.read_text(encoding="utf-8") + "## ", re.M | re.S
        )
        self.first, self.second, self.use = (
            self._here(block) for block in re.findall(r"^```sh\n(.*?)^```", section, re.M | re.S)
        )

    def _here(self, text: str) -> str:
        return text.replace("/mnt/shared", str(self.folder / "shared"))

    def environment(self, node: int) -> Mapping[str, str]:
        """And the planted secret."""
        secrets = dict.fromkeys(("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY"), SECRET)
        return {**super().environment(node), **secrets}

    def holding(self, needle: str) -> list[str]:
        """The files that have a text somewhere in their bytes."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return [str(path) for path in files if needle.encode() in path.read_bytes()]


@pytest.fixture
def machines() -> Iterator[PageMachines]:
    """Two."""
    with PageMachines() as made:
        yield made


@pytest.mark.nightly
def test_the_page_works_and_keeps_no_secret(machines: PageMachines) -> None:
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
    job = machines.start(1, f"{activate}\nexec {submit} {ppo}", log)
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
    job = machines.start(1, f"{activate}\nexec {again} checkpoint_every=1000 tune.budget=10", log)
    metrics = machines.folder / "shared" / "second" / "metrics.jsonl"
    wait_for(lambda: job.poll() is not None or (metrics.exists() and metrics.stat().st_size > 0))
    job.send_signal(signal.SIGINT)
    assert job.wait() == 130, log.read_text()
    assert any((metrics.parent / "checkpoints").iterdir()), log.read_text()
    assert "stopped" in machines.run(1, f"{activate}\n{status}")

    assert machines.holding("Running entrypoint"), "Ray's logs are among what is searched"
    assert machines.holding(SECRET) == []
