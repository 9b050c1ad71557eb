"""One file, written once: the same run again, one that was killed, one whose tables were mended."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from echelon import main
from envs.scenario import Scenario
from evaluation.artifact.registry import set_classical_only
from evaluation.batch.network import Lines, NetworkJob
from evaluation.files.sealed_json import read_sealed
from evaluation.progress import Progress
from tests.evaluation.batch.folders import CHAIN, write_tables
from tests.evaluation.recommendation.artifacts import write_artifact
from tests.s3_server import s3_server
from tests.serving.registry import Registry
from tests.waiting import wait_for

NETWORKS = ("acme", "Zürich (süd), #2", "zeta")
ROOT = Path(__file__).resolve().parents[3]
STOCK = {"location": "store_000", "item": "item_00", "on_hand": 3.0}


@pytest.fixture
def places(chain: Scenario, tmp_path: Path) -> Path:
    """Tables and policies of three networks."""
    for seed, name in enumerate(NETWORKS):
        write_artifact(tmp_path / "policies" / name, chain, seed=seed)
        stock = [{**STOCK, "on_hand": float(seed)}]
        write_tables(tmp_path / "data" / name, {**CHAIN, "stock": stock}, ".parquet")
    return tmp_path


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The networks whose lines are computed."""
    names: list[str] = []
    run = NetworkJob.run

    def noted(job: NetworkJob, progress: Progress) -> Lines:
        names.append(job.network)
        return run(job, progress)

    monkeypatch.setattr(NetworkJob, "run", noted)
    return names


def options(places: Path, *more: str) -> list[str]:
    given = [f"data={places / 'data'}", f"artifact={places / 'policies'}"]
    return ["recommend", *given, f"out={places / 'lines.parquet'}", *more]


def test_a_run_is_done_once(
    places: Path, computed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Again it does nothing and says the same; with a new stock it is another run."""
    assert main(options(places)) == 0
    first, out = (places / "lines.parquet").read_bytes(), capsys.readouterr().out
    written = sorted(NETWORKS)
    assert computed == written
    lines = pd.read_parquet(places / "lines.parquet")
    assert list(dict.fromkeys(lines["network"])) == written
    record = read_sealed(places / "lines.parquet.json")
    assert [network["network"] for network in record["networks"]] == written
    assert {p.name for p in places.iterdir()} == {
        "data", "policies", "lines.parquet", "lines.parquet.json",
    }  # fmt: skip
    for text in ("By supplier", "warehouse", "MISSING_STOCK", f"(run {record['run_id']})"):
        assert text in out
    assert main(options(places)) == 0
    again = capsys.readouterr().out
    assert "had written" in again
    assert out.split("Orders")[1].split("Wrote")[0] == again.split("Orders")[1].split("Run ")[0]
    assert computed == written
    assert (places / "lines.parquet").read_bytes() == first
    write_tables(places / "data" / "acme", {"stock": [{**STOCK, "on_hand": 99.0}]}, ".parquet")
    assert main(options(places)) == 0
    assert (places / "lines.parquet").read_bytes() != first


def test_a_run_id_is_of_one_input(
    places: Path, computed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is gone is written again, the same; other tables are refused."""
    assert main(options(places, "run_id=night")) == 0
    first = (places / "lines.parquet").read_bytes()
    (places / "lines.parquet").unlink()
    assert main(options(places, "run_id=night")) == 0
    assert (places / "lines.parquet").read_bytes() == first
    assert len(computed) == 6
    capsys.readouterr()
    assert main(options(places, "run_id=night", "policy=classical")) == 1
    assert "run_id 'night' has written" in capsys.readouterr().err
    assert (places / "lines.parquet").read_bytes() == first
    assert main(options(places, "run_id=morning", "policy=classical")) == 0
    assert (places / "lines.parquet").read_bytes() != first


def test_what_is_done_is_kept_when_a_table_is_mended(
    places: Path, computed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written while a network fails; then only that one is computed."""
    wrong = places / "data" / "acme" / "prices.csv"
    wrong.write_text("lane,unit_price\nnowhere,1\n")
    assert main(options(places, "run_id=night")) == 1
    got = capsys.readouterr()
    assert f"{wrong}, line 2: lane is 'nowhere'" in got.err
    assert "1 of 3 networks failed, so nothing was written" in got.out
    assert not (places / "lines.parquet").exists()
    wrong.unlink()
    computed.clear()
    assert main(options(places, "run_id=night")) == 0
    assert computed == ["acme"]
    assert "2 of 3 networks done before" in capsys.readouterr().out
    assert len(pd.read_parquet(places / "lines.parquet")["network"].unique()) == 3


def test_a_version_is_kept_to_for_a_run(
    registry: Registry, places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A promotion in between changes a run that begins anew, not one that goes on; an operator's
    switch to the base policy is heeded."""
    registry.register(places / "policies" / "acme")
    data = places / "data" / "acme"
    given = ["recommend", f"data={data}", "model=echelon", f"tracking.uri={registry.uri}"]
    out = places / "lines.csv"
    (data / "prices.csv").write_text("lane,unit_price\nnowhere,1\n")
    assert main([*given, f"out={out}", "run_id=night"]) == 1
    (data / "prices.csv").unlink()
    registry.register(places / "policies" / "zeta")
    for run, version in (("night", "1"), ("night", "1"), ("morning", "2")):
        assert main([*given, f"out={out}", f"run_id={run}"]) == 0
        [network] = read_sealed(places / "lines.csv.json")["networks"]
        assert network["model"]["version"] == version
        assert network["model"]["name"] == "echelon"
    assert set(pd.read_csv(out)["network"]) == {"echelon"}
    assert pd.read_csv(out)["delta"].any()
    set_classical_only("echelon", registry.uri, "{}")
    assert main([*given, f"out={out}"]) == 0
    assert "CLASSICAL_ONLY" in capsys.readouterr().out
    assert not pd.read_csv(out)["delta"].any()
    assert main([*given[:2], f"out={out}", f"tracking.uri={registry.uri}"]) == 1
    assert "no model is registered as echelon-retail@champion" in capsys.readouterr().err


def test_tables_and_lines_lie_in_a_storage(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An S3 server for all: the same lines as from the disk, and nothing but them is left."""
    assert main(options(places)) == 0
    from evaluation.files.storage import open_storage

    with s3_server() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        store = open_storage("s3://bucket")
        for path in sorted((places / "data").rglob("*.parquet")):
            store.at("data", path.parent.name).put_file(path, path.name)
        uris = ["data=s3://bucket/data", "out=s3://bucket/out/lines.parquet"]
        for _ in range(2):
            assert main([*options(places), *uris]) == 0
        assert store.at("out").files() == ["lines.parquet", "lines.parquet.json"]
        store.at("out").fetch_file("lines.parquet", places / "got.parquet")
    assert (places / "got.parquet").read_bytes() == (places / "lines.parquet").read_bytes()


@pytest.mark.nightly
def test_a_run_that_is_killed_goes_on(places: Path) -> None:
    """SIGKILL at any moment: no half file, and in the end the one of a run left in peace."""
    chance = random.Random(7)
    assert main(options(places, "run_id=whole")) == 0
    out = places / "lines.parquet"
    expected, done = out.read_bytes(), 0
    out.unlink()
    (places / "lines.parquet.json").unlink()
    command = [sys.executable, "-m", "echelon", *options(places, "run_id=killed")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parts = places / ".lines.parquet.parts"
    for _ in range(4):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        before = len(list(parts.glob("*/SHA256SUMS")))
        wait_for(lambda: process.poll() is not None  # noqa: B023 - in this round
                 or len(list(parts.glob("*/SHA256SUMS"))) > before)  # noqa: B023  # fmt: skip
        time.sleep(chance.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not out.exists() or out.read_bytes() == expected
        done = max(done, before)
    assert done > 0
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert out.read_bytes() == expected
    assert not parts.exists()


@pytest.mark.nightly
def test_networks_are_done_side_by_side_on_ray(places: Path) -> None:
    """Two workers give the same bytes as one; in a process of its own, with its own Ray."""
    assert main(options(places)) == 0
    two = [*options(places, "workers=2"), f"out={places / 'two.parquet'}"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    subprocess.run(
        [sys.executable, "-m", "echelon", *two], env={**environment, "PYTHONPATH": str(ROOT)},
        check=True, cwd=places,
    )  # fmt: skip
    assert (places / "two.parquet").read_bytes() == (places / "lines.parquet").read_bytes()
