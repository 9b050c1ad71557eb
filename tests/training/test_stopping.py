"""SIGTERM and Ctrl-C: the iteration ends, its checkpoint is saved, the exit code says which."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from echelon import main
from envs.errors import Interrupted
from training.job.learning_loop import LearningLoop
from training.job.run_record import checkpoints_of
from training.job.stopping import stopped_by_signals

RUN = [
    "train", "scenario=single_backlog", "smoke=true", "resources.envs_per_runner=4", "out=run",
    "tracking.enabled=false", "tune.budget=4", "tune.traces=2", "checkpoint_every=1000",
    "validation.every=1000",
]  # fmt: skip


def test_a_signal_saves_the_iteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Iterations 1 to 3 are told of and saved though none was due; a resume goes on from there."""
    monkeypatch.chdir(tmp_path)
    iterate = LearningLoop._iterate

    def signalled(loop: LearningLoop, *arguments: object) -> dict[str, float]:
        numbers = iterate(loop, *arguments)
        if loop.iteration == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return numbers

    with monkeypatch.context() as patch:
        patch.setattr(LearningLoop, "_iterate", signalled)
        assert main([*RUN, "algorithm.iterations=1000"]) == 75
    said = capsys.readouterr().err
    assert "stopped by SIGTERM; iteration 3 is saved; go on with: echelon train" in said
    saved = checkpoints_of(tmp_path / "run").latest_good()
    assert saved is not None
    assert saved.step == 3
    assert main(["train", "resume=run", "algorithm.iterations=5"]) == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines if "time/iteration" in line]
    assert steps == [1, 2, 3, 4, 5]


@pytest.mark.nightly
@pytest.mark.parametrize(("phase", "held"), [("play", "nothing was learned yet"),
                                             ("_test", "iteration 3 is saved")])  # fmt: skip
def test_a_signal_ends_what_comes_before_and_after_learning(
    phase: str, held: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """With the code and the line that learning ends with, and no dump of Ray's."""
    monkeypatch.chdir(tmp_path)

    def signalled(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60.0)

    with monkeypatch.context() as patch:
        patch.setattr(f"training.job.train.{phase}", signalled)
        assert main([*RUN, "algorithm.iterations=3"]) == 75
    said = capsys.readouterr().err
    assert f"stopped by SIGTERM; {held}; go on with: echelon train resume=" in said
    assert "Traceback" not in said
    assert main(["train", "resume=run"]) == 0


def test_what_does_not_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some seconds, or at once at a second signal; then handlers are those of before."""
    monkeypatch.setattr("training.job.stopping._LONGEST_WAIT", 0.05)
    before = signal.getsignal(signal.SIGTERM)
    for number, again in ((signal.SIGTERM, False), (signal.SIGINT, True)):
        with pytest.raises(Interrupted, match=number.name) as raised:
            work_on(number, again)
        assert raised.value.exit_code == (75 if number == signal.SIGTERM else 130)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_at_the_very_end_is_not_lost() -> None:
    """Nobody asks about it any more."""
    with pytest.raises(Interrupted, match="SIGTERM"), stopped_by_signals():
        os.kill(os.getpid(), signal.SIGTERM)


def work_on(number: int, again: bool) -> None:
    """Ignore that a signal came."""
    with stopped_by_signals():
        os.kill(os.getpid(), number)
        if again:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60.0)
