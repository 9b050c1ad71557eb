"""Metrics arrive once and in order, whatever dies, fills up or doesn't answer.

`FAULT_SEED=17 python -m pytest tests/faults` plays one seed alone.
"""

from __future__ import annotations

import contextlib
import functools
import time
from pathlib import Path
from unittest.mock import patch

import pytest

from envs.errors import CheckpointError
from evaluation.tracking.config import TrackingConfig
from evaluation.tracking.tracker import Tracker, resend
from tests.faults.disk import Disk, Trouble
from tests.faults.seeds import play_seeds
from tests.faults.server import FATES, Client, Fate, Server
from tests.faults.world import Process, World
from training.job.checkpoint import CheckpointStore

STEPS = 8
CONFIG = TrackingConfig(
    enabled=True, uri="http://server", experiment="e", system_metrics=False,
    system_metrics_interval=10.0, flush_timeout=0.2, request_timeout=10,
)  # fmt: skip


TROUBLES: tuple[Trouble | None, ...] = (None, None, "slow", "slow", "full", "read-only")


class Run:
    """A training that is killed and goes on, until it has ended."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.folder = world, folder / "run"
        self.disk, self.server = Disk(world, folder), Server(world, folder)
        self.fates: tuple[Fate, ...] = ("done",)
        self.logged: dict[int, set[float]] = {}
        self.has_refused = self.is_damaged = False  # the disk; what is on it

    def play(self) -> None:
        chance = self.world.random
        client = Client(self.world, self.server, lambda: chance.choice(self.fates), 10.0)
        with (
            self.world.clocks(),
            self.disk.mounted(),
            patch("evaluation.tracking.mlflow_destination.open_client", lambda *_: client),
            patch("evaluation.tracking.tracker.git_revision", lambda: None),  # a real process
        ):
            self.world.at_step = self._change_weather
            for life in range(chance.randint(1, 4)):
                process = Process(f"life {life}", chance.choice([None, chance.randint(1, 150)]))
                process.clock_error = chance.choice([0.0, -1e4, 1e8])
                self.world.run(process, functools.partial(self._train, life > 0))
                if process.lives == 0 and chance.random() < 0.5:
                    self.world.log.append("power is lost")
                    self.disk.lose_power()
                if not self.is_damaged and chance.random() < 0.15:
                    among = chance.choice(("metrics.jsonl", "tracking_*.json*"))
                    self.is_damaged = self.disk.flip_a_bit(among) is not None
            self.disk.trouble, self.fates = None, ("done",)
            self.world.at_step = lambda process, what: None
            self.world.run(Process("last life"), lambda: self._train(True))
            left = self.world.run(Process("resend"), lambda: resend(self.folder, CONFIG))
        assert left == 0
        self._check()

    def _check(self) -> None:
        if len(self.server.runs) > 1:
            # A run is known by its key, kept twice: the disk refused one, the other was damaged.
            assert self.has_refused
            assert self.is_damaged
            return
        (metrics,) = self.server.metrics.values()
        steps = [step for _, _, _, step in metrics]
        assert steps == sorted(set(steps)), f"not once and in order: {steps}"
        for _, value, _, step in metrics:
            assert value in self.logged[step], f"step {step} was never {value}"
        if not self.has_refused and not self.is_damaged:
            assert steps == list(range(1, STEPS + 1)), f"not all: {steps}"

    def _train(self, resumed: bool) -> None:
        with contextlib.suppress(OSError, CheckpointError), contextlib.ExitStack() as stack:
            tracker = stack.enter_context(Tracker(CONFIG, self.folder, resumed=resumed))
            tracker.start("name")
            store = CheckpointStore(self.folder / "checkpoints", "run")
            latest = store.latest_good()
            step = 0 if latest is None else latest.step
            while step < STEPS:
                step += 1
                time.sleep(self.world.random.random())
                value = self.world.random.random()
                self.logged.setdefault(step, set()).add(value)
                tracker.log_metrics(step, {"loss": value})
                if step % 3 == 0:
                    store.save(step, lambda folder: (folder / "weights").write_text("w"))

    def _change_weather(self, process: Process, what: str) -> None:
        chance = self.world.random
        if chance.random() < 0.05:
            self.fates = chance.choice(FATES)
        if chance.random() < 0.03:
            self.disk.trouble = chance.choice(TROUBLES)
            self.has_refused |= self.disk.refuses


@pytest.mark.parametrize(
    "seeds", [range(60), pytest.param(range(60, 2400), marks=pytest.mark.nightly)]
)
def test_metrics_arrive_once_and_in_order(seeds: range) -> None:
    """A run is killed, its machine loses its power, its disk and its server fail as they like."""
    play_seeds(seeds, lambda world, folder: Run(world, folder).play())
