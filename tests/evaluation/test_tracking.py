"""Tracking: what arrives at MLflow, over a real local database."""

from __future__ import annotations

import json
import logging
import math
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy.orm
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import _get_managed_session_maker

from envs.errors import ConfigError
from evaluation.artifact.registry import resolve_artifact
from evaluation.files.json_lines import read_lines
from evaluation.revision import git_revision
from evaluation.tracking.config import TrackingConfig
from evaluation.tracking.mlflow_destination import _refusals
from evaluation.tracking.tracker import Tracker, resend
from tests.evaluation.conftest import EXPERIMENT, config_for
from tests.waiting import wait_for


def history(uri: str, run_id: str, name: str) -> list[tuple[int, float]]:
    found = MlflowClient(uri).get_metric_history(run_id, name)
    return sorted((metric.step, metric.value) for metric in found)


def only_run(uri: str) -> Any:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def warnings(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING)


def test_run_arrives_complete(tmp_path: Path, local: TrackingConfig) -> None:
    """Parameters, tags, metrics with their steps, files, data set and status."""
    folder = tmp_path / "run"
    params = {f"group.p{n}": n for n in range(250)} | {"long": "x" * 9000, "odd=name*": None}
    with Tracker(local, folder) as tracker:
        tags = {"scenario": "beer", "command": "train"}
        tracker.start("first", params, tags, "# What it is")
        for step in range(1, 6):
            tracker.log_metrics(step, {"return/mean": step / 2, "bad": math.nan})
        (folder / "cost.png").write_bytes(b"picture")
        tracker.log_artifacts(folder / "cost.png", "figures")
        (folder / "tables").mkdir()
        (folder / "tables" / "kpis.json").write_text("[]")
        tracker.log_artifacts(folder / "tables", "tables")
        tracker.log_dataset("demand", "ab" * 32, "data/demand.parquet", "training", {"rows": 3})
        tracker.set_tags({"verdict": "better"})
    run = only_run(local.uri)
    assert run.info.run_name == "first"
    assert run.info.status == "FINISHED"
    assert len(run.data.params) == 252
    assert run.data.params["group.p249"] == "249"
    assert len(run.data.params["long"]) == 5000
    assert run.data.params["odd_name_"] == "None"
    assert run.data.tags["scenario"] == "beer"
    expected = [(step, step / 2) for step in range(1, 6)]
    assert history(local.uri, run.info.run_id, "return/mean") == expected
    assert math.isnan(run.data.metrics["bad"])
    assert run.data.tags["verdict"] == "better"
    assert run.data.tags["mlflow.note.content"] == "# What it is"
    assert run.data.tags["mlflow.source.name"] == "echelon train"
    assert run.data.tags["mlflow.source.git.commit"] == git_revision()
    [used] = run.inputs.dataset_inputs
    assert (used.dataset.name, json.loads(used.dataset.profile)) == ("demand", {"rows": 3})
    assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "training")]
    experiment = MlflowClient(local.uri).get_experiment(run.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    files = Path(download_artifacts(run_id=run.info.run_id, tracking_uri=local.uri))
    assert (files / "figures" / "cost.png").read_bytes() == b"picture"
    assert (files / "tables" / "kpis.json").exists()
    recorded = read_lines(folder / "metrics.jsonl")[0]
    assert [record["step"] for record in recorded] == [1, 2, 3, 4, 5]
    assert recorded[0]["metrics"]["return/mean"] == 0.5


def test_a_run_that_goes_on_from_an_older_copy_doubles_nothing(
    tmp_path: Path, local: TrackingConfig
) -> None:
    """On another machine, from a storage that had less than the server."""
    tracker = Tracker(local, tmp_path / "run")
    tracker.start("first")
    for step in range(1, 6):
        if step == 4:
            wait_for(lambda: tracker.run_id is not None)
            shutil.copytree(tmp_path / "run", tmp_path / "copy")
        tracker.log_metrics(step, {"loss": float(step)})
    tracker.finish()
    with Tracker(local, tmp_path / "copy", resumed=True) as again:
        again.start("first")
        for step in range(3, 8):
            again.log_metrics(step, {"loss": float(step), "new": 0.0})
    run = only_run(local.uri).info.run_id
    assert history(local.uri, run, "loss") == [(step, float(step)) for step in range(1, 8)]
    assert [step for step, _ in history(local.uri, run, "new")] == list(range(3, 8))


def test_model_version_is_found_by_its_alias(tmp_path: Path, local: TrackingConfig) -> None:
    """The folder as plain files; the alias moves to the newer version."""
    for name in ("one", "two"):
        folder = tmp_path / name / "policy"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(name)
        with Tracker(local, tmp_path / name) as tracker:
            tracker.start(name)
            version = tracker.register_model("beer", folder)
        assert version == {"one": "1", "two": "2"}[name]
    client = MlflowClient(local.uri, local.uri)
    challenger = client.get_model_version_by_alias("beer", "challenger")
    assert str(challenger.version) == "2"  # an int from a database, a text from a server
    assert (
        challenger.run_id
        == json.loads((tmp_path / "two/tracking_state.json").read_text())["run_id"]
    )
    found = resolve_artifact("challenger", "beer", local.uri)
    assert (found.folder / "manifest.json").read_text() == "two"


def test_files_of_a_version_never_change(tmp_path: Path, local: TrackingConfig) -> None:
    """Two versions from the same folder in one run keep their own content."""
    folder = tmp_path / "run" / "policy"
    folder.mkdir(parents=True)
    with Tracker(local, tmp_path / "run") as tracker:
        tracker.start("twice")
        for content in ("one", "two"):
            (folder / "manifest.json").write_text(content)
            assert tracker.register_model("beer", folder) is not None
    for version, content in (("1", "one"), ("2", "two")):
        found = resolve_artifact(version, "beer", local.uri)
        assert (found.folder / "manifest.json").read_text() == content


def test_status_tells_how_it_ended(tmp_path: Path, local: TrackingConfig) -> None:
    """No run stays RUNNING after an error or an interrupt."""
    for problem, status in ((RuntimeError(), "FAILED"), (KeyboardInterrupt(), "KILLED")):
        folder = tmp_path / status
        with pytest.raises(type(problem)), Tracker(local, folder) as tracker:  # noqa: PT012
            tracker.start(status)
            raise problem
        run = MlflowClient(local.uri).get_run(tracker.run_id or "")
        assert run.info.status == status
        assert run.info.end_time is not None


@pytest.mark.parametrize(("ending", "status"), [("1 / 0", "FAILED"), ("sys.exit(3)", "KILLED")])
def test_process_that_ends_without_finish_closes_its_run(
    tmp_path: Path, local: TrackingConfig, ending: str, status: str
) -> None:
    """At interpreter exit, delivered in full."""
    code = (
        "import json, sys; from pathlib import Path\n"
        "from evaluation.tracking.tracker import Tracker\n"
        "from evaluation.tracking.config import TrackingConfig\n"
        "config = TrackingConfig(**json.loads(sys.argv[1]))\n"
        "tracker = Tracker(config, Path(sys.argv[2]))\n"
        "tracker.start('crash'); tracker.log_metrics(1, {'a': 1.0})\n"
    )
    settings = json.dumps(asdict(local))
    command = [sys.executable, "-c", code + ending, settings, str(tmp_path / "run")]
    assert subprocess.run(command, capture_output=True).returncode != 0
    run = only_run(local.uri)
    assert run.info.status == status
    assert history(local.uri, run.info.run_id, "a") == [(1, 1.0)]


def run_and_kill(config: TrackingConfig, folder: Path) -> None:
    """Another process logs steps 1 to 5 and dies of SIGKILL."""
    code = (
        "import json, os, signal, sys; from pathlib import Path\n"
        "from evaluation.tracking.tracker import Tracker\n"
        "from evaluation.tracking.config import TrackingConfig\n"
        "config = TrackingConfig(**json.loads(sys.argv[1]))\n"
        "tracker = Tracker(config, Path(sys.argv[2]))\n"
        "tracker.start('killed', {'seed': 1})\n"
        "for step in range(1, 6): tracker.log_metrics(step, {'a': float(step)})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, json.dumps(asdict(config)), str(folder)]
    assert subprocess.run(command).returncode == -signal.SIGKILL


def test_killed_run_is_resumed_without_gap_or_double(tmp_path: Path, local: TrackingConfig) -> None:
    """The driver dies after step 5, its checkpoint is of step 3: one run, each step once."""
    folder = tmp_path / "run"
    run_and_kill(local, folder)
    with pytest.raises(ConfigError, match="holds a run already"):
        Tracker(local, folder)
    with Tracker(local, folder, resumed=True) as tracker:
        tracker.start("killed", {"seed": 1, "resume": True})
        for step in range(4, 9):
            tracker.log_metrics(step, {"a": float(step)})
    run = only_run(local.uri)
    assert run.info.status == "FINISHED"
    steps = [(step, float(step)) for step in range(1, 9)]
    assert history(local.uri, run.info.run_id, "a") == steps


def test_children_hang_below_their_parent(tmp_path: Path, local: TrackingConfig) -> None:
    """One child run per seed."""
    with Tracker(local, tmp_path / "run") as parent:
        parent.start("parent")
        with parent.child("seed_1") as child:
            child.start("seed 1")
            child.log_metrics(1, {"a": 1.0})
    assert child.run_id is not None
    tags = MlflowClient(local.uri).get_run(child.run_id).data.tags
    assert tags["mlflow.parentRunId"] == parent.run_id
    assert (tmp_path / "run" / "seed_1" / "metrics.jsonl").exists()


def test_system_metrics_arrive(
    tmp_path: Path, local: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the names that MLflow's page for them looks for; nothing else is left behind."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = replace(local, system_metrics=True, system_metrics_interval=0.1)
    with Tracker(config, tmp_path / "run") as tracker:
        tracker.start("gauges")
        log = tmp_path / "run" / "system_metrics.jsonl"
        wait_for(lambda: log.read_text().count("\n") >= 3)
    steps = [step for step, _ in history(
        local.uri, tracker.run_id or "", "system/cpu_utilization_percentage"
    )]  # fmt: skip
    assert steps == list(range(len(steps)))
    assert len(steps) >= 3
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_disabled_tracking_keeps_the_files(tmp_path: Path, local: TrackingConfig) -> None:
    """Without a server."""
    config = replace(local, enabled=False, uri="http://127.0.0.1:9")
    with Tracker(config, tmp_path / "run") as tracker:
        tracker.start("quiet")
        tracker.log_metrics(1, {"a": 1.0})
        assert tracker.register_model("beer", tmp_path) is None
    assert [r["step"] for r in read_lines(tmp_path / "run/metrics.jsonl")[0]] == [1]


def test_what_the_server_refuses_stops_nothing(
    tmp_path: Path, local: TrackingConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """A vanished file and a model name that MLflow refuses are warnings; the rest arrives."""
    with Tracker(local, tmp_path / "run") as tracker:
        tracker.start("odd")
        tracker.log_artifacts(tmp_path / "nowhere")
        assert tracker.register_model("a/b:c", tmp_path / "run") is None
        tracker.log_metrics(1, {"ok": 1.0, "50% quantile (cost)": 2.0})
        tracker.log_metrics(2, {"ok": "no number"})  # type: ignore[dict-item]
        tracker.log_metrics(3, {"ok": 3.0})
    run = only_run(local.uri)
    assert history(local.uri, run.info.run_id, "ok") == [(1, 1.0), (3, 3.0)]
    assert run.data.metrics["50_ quantile _cost_"] == 2.0
    assert "nowhere' is gone" in warnings(caplog)
    assert "'register' was refused" in warnings(caplog)
    assert "not recorded" in warnings(caplog)


def test_a_busy_database_refuses_nothing(tmp_path: Path) -> None:
    """All its connections are taken: MLflow calls the request a bad one, which it isn't."""
    engine = sqlalchemy.create_engine(
        f"sqlite:///{tmp_path / 'busy.db'}", poolclass=sqlalchemy.QueuePool, pool_size=1,
        max_overflow=0, pool_timeout=0.01,
    )  # fmt: skip
    sessions = _get_managed_session_maker(sqlalchemy.orm.sessionmaker(engine), "sqlite")
    with (
        engine.connect(),
        pytest.raises(MlflowException, match="QueuePool limit") as caught,
        _refusals(),
        sessions() as session,
    ):
        session.execute(sqlalchemy.text("select 1"))
    assert caught.value.error_code == "BAD_REQUEST"
    engine.dispose()


def test_deleted_run_loses_nothing(tmp_path: Path, local: TrackingConfig) -> None:
    """Somebody deletes the run in MLflow's page: restored, it takes what was recorded meanwhile."""
    client = MlflowClient(local.uri)
    folder = tmp_path / "run"
    with Tracker(replace(local, flush_timeout=0.5), folder) as tracker:
        tracker.start("deleted")
        wait_for(lambda: tracker.run_id is not None)
        client.delete_run(tracker.run_id or "")
        tracker.log_metrics(1, {"a": 1.0})
    assert history(local.uri, tracker.run_id or "", "a") == []
    client.restore_run(tracker.run_id or "")
    assert resend(folder, local) == 0
    assert history(local.uri, tracker.run_id or "", "a") == [(1, 1.0)]
    assert only_run(local.uri).info.status == "FINISHED"


def test_failing_upload_holds_no_metrics_up(
    tmp_path: Path, local: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The artifact store is down, the tracking server is not."""

    def fail(*_: object) -> None:
        raise ConnectionError("the artifact store does not answer")

    with Tracker(local, tmp_path / "run") as tracker, monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", fail)
        tracker.start("uploads")
        (tmp_path / "run" / "table.json").write_text("[]")
        tracker.log_artifacts(tmp_path / "run" / "table.json")
        tracker.log_metrics(1, {"a": 1.0})
        wait_for(lambda: tracker.run_id is not None)
        wait_for(lambda: bool(history(local.uri, tracker.run_id or "", "a")))
    run_id = tracker.run_id or ""
    assert (Path(download_artifacts(run_id=run_id, tracking_uri=local.uri)) / "table.json").exists()
    assert only_run(local.uri).info.status == "FINISHED"


@pytest.mark.parametrize(
    "wrong",
    [{"uri": ""}, {"experiment": ""}, {"flush_timeout": 0}, {"request_timeout": -1}],
    ids=str,
)
def test_wrong_config_is_refused(wrong: dict[str, Any], local: TrackingConfig) -> None:
    """With the name of the setting."""
    with pytest.raises(ConfigError, match=f"tracking.{next(iter(wrong))}"):
        replace(local, **wrong)


@pytest.mark.parametrize("uri", ["none", "None", "mlruns", "localhost:5000"])
def test_an_address_that_is_none_is_refused(uri: str) -> None:
    """With the setting that was meant."""
    with pytest.raises(ConfigError, match=rf"uri is '{uri}'.*tracking\.enabled=false"):
        config_for(uri)


@pytest.mark.nightly
def test_a_new_database_is_migrated_once(tmp_path: Path) -> None:
    """Four processes use it for the first time at the same moment."""
    code = (
        "import sys; from tests.evaluation.conftest import config_for\n"
        "from evaluation.tracking.mlflow_destination import reach\n"
        "import mlflow; print(flush=True); sys.stdin.readline(); reach(config_for(sys.argv[1]))\n"
    )
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    command = [sys.executable, "-c", code, uri]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    [default] = MlflowClient(uri).search_experiments()
    assert default.experiment_id == "0"


def test_relative_database_stays_where_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever directory the process goes to later."""
    monkeypatch.chdir(tmp_path)
    config = config_for("sqlite:///mlflow.db")
    monkeypatch.chdir("/")
    assert config.uri == f"sqlite:///{tmp_path}/mlflow.db"


def test_importing_tracking_does_not_import_mlflow() -> None:
    """It costs seconds; the background thread does it."""
    code = "import sys, evaluation.tracking.tracker; print('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_killed_run_is_closed_by_resend(tmp_path: Path, local: TrackingConfig) -> None:
    """But not while it lives."""
    folder = tmp_path / "run"
    with Tracker(local, folder) as tracker:
        tracker.start("alive")
        with pytest.raises(ConfigError, match="in use by a live process"):
            resend(folder, local)
    run_and_kill(local, tmp_path / "killed")
    assert resend(tmp_path / "killed", local) == 0
    assert MlflowClient(local.uri).get_run(tracker.run_id or "").info.status == "FINISHED"
    state = json.loads((tmp_path / "killed" / "tracking_state.json").read_text())
    assert MlflowClient(local.uri).get_run(state["run_id"]).info.status == "KILLED"
    assert len(history(local.uri, state["run_id"], "a")) == 5


def test_unconfirmed_records_sent_again_double_nothing(
    tmp_path: Path, local: TrackingConfig
) -> None:
    """The process dies between delivery and its note of it: all is sent a second time."""
    folder = tmp_path / "run"
    with Tracker(local, folder) as tracker:
        tracker.start("twice", {"seed": 1})
        for step in range(1, 6):
            tracker.log_metrics(step, {"a": step / 7, "bad": math.nan, "big": math.inf})
        (folder / "policy").mkdir()
        assert tracker.register_model("twice", folder / "policy") == "1"
    (folder / "tracking_state.json").unlink()
    assert resend(folder, local) == 0
    run = only_run(local.uri)
    assert history(local.uri, run.info.run_id, "a") == [(n, n / 7) for n in range(1, 6)]
    assert len(history(local.uri, run.info.run_id, "bad")) == 5
    assert len(history(local.uri, run.info.run_id, "big")) == 5
    client = MlflowClient(local.uri, local.uri)
    assert len(client.search_model_versions("name = 'twice'")) == 1
    assert len(client.search_logged_models([run.info.experiment_id])) == 1
    assert len(run.outputs.model_outputs) == 1
