"""A checkpoint that was acknowledged is there and whole, whatever happens to process and machine.

`FAULT_SEED=17 python -m pytest tests/faults` plays one seed alone.
"""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path

import pytest

from envs.errors import CheckpointError
from tests.faults.disk import Disk, Trouble
from tests.faults.seeds import play_seeds
from tests.faults.world import Process, World
from training.job.checkpoint import Checkpoint, CheckpointStore

TROUBLES: tuple[Trouble | None, ...] = (None, None, "full", "read-only", "slow")


class Run:
    """A writer of checkpoints that is killed again and again, and what is found after it.

    written: every text that is, or may be, saved as a step's.
    acknowledged: steps.
    costs: of steps, the same whenever they are saved; None: not validated.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.disk = world, Disk(world, folder)
        self.folder = folder / "run" / "checkpoints"
        self.written: dict[int, set[str]] = {}
        self.acknowledged: set[int] = set()
        self.costs = [world.random.choice((None, world.random.random())) for _ in range(40)]

    def play(self) -> None:
        chance = self.world.random
        self.world.at_step = self._change_weather
        with self.world.clocks(), self.disk.mounted():
            for life in range(chance.randint(1, 4)):
                process = Process(f"life {life}", chance.randint(1, 250))
                self.world.run(process, self._write)
                if chance.random() < 0.5:
                    self.world.log.append("power is lost")
                    self.disk.lose_power()
                self.disk.trouble = None
                self._check()
            if chance.random() < 0.5:
                self._damage()

    def _store(self) -> CheckpointStore:
        return CheckpointStore(self.folder, "run", keep=2)

    def _write(self) -> None:
        chance, store = self.world.random, self._store()
        latest = store.latest_good()
        step = 0 if latest is None else latest.step
        for _ in range(4):
            step += chance.choice((0, 1, 1))  # a step may be saved again
            text = f"{step} {chance.random()}"
            self.written.setdefault(step, set()).add(text)
            fill = functools.partial(_fill, text)
            with contextlib.suppress(CheckpointError):
                store.save(step, fill, {"text": text}, self.costs[step])
                self.acknowledged.add(step)
                self.written[step] = {text}

    def _find(self, which: str) -> Checkpoint | None:
        found = self.world.run(Process(which), getattr(self._store(), which))
        if found is not None:
            text = (found.state / "weights").read_text()
            assert text == found.meta["text"] == (found.state / "deep" / "more").read_text()
            assert text in self.written[found.step], f"{which} of step {found.step} holds {text}"
        return found

    def _check(self) -> None:
        latest, best = self._find("latest_good"), self._find("best")
        if self.acknowledged:
            assert latest is not None
            assert latest.step >= max(self.acknowledged)
        costs = [cost for s in self.acknowledged if (cost := self.costs[s]) is not None]
        if costs:
            assert best is not None
            assert best.cost is not None
            assert best.cost <= min(costs)

    def _damage(self) -> None:
        """A flipped bit costs a checkpoint; that it is used would cost a run."""
        harmed = self.disk.flip_a_bit("*")
        if harmed is not None and "step_" in str(harmed):
            with contextlib.suppress(CheckpointError):  # where there is no other
                self._find("latest_good")
                self._find("best")

    def _change_weather(self, process: Process, what: str) -> None:
        if self.world.random.random() < 0.01 and process.name.startswith("life"):
            self.disk.trouble = self.world.random.choice(TROUBLES)


def _fill(text: str, folder: Path) -> None:
    (folder / "deep").mkdir()
    for path in (folder / "weights", folder / "deep" / "more"):
        path.write_text(text)


@pytest.mark.parametrize(
    "seeds", [range(40), pytest.param(range(40, 1500), marks=pytest.mark.nightly)]
)
def test_no_acknowledged_checkpoint_is_lost(seeds: range) -> None:
    """And none is read that isn't what was saved."""
    play_seeds(seeds, lambda world, folder: Run(world, folder).play())
