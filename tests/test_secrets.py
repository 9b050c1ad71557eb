"""No command keeps or shows a secret: not in a file, a database or a line of output."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import httpx
import pytest

from echelon import COMMANDS, main
from tests.evaluation.test_delivery import Server
from tests.s3_server import SECRET, s3_server
from tests.test_network_file import TEA
from tests.waiting import wait_for
from training.job.fetched_run import fetch_run

ROOT = Path(__file__).resolve().parents[1]
PASSWORD, ENVIRONMENT = f"pl4nted/p4ss'wo rd{'-' * 100}", "pl4nted-in-the-env"
ADDRESS = f"http://ann:{urllib.parse.quote(PASSWORD, safe='')}@127.0.0.1"
NEEDLES = {
    PASSWORD, ENVIRONMENT, urllib.parse.quote(PASSWORD), urllib.parse.quote(PASSWORD, safe=""),
    base64.b64encode(f"ann:{PASSWORD}".encode()).decode(), PASSWORD.split("/")[0],
    PASSWORD.split()[1], SECRET,
}  # fmt: skip

# In this order, every command at its smallest; TRACKED ones send to a server with a password.
TRACKED = {
    "tune": ["smoke=true", "policies=[base_stock]", "cache=s3://bucket/cache", "out=tune"],
    "train": ["smoke=true", "checkpoint_every=1", "out=train", "storage=s3://bucket/runs"],
    "evaluate": ["smoke=true", "policies=[base_stock,learned]", "artifact=challenger",
                 "out=evaluate"],
    "sweep": ["smoke=true", "space={algorithm.learning_rate: {choices: [1e-3]}}", "trials=1",
              "workers=1", "out=sweep", "storage=s3://bucket/runs"],
    "report": ["smoke=true", "seeds=1", "workers=1", "out=report", "pages=pages"],
    "recommend": ["data=night", "out=lines.csv", "artifact=challenger"],
    "serve": ["serve.port=0", "serve.artifact=challenger"],
}  # fmt: skip
UNTRACKED = {
    "bound": ["network=tea.yaml", "smoke=true"],
    "show": ["network=tea.yaml", "smoke=true", "policy=base_stock", "out=show"],
    "replay": ["network=tea.yaml", "demand=demand.csv", "policy=base_stock", "out=replay"],
    "verify": ["ids=[lostsales_geometric_p4_L1]", "out=verify"],
    "doctor": ["tracking.enabled=false", "storage=runs"],
    "cluster render": ["kind=cronjob"],
}
MOVES = {  # whatever becomes of them
    "models": [],
    "promote": ["model=echelon-tea", "version=1", "force=true", "reason=test"],
    "rollback": ["model=echelon-tea", "reason=test"],
}
# On a cluster: tests/training/cluster/test_two_machines.py.
REMOTE = {"submit", "status"}


class Workplace:
    """A folder that holds all that commands write, temporary files too, and what they printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tmp").mkdir()
        # What would be filled in, were it resolved.
        text = TEA.replace("tea", '"tea ${oc.env:ECHELON_PLANTED}"')
        (folder / "tea.yaml").write_text(f"{text}base_policy: base_stock\n", encoding="utf-8")
        rows = "".join(f"{t},shop,tea ${{oc.env:ECHELON_PLANTED}},5\n" for t in range(5))
        (folder / "demand.csv").write_text(f"period,node,sku,quantity\n{rows}", encoding="utf-8")
        (folder / "night").mkdir()
        stock = "location,item,on_hand\nshop,tea ${oc.env:ECHELON_PLANTED},3\n"
        (folder / "night" / "stock.csv").write_text(stock, encoding="utf-8")

    def start(self, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        """Start a command; what it prints goes into a file of the folder."""
        own = {"ECHELON_PLANTED": ENVIRONMENT, "PYTHONPATH": str(ROOT), "HOME": str(self.folder)}
        own |= dict.fromkeys(("TMPDIR", "RAY_TMPDIR"), str(self.folder / "tmp"))
        with self.log(name).open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "echelon", *name.split(), *arguments],
                cwd=self.folder, env={**os.environ, **own}, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def run(self, name: str, arguments: list[str]) -> None:
        """Run a command, successfully."""
        assert self.start(name, arguments).wait() == 0, self.printed(name)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def printed(self, name: str) -> str:
        return self.log(name).read_text(encoding="utf-8")

    def holding(self, needle: str) -> list[str]:
        """The files that have a text somewhere in their bytes."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return [
            str(path.relative_to(self.folder))
            for path in files
            if needle.encode() in path.read_bytes()
        ]


@pytest.fixture
def workplace() -> Iterator[Workplace]:
    """With a short name: Ray's sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="e"))
    yield Workplace(folder)
    rmtree(folder, ignore_errors=True)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A storage, and its key in the environment."""
    with s3_server() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield


def test_every_command_is_tried() -> None:
    """A new command needs a case."""
    assert {*TRACKED, *UNTRACKED, *MOVES, *REMOTE} == {*COMMANDS}


@pytest.mark.nightly
def test_no_command_keeps_a_secret(workplace: Workplace, s3: None) -> None:
    """A password in tracking.uri, the key of a storage, a variable of the environment: nowhere in
    what is written, the tracking server's database and artifacts, the storage, Ray's logs and all
    temporary files among it."""
    store = workplace.folder / "server"
    store.mkdir()
    server = Server(store)
    server.start()
    try:
        tracking = f"tracking.uri={ADDRESS}:{server.port}"
        for name, arguments in TRACKED.items():
            arguments = ["network=tea.yaml", tracking, *arguments]
            if name == "serve":
                serve_one_request(workplace, arguments)
            else:
                workplace.run(name, arguments)
        for name, arguments in MOVES.items():
            assert workplace.start(name, [tracking, *arguments]).wait() in (0, 1)
            assert "echelon-tea" in workplace.printed(name)
    finally:
        server.kill()
    for name, arguments in UNTRACKED.items():
        workplace.run(name, arguments)
    # The server is gone: what is left to be sent waits in the folder.
    unsent = [*TRACKED["tune"][:-1], "out=unsent", "tracking.flush_timeout=1"]
    workplace.run("tune", ["network=tea.yaml", tracking, *unsent])
    assert "records did not reach http://***@" in workplace.printed("tune")
    assert "server/mlflow.db" in workplace.holding("base_stock")
    for number, place in enumerate(("train", "sweep/trial_000")):
        fetch_run(f"s3://bucket/runs/{place}", workplace.folder / f"stored_{number}")
    assert "train/tracking_events.jsonl" in workplace.holding("***@127.0.0.1")
    found = {needle: workplace.holding(needle) for needle in NEEDLES}
    assert not any(found.values()), found


def serve_one_request(workplace: Workplace, arguments: list[str]) -> None:
    """Start `echelon serve`, ask it once, stop it."""
    process = workplace.start("serve", arguments)
    try:
        wait_for(lambda: process.poll() is not None or "curl" in workplace.printed("serve"))
        assert process.poll() is None, workplace.printed("serve")
        url = workplace.printed("serve").partition("curl -s ")[2].split()[0]
        row = {"location": "shop", "item": "tea ${oc.env:ECHELON_PLANTED}", "on_hand": 0}
        assert httpx.post(url, json={"stock": [row]}).status_code == 200
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


MISTYPED = [
    "tracking.uri=${oc.env:ECHELON_PLANTED}",
    "out=${oc.env:ECHELON_PLANTED}",
    f"trackin.uri={ADDRESS}",
    f"+tracking.url={ADDRESS}",
    f"seed={ADDRESS}",
    f"seed=[1,'{ADDRESS}']",
    f"network={ADDRESS}/network.yaml",
    f"trackin.uri=http://ann:{PASSWORD}@127.0.0.1",
    f"seed=http://ann:{PASSWORD}@127.0.0.1",
    f"{ADDRESS}=1",
    f"{ADDRESS}",
    f"storage=s3://{ADDRESS.partition('//')[2]}/runs",
    f"storage=s3://bucket/runs?secret_key={ENVIRONMENT}",
]


@pytest.mark.nightly
@pytest.mark.parametrize("name", COMMANDS)
def test_no_mistake_shows_a_secret(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a wrong key, where a number is wanted, or to be filled in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECHELON_PLANTED", ENVIRONMENT)
    for typed in MISTYPED:
        assert main([name, typed]) == 1
        printed = "".join(capsys.readouterr())
        assert printed
        for needle in NEEDLES:
            assert needle not in printed, printed
    assert not list(tmp_path.rglob("*"))
