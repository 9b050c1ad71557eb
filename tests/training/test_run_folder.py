"""One folder, one run: who owns it, what it was begun with, and which checkpoints are its own."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from conf.compose import compose
from echelon import main
from envs.errors import CheckpointError, ConfigError
from envs.scenarios import build_scenario
from evaluation.progress import SilentProgress
from evaluation.tracking.tracker import Tracker
from tests.settings import as_shipped
from training.commands.arguments import keep_record, record_of, with_resumed
from training.commands.train import MAY_DIFFER, TrainCommand
from training.job.learning_loop import LearningLoop
from training.job.run_record import RECORD, RunRecord, checkpoints_of

ARGUMENTS = ["scenario=lost_sales", "scenario.base_policy=base_stock", "smoke=true", "seed=3"]
QUIET = "tracking.enabled=false"
Files = dict[str, bytes]


def files_of(folder: Path) -> Files:
    """What is in it."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that ended, without the hours of training: record, tracking, three checkpoints."""
    folder = tmp_path / "run"
    composed = compose(TrainCommand, [*ARGUMENTS, QUIET, f"out={folder}"])
    with Tracker(composed.command.tracking, folder) as tracker:
        keep_record(
            folder, record_of(folder, "train", composed.arguments, composed.resolved, MAY_DIFFER)
        )
        composed.write()
        tracker.start("ended")
    store = checkpoints_of(folder)
    for step, cost in enumerate([5.0, 4.0, 6.0], start=1):
        store.save(step, lambda path: (path / "weights").write_bytes(b"w" * 100), {}, cost)
    return folder


def test_any_bit_of_what_is_resumed_is_sealed(run: Path) -> None:
    """Record: refused. Checkpoint: passed over. What is found otherwise is what was written."""
    chance = random.Random(5)
    record, good = RunRecord.read(run), files_of(run)
    for name, content in good.items():
        if name != RECORD and not name.startswith("checkpoints/"):
            continue
        for _ in range(40 if name == RECORD else 12):
            bad = bytearray(content)
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
            (run / name).write_bytes(bad)
            if name == RECORD:
                with pytest.raises(CheckpointError, match=RECORD):
                    checkpoints_of(run)
                with pytest.raises(ConfigError, match=r"resume=.*Expected the folder of a run"):
                    with_resumed([f"resume={run}"], "train", "a run", ConfigError)
                continue
            assert RunRecord.read(run) == record
            latest, best = checkpoints_of(run).latest_good(), checkpoints_of(run).best()
            assert latest is not None
            assert best is not None
            harmed = int(name.split("/")[1].removeprefix("step_"))
            assert latest.step == (2 if harmed == 3 else 3)
            assert best.step == (1 if harmed == 2 else 2)
        (run / name).write_bytes(content)
    assert files_of(run) == good


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["scenario=serial"], 'scenario.name was "lost_sales" and is "serial"'),
        (["seed=4"], "seed was 3 and is 4; expected the configuration that the run began with"),
        (["+scenario.policy_params.s_s={gap: 3}"], "scenario.policy_params.s_s.gap was not there"),
        (["out=elsewhere"], "and out=elsewhere are both given"),
        (["algorithm.iterations=4,5", "-m"], "and -m are both given"),
    ],
    ids=["another scenario", "another seed", "a new key", "another folder", "several"],
)  # fmt: skip
def test_what_differs_from_the_run_is_named_and_refused(
    typed: list[str], told: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is written."""
    before = files_of(run)
    assert main(["train", f"resume={run}", *typed]) == 1
    error = capsys.readouterr().err
    assert told in error, error
    assert error.count("\n") == 1
    assert files_of(run) == before


def test_a_changed_record_is_found(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand, of before there were seals, or of another run: its checkpoints aren't this one's."""
    text = (run / RECORD).read_text()
    for changed, told in (
        (text.replace("seed=3", "seed=4"), "damaged, or changed by hand"),
        ('["scenario=lost_sales"]', "of an earlier version"),
    ):
        (run / RECORD).write_text(changed)
        assert main(["train", f"resume={run}"]) == 1
        assert told in capsys.readouterr().err
    record = compose(TrainCommand, ARGUMENTS)
    (run / RECORD).unlink()
    (run / "config.yaml").unlink()
    keep_record(run, record_of(run, "train", record.arguments, record.resolved, MAY_DIFFER))
    assert main(["train", f"resume={run}"]) == 1
    assert "None of the 3 checkpoints" in capsys.readouterr().err


def test_nothing_begins_anew_where_every_checkpoint_is_damaged(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And tracking is not told of it: the run is what it was."""
    for path in (run / "checkpoints").glob("*/state/weights"):
        path.write_bytes(b"")
    before = files_of(run)
    assert main(["train", f"resume={run}"]) == 1
    assert "begin a new run in another folder" in capsys.readouterr().err
    assert files_of(run) == before


@pytest.mark.parametrize(
    "command",
    [
        ["train", *ARGUMENTS],
        ["evaluate", "scenario=serial", "policies=[base_stock]"],
        ["tune", "scenario=serial"],
        ["sweep", "scenario=serial", "space={seed: {choices: [1]}}"],
        ["report", "scenarios=[serial]"],
    ],
    ids=lambda command: command[0],
)
def test_a_used_folder_is_refused(
    command: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By every command that is tracked; also while a process has it."""
    before = files_of(run)
    assert main([*command, f"out={run}"]) == 1
    assert f"out={run} holds a run already" in capsys.readouterr().err
    with Tracker(as_shipped("tracking", enabled=False), run.parent / "live"):
        mine = files_of(run.parent / "live")
        if command[0] in ("train", "sweep", "report"):
            assert main([*command, f"out={run.parent / 'live'}"]) == 1
            assert "is in use by a live process" in capsys.readouterr().err
        assert files_of(run.parent / "live") == mine
    assert files_of(run) == before


def test_the_next_best_takes_the_place_of_a_lost_one(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If it beats the base policy; later validations have to beat it, not the lost one."""
    command = compose(TrainCommand, ARGUMENTS).command
    scenario = build_scenario(command.scenario)
    scenario = replace(scenario, policy_params={"base_stock": {}})
    loop = LearningLoop(scenario, command, checkpoints_of(run), SilentProgress(), base_cost=5.5)
    loop.best_iteration, loop.has_best = 2, True
    best = loop._find_best()
    assert best is not None
    assert best.step == 2
    assert not caplog.text
    shutil.rmtree(run / "checkpoints" / "step_000000002")
    best = loop._find_best()
    assert best is not None
    assert (best.step, loop.best_iteration, loop._best_cost, loop.has_best) == (1, 1, 5.0, True)
    assert "of iteration 2, is lost; that of iteration 1 takes its place" in caplog.text
    shutil.rmtree(run / "checkpoints" / "step_000000001")
    assert loop._find_best() is None
    assert (loop.best_iteration, loop._best_cost, loop.has_best) == (0, 5.5, False)
    assert "the base policy takes its place" in caplog.text
