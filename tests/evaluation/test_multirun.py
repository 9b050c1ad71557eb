"""Several runs of one command."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from mlflow import MlflowClient

from conf.compose import Composed
from echelon import main
from envs.errors import Interrupted
from evaluation.commands.evaluate import EvaluateCommand
from evaluation.commands.multirun import run_each
from evaluation.tracking.summary import as_markdown

FIXED = [
    "scenario=lost_sales", "policies=[base_stock]", "policy_params={base_stock: {level: 20}}",
    "tracking.system_metrics=false", "tracking.flush_timeout=600",
]  # fmt: skip


def test_bad_values_and_failed_runs_stop_no_other(
    tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run is refused, one fails, two end: a row each below one run in MLflow, exit code 1."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(migrated, tmp_path / "mlflow.db")
    assert main(["evaluate", *FIXED, "traces=x,0,2,3", "out=several", "-m"]) == 1
    assert (tmp_path / "several_3" / "evaluation.json").exists()
    table = json.loads((tmp_path / "several_all" / "summary.json").read_text())
    assert table["columns"] == ["run", "arguments", "state", "base_stock"]
    assert [row[1] for row in table["data"]] == [f"traces={n}" for n in ("x", "0", "2", "3")]
    assert "traces" in table["data"][0][2]
    assert table["data"][1][2].startswith("failed: traces is 0")
    report = json.loads((tmp_path / "several_2" / "evaluation.json").read_text())
    cost = report["policies"]["base_stock"]["cost_per_period"]["mean"]
    assert table["data"][2][2:] == ["finished", cost]

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("echelon")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    assert {run.data.params["traces"] for run in children} == {"2", "3"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert parent.data.params["scenario"] == "lost_sales"
    assert "| 1 | traces=0 | failed: traces is 0" in parent.data.tags["mlflow.note.content"]
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"])[0]["type"] == "table"


def test_a_signal_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is no failure of one run."""
    monkeypatch.chdir(tmp_path)
    begun = []

    def run(composed: Composed[EvaluateCommand]) -> dict[str, float]:
        begun.append(composed.command.seed)
        raise Interrupted(signal.SIGINT)

    with pytest.raises(Interrupted):
        run_each(EvaluateCommand, [*FIXED, "seed=1,2", "tracking.enabled=false", "-m"], run)
    assert begun == [1]


def test_where_every_value_is_bad_the_first_error_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["evaluate", *FIXED, "traces=x,y", "-m"]) == 1
    assert "traces" in capsys.readouterr().err


def test_a_table_in_markdown() -> None:
    """What would break a row is escaped, what isn't there is empty."""
    text = as_markdown(["a", "b|c"], [["x\ny", 1.23456789], [None, 2]])
    assert text == "| a | b\\|c |\n| --- | --- |\n| x y | 1.2346 |\n|  | 2 |\n"
