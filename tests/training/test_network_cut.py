"""Trainings on two machines whose network is cut, or that lose their driver's machine."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from echelon import main
from evaluation.files.atomic_folder import file_hash
from evaluation.tracking.outbox import read_state
from tests.machines import HEAD, TwoMachines
from tests.waiting import wait_for
from training.job.fetched_run import fetch_run

pytestmark = pytest.mark.nightly

ITERATIONS = 60
RUN = [
    "train", "scenario=lost_sales", "scenario.base_policy=base_stock", "smoke=true",
    f"algorithm.iterations={ITERATIONS}", "validation.every=10", "algorithm.shards=4",
    "register=false",
]  # fmt: skip
WEIGHTS = Path("policy", "policy.safetensors")


@pytest.fixture
def machines() -> Iterator[TwoMachines]:
    """Two, each with a Ray of one CPU."""
    with TwoMachines() as made:
        for node in (1, 2):
            made.start_ray(node)
        yield made


def test_a_cut_costs_no_episode(machines: TwoMachines) -> None:
    """Half a minute, and until Ray gives the machine up; see tests/training/network_cut.py. Each
    iteration has all its episodes, and the weights are those of a training without any fault."""
    training = subprocess.Popen(
        machines.command(1, "exec python -m tests.training.network_cut"),
        cwd=machines.folder, env=machines.environment(1), text=True, bufsize=1,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert training.stdin is not None
    assert training.stdout is not None
    told = []
    for line in training.stdout:
        print(line, end="")
        told.append(line.partition(";")[0].strip())
        if told[-1] in ("both play", "both play again"):
            machines.pull()
            training.stdin.write("cut\n")
        elif told[-1] == "half a minute is over":
            machines.plug()
            training.stdin.write("plugged\n")
        elif told[-1] == "Ray has given the machine up":
            machines.plug()
            wait_for(lambda: "raylet" not in [one.name() for one in machines.processes(2)])
            machines.start_ray(2)
            training.stdin.write("plugged\n")
    assert training.wait() == 0, "\n".join(told)
    assert "both play for the third time" in told


def steps_of(folder: Path) -> list[int]:
    """Of the iterations that a run has recorded."""
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line)["step"] for line in lines if '"time/iteration"' in line]


def test_a_run_goes_on_on_the_other_machine(
    machines: TwoMachines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the storage alone: the first driver is killed and its disk is gone; the second one loses
    the network to the other machine for good. The policy is that of an undisturbed run; every
    metric has arrived once, in the run folder and at MLflow."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert main([*RUN, "resources.env_runners=0", "out=whole", "tracking.enabled=false"]) == 0

    shared = machines.folder / "shared"
    database = f"sqlite:///{machines.folder}/mlflow.db"
    distributed = (
        f"cd $HOME && export RAY_ADDRESS={HEAD} && exec python -m echelon {{}} "
        f"resources.env_runners=2 resources.sample_timeout=10 tracking.uri={database}"
    )
    first = " ".join([*RUN, "out=runs/a", f"storage=file://{shared}", "checkpoint_every=5"])
    log = machines.folder / "driver.log"
    driver = machines.start(2, distributed.format(first), log)
    folder = machines.folder / "runs" / "a"
    wait_for(lambda: len(steps_of(folder)) >= 20 or driver.poll() is not None)
    assert driver.poll() is None, log.read_text()
    driver.kill()
    driver.wait()
    shutil.rmtree(folder)

    driver = machines.start(1, distributed.format(f"train resume=file://{shared}/runs/a"), log)
    folder = machines.folder / "outputs" / "fetched" / "a"
    wait_for(lambda: len(steps_of(folder)) >= 40 or driver.poll() is not None)
    assert driver.poll() is None, log.read_text()
    machines.pull()
    assert driver.wait() == 0, log.read_text()

    wanted = list(range(1, ITERATIONS + 1))
    assert steps_of(folder) == wanted
    client = MlflowClient(database)
    run = read_state(folder)["run_id"]
    arrived = Counter(metric.step for metric in client.get_metric_history(run, "time/iteration"))
    assert arrived == Counter(wanted)
    assert file_hash(folder / WEIGHTS) == file_hash(tmp_path / "whole" / WEIGHTS)
    fetch_run(f"file://{shared}/runs/a", tmp_path / "back")
    assert file_hash(tmp_path / "back" / WEIGHTS) == file_hash(folder / WEIGHTS)
