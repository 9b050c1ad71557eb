"""The main job from its command line to the registry, and back from an interruption."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from echelon import main
from envs.environment.batched_env import BatchedEnv
from evaluation.artifact.artifact import load_artifact
from evaluation.artifact.network_io import scenario_from_plain
from evaluation.files.atomic_folder import write_folder
from training.job.run_record import checkpoints_of

SMALL = [
    "scenario=one_warehouse_n_stores",
    "smoke=true",
    "resources.envs_per_runner=4",
    "tracking.system_metrics=false",
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one small training has run; its run folder is `run`."""
    folder = tmp_path_factory.mktemp("train")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", *SMALL, "checkpoint_every=1", "out=run"]) == 0
    return folder


def test_the_run_folder_holds_everything(workplace: Path) -> None:
    """Config, metrics, evaluation, plots, policy, checkpoints."""
    run = workplace / "run"
    for name in ("config.yaml", "metrics.jsonl", "evaluation.json", "policy/manifest.json"):
        assert (run / name).exists(), name
    assert {p.name for p in (run / "plots").iterdir()} >= {
        "learning_curve.png", "paired_gain.png", "stock_and_orders.png",
        "cost_by_column.png", "kpis.png",
    }  # fmt: skip
    report = json.loads((run / "evaluation.json").read_text())
    assert set(report["policies"]) == {"echelon_base_stock", "learned"}


def test_the_exported_policy_acts_in_the_exported_network(workplace: Path) -> None:
    """The artifact alone gives network, base policy and correction: finite, bounded actions."""
    artifact = load_artifact(workplace / "run" / "policy")
    plain = json.loads((workplace / "run" / "policy" / "network.json").read_text())
    env = BatchedEnv(scenario_from_plain(plain), 2)
    observation = env.reset(1)
    assert tuple(q["name"] for q in artifact.manifest["observation"]) == env.feature_names
    action = artifact.policy.act(observation, env.groups)
    assert np.abs(action).max() <= 1.0


def test_the_run_is_tracked_and_the_model_registered(workplace: Path) -> None:
    """One finished MLflow run with metrics and artifacts; a version with an alias."""
    client = MlflowClient(f"sqlite:///{workplace}/mlflow.db", f"sqlite:///{workplace}/mlflow.db")
    experiment = client.get_experiment_by_name("echelon")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["scenario.name"] == "one_warehouse_n_stores"
    assert "test/learned_cost_per_period" in run.data.metrics
    gain = [run.data.metrics[f"validation/paired_gain{end}"] for end in ("_low", "", "_high")]
    assert gain == sorted(gain)
    assert run.data.metrics["test/difference_low"] <= run.data.metrics["test/difference_high"]
    report = json.loads((workplace / "run" / "evaluation.json").read_text())
    assert run.data.tags["verdict.learned"] == report["paired_differences"][0]["verdict"]
    assert run.inputs.dataset_inputs[0].dataset.name == "one_warehouse_n_stores"
    alias = (
        "champion"
        if json.loads((workplace / "run/gate.json").read_text())["passed"]
        else ("challenger")
    )
    version = client.get_model_version_by_alias("echelon-one_warehouse_n_stores", alias)
    assert version.run_id == run.info.run_id


def test_resume_goes_on_from_the_last_checkpoint(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More iterations on the same folder: earlier metrics stay, the count goes on."""
    monkeypatch.chdir(workplace)
    assert main(["train", *SMALL, "out=again", "algorithm.iterations=2", "checkpoint_every=1",
                 "register=false"]) == 0  # fmt: skip
    store = checkpoints_of(workplace / "again")
    last = store.latest_good()
    assert last is not None
    assert last.step == 2
    assert main(["train", "resume=again", "algorithm.iterations=4"]) == 0
    after = store.latest_good()
    assert after is not None
    assert after.step == 4
    lines = [
        json.loads(s) for s in (workplace / "again" / "metrics.jsonl").read_text().splitlines()
    ]
    iterations = [x["step"] for x in lines if "time/iteration" in x["metrics"]]
    assert iterations == [1, 2, 3, 4]
    assert after.meta["policy_params"] == last.meta["policy_params"]


def test_a_corrupt_checkpoint_is_passed_over(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A flipped bit in the newest checkpoint: resume says so and takes the one before."""
    monkeypatch.chdir(workplace)
    assert main(["train", *SMALL, "out=flipped", "algorithm.iterations=2", "checkpoint_every=1",
                 "register=false"]) == 0  # fmt: skip
    store = checkpoints_of(workplace / "flipped")
    newest = store.latest_good()
    assert newest is not None
    victim = max((p for p in newest.path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(bytes(content))
    good = store.latest_good()
    assert good is not None
    assert good.step == 1
    assert main(["train", "resume=flipped", "algorithm.iterations=2"]) == 0
    assert "passed over" in caplog.text


class Planted:
    """Runs when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_in_a_checkpoint_from_elsewhere_does_not_run(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Though its sums were made anew, so that it verifies."""
    monkeypatch.chdir(workplace)
    folder, marker = tmp_path / "run", tmp_path / "marker"
    shutil.copytree(workplace / "run", folder)
    content = pickle.dumps(Planted(marker))
    pickle.loads(content)
    assert marker.exists()  # it is armed
    marker.unlink()
    for step in (folder / "checkpoints").iterdir():

        def fill(temporary: Path, step: Path = step) -> None:
            shutil.copytree(step, temporary, dirs_exist_ok=True)
            (temporary / "SHA256SUMS").unlink()
            (temporary / "state" / "algorithm_state.pkl").write_bytes(content)

        write_folder(step, fill, replace=True)
    assert checkpoints_of(folder).latest_good() is not None
    assert main(["train", f"resume={folder}", "algorithm.iterations=4"]) == 1
    assert not marker.exists()
    error = capsys.readouterr().err
    assert "has 'algorithm_state.pkl'; expected exactly state.json and state.safetensors" in error
    assert "Take that step's folder away" in error


def test_more_runners_than_shards_are_refused_before_tuning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["scenario=lost_sales", "resources.env_runners=3", "tracking.enabled=false"]
    assert main(["train", *arguments, "out=run"]) == 1
    printed = capsys.readouterr()
    assert "resources.env_runners is 3; expected 1 at most" in printed.err
    assert "tune" not in printed.out + printed.err
