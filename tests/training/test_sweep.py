"""The space of a sweep is checked up front; its draws and its log survive a stop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conf.arguments import leaves
from conf.compose import compose
from echelon import main
from envs.errors import ConfigError
from evaluation.progress import SilentProgress
from evaluation.tracking.summary import as_markdown
from evaluation.tracking.tracker import Tracker
from tests.settings import as_shipped
from training.commands.sweep import Reports
from training.commands.train import TrainCommand
from training.job.checkpoint import Checkpoint
from training.studies.sweep import Trial, TrialLog, as_table, read_space, trial_arguments
from training.studies.trial_recorder import TrialRecorder

_RATE = {"low": 1e-4, "high": 1e-2, "scale": "log"}


def _compose(extra: Sequence[str]) -> dict[str, Any]:
    fixed = ["scenario=lost_sales", "algorithm=pathwise"]
    return dict(leaves(compose(TrainCommand, [*fixed, *extra]).resolved))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "space is empty"),
        ({"algorithm.learning_rat": _RATE}, "Did you mean 'algorithm.learning_rate'"),
        ({"algorithm.learning_rate": 3}, "expected {choices"),
        ({"algorithm.learning_rate": {"low": 1.0, "high": 0.1}}, "low < high"),
        ({"algorithm.learning_rate": {"low": 0.0, "high": 1.0, "scale": "log"}}, "positive low"),
        ({"algorithm.learning_rate": {"choices": ["fast"]}}, "algorithm.learning_rate"),
        ({"model.hidden": {"choices": []}}, "expected a list"),
    ],
)
def test_bad_space_is_one_line(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_space(space, _compose)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_draws_depend_on_seed_and_trial_only() -> None:
    given = {
        "algorithm.learning_rate": _RATE,
        "model.hidden": {"choices": [[64, 64], [128, 128]]},
        "resources.envs_per_runner": {"low": 8, "high": 9},
    }
    space = read_space(given, _compose)
    draws = [trial_arguments(space, 0, trial) for trial in range(40)]
    assert trial_arguments(read_space(given, _compose), 0, 7) == draws[7]
    assert trial_arguments(space, 1, 7) != draws[7]
    rates = [float(draw[0].split("=")[1]) for draw in draws]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert len(set(rates)) == 40
    assert {draw[1] for draw in draws} == {"model.hidden=[64, 64]", "model.hidden=[128, 128]"}
    assert {draw[2].split("=")[1] for draw in draws} == {"8", "9"}


def test_log_goes_on_after_a_line_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    log = TrialLog(path)
    assert log.read() == []
    poor = Trial(0, ("a=1",), "stopped early", ((1.0, 9.0),))
    failed = Trial(1, ("a=2",), "failed", ((1.0, 2.0),), "cost | is nan")
    good = Trial(2, ("a=3",), "finished", ((1.0, 8.0), (2.0, 7.0)))
    log.append(asdict(poor))
    log.append(asdict(failed))
    with path.open("a") as file:
        file.write('{"number": 3, "arg')
    log = TrialLog(path)
    log.append(asdict(good))
    assert log.read() == [good, poor, failed]
    text = path.read_text()
    path.write_text(text.replace("9.0", "1.0"))  # of the poor one, which would be the best
    assert log.read() == [good, failed]
    path.write_text(text)
    heading, _, *rows = as_markdown(*as_table(log.read(), "USD per week")).splitlines()
    assert "best validation cost [USD per week]" in heading
    assert rows[0] == "| 2 | 7 | 2 | finished | a=3 |"
    assert rows[2] == "| 1 | - | 1 | failed: cost \\| is nan | a=2 |"


@pytest.mark.parametrize(
    ("reached", "state"), [(3, "stopped early"), (4, "finished")], ids=["on the way", "at the end"]
)
def test_a_trial_that_came_to_its_end_is_finished(reached: int, state: str, tmp_path: Path) -> None:
    """Though ASHA, which judges it there with grace=1, stopped it before it could say so."""
    with Tracker(as_shipped("tracking", enabled=False), tmp_path) as tracker:
        tracker.start("sweep")
        recorder = TrialRecorder(
            tmp_path, tracker, SilentProgress(), lambda _: ["a=1"], ("iteration", 4)
        )
        trial = SimpleNamespace(config={"trial": 0})
        reports = Reports()
        for iteration in range(1, reached + 1):
            reports.metrics(iteration, _validation(iteration))
            recorder.on_trial_result(iteration, [], trial, reports.result())
        recorder.on_trial_complete(reached, [], trial)
    [ended] = TrialLog(tmp_path / "trials.jsonl").read()
    assert (ended.state, len(ended.curve)) == (state, reached)


def _validation(iteration: int) -> dict[str, float]:
    return {"validation/cost_per_period": 9.0 - iteration, "time/train_seconds": 0.1 * iteration}


def test_a_trial_that_begins_anew_has_each_validation_once(tmp_path: Path) -> None:
    """It tells of those before its checkpoint, too, but for the base policy's: another process may
    have learned them, and those after it are lost."""
    first, second = Reports(), Reports()
    for iteration in (1, 2, 3):
        first.metrics(iteration, _validation(iteration))
    curve = [[0, 0.0, 0.0, 8.5], [1, 0.1, 64.0, 8.0], [2, 0.2, 128.0, 7.0]]
    meta = {"base_cost": 8.5, "curve": curve}
    second.go_on(Checkpoint(2, tmp_path, meta))
    assert second.result()["curve"] == [(1, 0.1, 8.0), (2, 0.2, 7.0)]
    second.metrics(3, _validation(3))
    told = second.result("finished")
    assert told["curve"] == first.result()["curve"]
    assert (told["iteration"], told["cost"], told["ended"]) == (3, 6.0, "finished")


def test_a_trial_may_be_validated_before_it_learns() -> None:
    """As with imitate.policy; then it is of the trial."""
    reports = Reports()
    reports.metrics(0, {"validation/cost_per_period": 4.0})
    assert reports.result()["curve"] == [(0, 0.0, 4.0)]


@pytest.mark.nightly
def test_a_sweep_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three trials; the last line of the log is lost, as if it had been killed before it."""
    monkeypatch.chdir(tmp_path)
    space = "space={algorithm.learning_rate: {low: 1e-4, high: 1e-2, scale: log}}"
    options = ["scenario=lost_sales", "smoke=true", "algorithm.iterations=4", "seed=3"]
    own = ["trials=3", "workers=2", "tracking.enabled=false", "register=false", "out=there"]
    assert main(["sweep", space, *options, *own]) == 0
    log = tmp_path / "there" / "trials.jsonl"
    lines = log.read_text().splitlines()
    assert len(lines) == 3
    log.write_text("\n".join(lines[:2]) + "\n")
    assert main(["sweep", "resume=there"]) == 0
    trials = json.loads((tmp_path / "there" / "sweep.json").read_text())
    assert sorted(trial["number"] for trial in trials) == [0, 1, 2]
    assert {tuple(t["arguments"]) for t in trials} == {
        tuple(json.loads(line)["arguments"]) for line in lines
    }
    costs = [min(cost for _, cost in trial["curve"]) for trial in trials]
    assert costs == sorted(costs)
    best = tmp_path / "there" / f"trial_{trials[0]['number']:03d}"
    assert (best / "evaluation.json").exists()
    assert (best / "policy").is_dir()


@pytest.mark.nightly
def test_a_trial_that_loses_its_node_is_kept(tmp_path: Path) -> None:
    """On a Ray of two nodes, see tests/training/sweep_nodes.py."""
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.sweep_nodes"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    assert "weights are those of a training that lost nothing" in done.stdout
    assert "Trial 0 was lost (" in done.stdout
