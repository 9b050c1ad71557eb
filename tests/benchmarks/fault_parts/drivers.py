"""Faults of the process that trains: killed, told to stop, killed a hundred times."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.benchmarks.fault_parts.row import Row, say, timed
from tests.benchmarks.fault_parts.trainings import BEGIN, told
from training.job.run_record import checkpoints_of

_ROOT = Path(__file__).resolve().parents[3]
# `echelon train`, which notes each step that it knows to be saved in a file.
_NOTED = """
import os, sys
from training.job.checkpoint import CheckpointStore
save, log = CheckpointStore.save, os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def noted(store, step, *rest):
    path = save(store, step, *rest)
    os.write(log, b"%d\\n" % step)
    return path
CheckpointStore.save = noted
from echelon import main
sys.exit(main(["train", *sys.argv[2:]]))
"""


class Driver:
    """`echelon train` in a process of its own, and the folder of its run."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.begun = folder, time.monotonic()
        self.noted = folder.with_name(f"{folder.name}.saved")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f"{folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _NOTED, str(self.noted), *options],
                cwd=_ROOT, env={**os.environ, "PYTHONPATH": str(_ROOT)}, stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def saved(self) -> list[int]:
        """Steps whose checkpoints were acknowledged, by all drivers of the folder."""
        return [int(n) for n in self.noted.read_text().split()] if self.noted.exists() else []

    @property
    def last(self) -> int:
        """Iteration that was recorded last."""
        return max((record["step"] for record in told(self.folder)), default=0)

    def wait(self, condition: Callable[[], bool]) -> float:
        """Return the seconds since it was started, once the condition holds."""
        while not condition():
            if self.process.poll() is not None:
                text = self.folder.with_name(f"{self.folder.name}.log").read_text()
                raise RuntimeError(f"the training ended by itself: {text[-2000:]}")
            time.sleep(0.05)
        return time.monotonic() - self.begun

    def kill(self) -> None:
        """SIGKILL; its Ray ends by itself, or is ended."""
        ray = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        for process in psutil.wait_procs(ray, timeout=20.0)[1]:
            process.kill()


def _options(folder: Path, *own: str) -> list[str]:
    return [*BEGIN[1:], f"out={folder}", "algorithm.iterations=1000000", *own]


def driver_killed(folder: Path) -> list[Row]:
    """Killed and resumed; then told to stop."""
    out = folder / "driver"
    say("driver SIGKILL")
    driver = Driver(out, *_options(out, "resources.env_runners=2", "algorithm.shards=2"))
    driver.wait(lambda: driver.last >= 15 and driver.last % 10 >= 5)
    driver.kill()
    reached, saved = driver.last, checkpoints_of(out).latest_good()
    assert saved is not None
    resumed = Driver(out, f"resume={out}")
    seconds = resumed.wait(lambda: resumed.last > reached)
    rows = [
        timed("driver SIGKILL", "`resume=` goes on from the checkpoint, every iteration told once",
              f"{reached - saved.step} iterations of {reached}", seconds, 60.0)
    ]  # fmt: skip
    say("SIGTERM")
    resumed.wait(lambda: resumed.last % 10 == 5)
    begun = time.monotonic()
    resumed.process.send_signal(signal.SIGTERM)
    code = resumed.process.wait(timeout=120.0)
    seconds, saved = time.monotonic() - begun, checkpoints_of(out).latest_good()
    assert saved is not None
    lost = resumed.last - saved.step
    rows.append(
        Row("SIGTERM", f"a checkpoint, exit code {code}", f"{lost} iterations" if lost else
            "nothing", seconds, "<= 20 s, 75", code == 75 and seconds <= 20.0 and not lost)
    )  # fmt: skip
    steps = [record["step"] for record in told(out)]
    assert steps == list(range(1, len(steps) + 1)), "an iteration is missing, or twice"
    return rows


def driver_kills(folder: Path, kills: int) -> list[Row]:
    """At random moments of a training that saves all the time."""
    out, chance = folder / "kills", random.Random(1)
    own = ["resources=local", "resources.envs_per_runner=4", "checkpoint_every=1",
           "validation.every=1000", "algorithm.shards=1"]  # fmt: skip
    lost = doubled = saves = 0
    lives = []
    for number in range(1, kills + 1):
        options = _options(out, *own) if number == 1 else [f"resume={out}"]
        driver = Driver(out, *options)
        before = len(driver.saved)
        lives.append(driver.wait(lambda d=driver, n=before: len(d.saved) > n))  # type: ignore[misc]
        time.sleep(chance.uniform(0.0, 1.0))
        driver.kill()
        found = checkpoints_of(out).latest_good()
        acknowledged = max(driver.saved)
        lost += found is None or found.step < acknowledged
        saves = len(driver.saved)
        steps = [record["step"] for record in told(out)]
        doubled += steps != list(range(1, len(steps) + 1))
        say(f"kill {number} of {kills}: {saves} checkpoints acknowledged, {lost} lost")
    return [
        Row(f"driver SIGKILL, {kills} times at random moments",
            f"{saves} checkpoints acknowledged, {lost} lost; metrics doubled or missing after "
            f"{doubled} kills", f"{lost} acknowledged checkpoints",
            sum(lives) / len(lives), "none lost", not lost and not doubled)
    ]  # fmt: skip
