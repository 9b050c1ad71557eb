"""A team's tracking: PostgreSQL for runs, S3 for files, many runs at once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient

from evaluation.artifact.registry import resolve_artifact
from evaluation.tracking.tracker import Tracker
from tests.evaluation.conftest import EXPERIMENT, config_for
from tests.postgres import postgres_server
from tests.s3_server import s3_server

RUNS, PROCESSES, STEPS = 16, 4, 30


@pytest.fixture
def uri(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A new store whose experiment keeps its files in a bucket."""
    with s3_server() as variables, postgres_server() as uri:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        MlflowClient(uri).create_experiment(EXPERIMENT, "s3://bucket/mlruns")
        yield uri


def track(uri: str, folder: Path, number: int) -> str | None:
    """One run; returns the version of the model that it registers."""
    (folder / "policy").mkdir(parents=True)
    (folder / "policy" / "manifest.json").write_text(f"{number}")
    with Tracker(config_for(uri), folder) as tracker:
        tracker.start(f"run {number}", {"seed": number})
        for step in range(STEPS):
            tracker.log_metrics(step, {"loss": step + number / 100})
        tracker.log_artifacts(folder / "policy" / "manifest.json", "tables")
        return tracker.register_model("team", folder / "policy")


def track_side_by_side(uri: str, folder: Path, numbers: list[int]) -> list[str | None]:
    """Several runs of one process."""
    with ThreadPoolExecutor(len(numbers)) as pool:
        return list(pool.map(lambda n: track(uri, folder / f"run_{n}", n), numbers))


@pytest.mark.nightly
def test_sixteen_runs_at_once(uri: str, tmp_path: Path) -> None:
    """Every step, file and version arrives, the alias on one of them; and is found again."""
    parts = [list(range(first, RUNS, PROCESSES)) for first in range(PROCESSES)]
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        ended = [pool.submit(track_side_by_side, uri, tmp_path, part) for part in parts]
        found = [one.result() for one in ended]
    versions = {
        n: v for part, of in zip(parts, found, strict=True) for n, v in zip(part, of, strict=True)
    }
    assert sorted(int(v or 0) for v in versions.values()) == list(range(1, RUNS + 1))

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sorted(int(run.data.params["seed"]) for run in runs) == list(range(RUNS))
    for run in runs:
        history = client.get_metric_history(run.info.run_id, "loss")
        number = int(run.data.params["seed"])
        assert sorted(m.value for m in history) == [step + number / 100 for step in range(STEPS)]
        [file] = client.list_artifacts(run.info.run_id, "tables")
        assert file.path == "tables/manifest.json"
    for number, version in versions.items():
        policy = resolve_artifact(str(version), "team", uri).folder
        assert (policy / "manifest.json").read_text() == f"{number}"
    assert resolve_artifact("challenger", "team", uri).version in versions.values()
