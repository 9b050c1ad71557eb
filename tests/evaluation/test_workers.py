"""Work side by side: the same results in this process and on Ray, whatever becomes of a task."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from echelon import main
from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError, WorkerError
from envs.scenario import Scenario
from evaluation.artifact.actor import Actor
from evaluation.artifact.correction import learned_correction
from evaluation.comparison.compare import compare
from evaluation.comparison.rollout import Competitor
from evaluation.optima.hindsight import hindsight_bound
from evaluation.progress import SILENT, Progress
from evaluation.tasks import Ended, Task
from evaluation.workers import IN_PROCESS, Workers, open_workers, results
from tests.conftest import Recorder
from tests.evaluation.worker_tasks import good, killed, killed_once, where, with_an_actor, wrong


@pytest.fixture
def on_ray(ray_cluster: None) -> Iterator[Workers]:
    """Two workers."""
    with open_workers(2) as workers:
        yield workers


@pytest.mark.parametrize("count", [1, 2])
def test_one_that_fails_does_not_stop_the_others(
    count: int, request: pytest.FixtureRequest, recorder: Recorder
) -> None:
    """Every task ends with its value or its error; progress is one phase with a step a task."""
    workers = IN_PROCESS if count == 1 else request.getfixturevalue("on_ray")
    tasks = [Task("a", partial(good, 5)), Task("b", wrong), Task("c", partial(good, 7))]
    ended = sorted(workers.run("all", tasks, recorder), key=lambda one: one.index)
    assert [one.value for one in ended] == [5, None, 7]
    assert [one.index for one in ended if one.error is None] == [0, 2]
    with pytest.raises(ConfigError, match=r"^traces is 0; expected at least 1\.$"):
        ended[1].result()
    assert recorder.phases == [("all", 3)]
    assert recorder.updates[-1][0] == 3
    assert [done for done, text in recorder.updates if text in "abc"] == [1, 2, 3]
    assert results(workers, "good", tasks[::2], SILENT) == [5, 7]


def test_what_a_task_reports_is_shown() -> None:
    """As text of the phase, with the tasks that have ended."""
    recorder = Recorder()
    results(IN_PROCESS, "all", [Task("a", partial(good, n)) for n in (1, 2)], recorder)
    assert recorder.updates == [(0, "counting"), (1, "a"), (1, "counting"), (2, "a")]


def test_reports_of_other_processes_arrive(on_ray: Workers, tmp_path: Path) -> None:
    """Progress comes while a task runs; the process ends where the caller stops listening."""

    class Impatient(Recorder):
        def update(self, done: float, text: str = "") -> None:
            if text == "counting":
                raise KeyboardInterrupt

    def report_and_stay(progress: Progress) -> int:
        (tmp_path / "pid.tmp").write_text(str(os.getpid()))
        (tmp_path / "pid.tmp").rename(tmp_path / "pid")
        progress.phase("counting", 3)
        time.sleep(600)
        return 0

    with pytest.raises(KeyboardInterrupt):
        list(on_ray.run("all", [Task("a", report_and_stay)], Impatient()))
    pid = int((tmp_path / "pid").read_text())
    while Path(f"/proc/{pid}").exists():  # the test's own time limit ends this
        time.sleep(0.05)


def test_what_a_dead_process_did_is_done_again(
    on_ray: Workers, tmp_path: Path, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """As after the loss of a node; it counts once."""
    (tmp_path / "kill").touch()
    tasks: list[Task[Any]] = [
        Task("a", partial(killed_once, tmp_path / "kill")), Task("b", partial(good, 1))
    ]  # fmt: skip
    assert results(on_ray, "all", tasks, recorder) == ["done", 1]
    assert "a: The worker process ended before its work did" in caplog.text
    assert [done for done, text in recorder.updates if text in "ab"] == [1, 2]


def test_a_dead_process_is_the_error_of_its_task(
    on_ray: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it dies each time; the others go on."""
    monkeypatch.setattr("evaluation.ray_workers._MOST_LOSSES", 0)
    tasks = [Task("a", killed), Task("b", partial(good, 1)), Task("c", partial(good, 2))]
    ended = sorted(on_ray.run("all", tasks, SILENT), key=lambda one: one.index)
    assert isinstance(ended[0].error, WorkerError)
    assert "ended before its work did" in str(ended[0].error)
    assert ended[1:] == [Ended(1, 1), Ended(2, 2)]


def test_a_worker_is_a_process_like_this_one(
    on_ray: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works in the same folder, with one thread."""
    monkeypatch.chdir(tmp_path)
    [(pid, folder, threads)] = results(on_ray, "all", [Task("a", where)], SILENT)
    assert pid != os.getpid()
    assert (folder, threads) == (str(tmp_path), "1")


def test_actors_of_a_task_have_the_resources_of_its_worker(ray_cluster: None) -> None:
    """A worker with all three CPUs leaves its task's actor none but the worker's own."""
    from evaluation.ray_workers import ray_workers

    with ray_workers(1, [{"CPU": 1.0}, {"CPU": 2.0}]) as workers:
        assert results(workers, "all", [Task("a", with_an_actor)], SILENT) == ["here"]
    with (
        pytest.raises(ConfigError, match=r"workers is 2, of 2 CPUs each; Ray has 3 CPUs"),
        open_workers(2, [{"CPU": 1.0}] * 2),
    ):
        pass


@pytest.mark.nightly
def test_a_bound_is_found_side_by_side(
    ray_cluster: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command, with a line for what it is at; the same to the last digit that is printed."""
    told = []
    for count in (1, 2):
        assert main(["bound", "scenario=beer_game", "smoke=true", f"workers={count}"]) == 0
        printed = capsys.readouterr().out
        assert "hindsight ..." in printed
        told.append(re.findall(r"^.*hindsight linear programme", printed, re.M))
    assert len(told[0]) == 1
    assert told[0] == told[1]


def test_one_worker_needs_no_ray(tmp_path: Path) -> None:
    """Neither tuning, playing nor a bound in this process imports it."""
    program = """
import sys
from echelon import main
common = ["smoke=true", "workers=1"]
assert main(["bound", "scenario=beer_game", *common]) == 0
policies = ["policies=[base_stock,capped_base_stock]", "tracking.enabled=false"]
for command in (["tune", "cache=null"], ["evaluate"]):
    out = f"out={sys.argv[1]}/{command[0]}"
    assert main([*command, "scenario=lost_sales", *policies, *common, out]) == 0
assert "ray" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)


@pytest.mark.nightly
def test_results_do_not_depend_on_the_workers(on_ray: Workers, shop: Scenario) -> None:
    """To the last digit: policies with and without networks, and bounds in hindsight."""
    torch.manual_seed(0)
    env = BatchedEnv(shop, 1)
    actors = {g.name: Actor(env.observation_size, g.action_size, (64, 64)) for g in env.groups}
    for actor in actors.values():
        for parameter in actor.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    levels = {"level": {"store": 20.0}}
    competitors = [
        Competitor("base_stock", "base_stock", levels),
        Competitor("learned", "base_stock", levels, learned_correction(actors, shop)),
    ]
    one, two = (
        compare(shop, competitors, traces=300, seed=1, workers=workers)
        for workers in (IN_PROCESS, on_ray)
    )
    for here, there in zip(one.policies, two.policies, strict=True):
        assert np.array_equal(here.kpis.cost, there.kpis.cost)
        assert (here.cost, here.difference) == (there.cost, there.difference)
    assert one.policies[0].cost != one.policies[1].cost
    bounds = [
        hindsight_bound(shop, traces=3, seed=1, workers=workers) for workers in (IN_PROCESS, on_ray)
    ]
    assert bounds[0].cost == bounds[1].cost
    assert bounds[0].half_width == bounds[1].half_width
