"""A sweep on a Ray of two nodes that loses one of them: `python -m tests.training.sweep_nodes`.

In the current folder. Each node is a raylet of its own on this machine. Ends with an error where a
trial isn't kept, or isn't what it would have been.
"""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from evaluation.workers import open_workers, prepare_ray, results

prepare_ray()

import psutil
from ray.cluster_utils import Cluster

from echelon import main as echelon
from evaluation.artifact.artifact import load_artifact
from evaluation.files.storage import open_storage
from evaluation.progress import SILENT, Progress
from evaluation.tasks import Task
from tests.evaluation.worker_tasks import good
from tests.s3_server import s3_server
from tests.waiting import wait_for
from training.job.fetched_run import fetch_run
from training.job.run_record import RunRecord, checkpoints_of
from training.studies import trial_recorder

ITERATIONS, LOST_AT = 12, 8
HEAD = {"num_cpus": 0, "include_dashboard": False}
OPTIONS = [
    "scenario=lost_sales", "scenario.base_policy=base_stock", "smoke=true", "seed=3",
    f"algorithm.iterations={ITERATIONS}", "checkpoint_every=1", "tracking.enabled=false",
    "register=false",
]  # fmt: skip


class Losing(trial_recorder.TrialRecorder):
    """Loses the node of trial 0 while that waits for the answer to its report of an iteration.

    place: where the trial has to be stored before its node's disk is lost, too; None: the disk is
    shared, and stays.
    """

    place: str | None = None
    run = ""  # identity of the trial's run when it was lost

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Pass on, then lose it."""
        super().on_trial_result(iteration, trials, trial, result, **info)
        if Losing.run or trial.config["trial"] != 0 or result["iteration"] < LOST_AT:
            return
        folder = self.folder / "trial_000"
        Losing.run = RunRecord.read(folder).run
        if self.place is not None:
            stored = open_storage(self.place).at("record")
            wait_for(lambda: stored.folders() != [])  # of a checkpoint at least
        lose_node(result["pid"])
        if self.place is not None:
            shutil.rmtree(folder)


def lose_node(worker: int) -> None:
    """Kill the node that a worker process is on."""
    [raylet] = [p for p in psutil.Process(worker).parents() if p.name() == "raylet"]
    processes = [raylet, *raylet.children(recursive=True)]
    for process in sorted(processes, key=lambda one: one.pid == os.getpid()):  # this one last
        process.kill()
    psutil.wait_procs(processes)


def losing(marker: Path, progress: Progress) -> int:
    """A task that loses its node, once."""
    if marker.exists():
        marker.unlink()
        lose_node(os.getpid())
    return good(1, progress)


def sweep(name: str, trials: int, place: str | None, *options: str) -> Path:
    """Do one that loses a node; check what is true of every one. Returns its folder."""
    Losing.place, Losing.run = place, ""
    space = "space={algorithm.learning_rate: {low: 1e-4, high: 1e-2, scale: log}}"
    own = [space, f"trials={trials}", f"workers={trials}", "grace=1", f"out={name}"]
    assert echelon(["sweep", *own, *OPTIONS, *options]) == 0
    assert Losing.run
    folder = Path(name).absolute()
    ended = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    assert [trial["state"] for trial in ended] == ["finished"] * trials, ended
    for trial in ended:
        seconds = [point[0] for point in trial["curve"]]
        assert len(seconds) == ITERATIONS, trial
        assert seconds == sorted(seconds), trial
    best = folder / f"trial_{ended[0]['number']:03d}"
    assert load_artifact(best / "policy").manifest["scenario"] == "lost_sales"
    return folder


def models(folder: Path) -> dict[str, bytes]:
    """The weights at the end, by name."""
    last = checkpoints_of(folder).latest_good()
    assert last is not None
    assert last.step == ITERATIONS
    return {path.name: path.read_bytes() for path in sorted(last.state.rglob("*.safetensors"))}


def curve(folder: Path, number: int) -> list[float]:
    """Costs of a trial."""
    trials = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    [found] = [trial for trial in trials if trial["number"] == number]
    return [cost for _, cost in found["curve"]]


def main() -> None:
    """Lose a node with its disk, then one of those that share a folder."""
    trial_recorder.TrialRecorder = Losing  # type: ignore[misc]
    with s3_server() as variables:
        os.environ.update(variables)
        cluster = Cluster(initialize_head=True, head_node_args=HEAD)
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        os.environ["RAY_ADDRESS"] = cluster.address
        place = "s3://bucket/team/stored"
        stored = sweep("stored", 2, f"{place}/trial_000", "storage=s3://bucket/team")
        for number in range(2):
            fetch_run(f"{place}/trial_{number:03d}", Path("fetched") / str(number))
        assert RunRecord.read(Path("fetched/0")).run == Losing.run
        [best, *_] = json.loads((stored / "sweep.json").read_text(encoding="utf-8"))
        kept = checkpoints_of(Path("fetched") / str(best["number"])).best()
        assert kept is not None
        assert kept.cost == min(cost for _, cost in best["curve"])
        assert (Path("fetched") / str(best["number"]) / "policy").is_dir()
        print("node and disk lost: the trial went on from the storage")

        cluster.add_node(num_cpus=1)
        Path("lose").touch()
        tasks = [Task("a", partial(losing, Path("lose"))), *[Task("b", partial(good, 1))] * 3]
        with open_workers(2) as workers:
            assert results(workers, "tasks", tasks, SILENT) == [1] * 4
        assert not Path("lose").exists()
        print("node of a task lost: the other did all")

        cluster.add_node(num_cpus=1)
        shared = sweep("shared", 1, None)
        assert RunRecord.read(shared / "trial_000").run == Losing.run
        print("node lost: the trial went on from the folder")

        drawn = next(t["arguments"] for t in json.loads((shared / "sweep.json").read_text()))
        assert echelon(["train", *OPTIONS, *drawn, "out=alone"]) == 0
        alone = models(Path("alone"))
        assert alone
        assert models(Path("fetched/0")) == alone
        assert models(shared / "trial_000") == alone
        assert curve(stored, 0) == curve(shared, 0)
        print("weights are those of a training that lost nothing")
        cluster.shutdown()


if __name__ == "__main__":
    main()
