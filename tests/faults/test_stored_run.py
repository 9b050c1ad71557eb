"""What is acknowledged as stored is found by another machine, whatever driver and storage do.

`FAULT_SEED=17 python -m pytest tests/faults` plays one seed alone.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from envs.errors import CheckpointError, ConfigError, StorageError
from evaluation.files.atomic_folder import SUMS_FILE, read_sums, verify_folder, write_folder
from evaluation.files.storage import Storage, is_damage
from tests.faults.disk import Disk, Trouble
from tests.faults.object_store import FATES, ObjectStore, SharedFiles
from tests.faults.seeds import play_seeds
from tests.faults.world import Process, World
from training.job.checkpoint import CheckpointStore
from training.job.fetched_run import fetch_run
from training.job.run_record import RunRecord
from training.job.stored_run import StoredRun, stored_run

STEPS = 4
TROUBLES: tuple[Trouble | None, ...] = (None, None, None, "full", "read-only", "slow")
Piece = tuple[int, float | None, str]  # a checkpoint: step, cost, text; the policy: no step


@dataclass(frozen=True)
class Stored:
    """What a driver knows to be stored."""

    pieces: tuple[Piece, ...] = ()

    @property
    def latest(self) -> int:
        return max((step for step, _, _ in self.pieces), default=0)

    @property
    def best(self) -> float:
        return min((cost for _, cost, _ in self.pieces if cost is not None), default=9.0)


@dataclass(eq=False)
class Driver:
    """A process that learns on a machine of its own."""

    number: int
    folder: Path
    process: Process
    stored: Stored = Stored()


class Site:
    """Drivers, of which one follows another; a storage for the run.

    pieces: all that was ever saved, by its list of sums.
    too_early: lists that were stored before something in them.
    is_damaged: a bit of what is stored.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.folder = world, folder
        place = folder / "storage"
        place.mkdir()
        self.disk, self.objects = Disk(world, place), ObjectStore(world)
        self.is_disk = world.random.random() < 0.25
        files: Any = SharedFiles() if self.is_disk else self.objects
        self.storage = Storage("s3://bucket/run", files, str(place / "run"))
        self.drivers: list[Driver] = []
        self.pieces: dict[bytes, Piece] = {}
        self.too_early: list[str] = []
        self.costs = [world.random.choice((None, world.random.random())) for _ in range(STEPS + 1)]
        self.is_damaged = False

    def play(self) -> None:
        with (
            self.world.clocks(),
            self.disk.mounted(),
            patch("training.job.stored_run.open_storage", lambda uri: self.storage),
            patch("training.job.fetched_run.open_storage", lambda uri: self.storage),
            self._acknowledged(),
        ):
            self.world.at_step = self._change_weather
            begun = [self._begin(self._new(), resumed=False)]
            for _ in range(self.world.random.randint(0, 3)):
                self._pass_time(begun[-1][1])
                if (following := self._follow()) is None:
                    break
                begun.append(following)
            self._pass_time(begun[-1][1])
            for driver, actor in begun:
                if self.world.random.random() < 0.5:
                    self.world.kill(driver.process)
                self.world.join(driver.process, actor)
            self.objects.settle()
            if self.is_disk and self.world.random.random() < 0.7:
                self.world.log.append("the storage loses its power")
                self.disk.lose_power()
            self._play_well()
        assert not self.too_early

    def _play_well(self) -> None:
        """Then the run ends as any other, and all of it is stored."""
        self.world.at_step = lambda process, what: None
        self.objects.fates, self.disk.trouble = ("done",), None
        driver = self._fetched()
        if driver is None:
            return
        driver.process.lives = None
        self.world.run(driver.process, functools.partial(self._drive, driver, True))
        assert driver.stored.latest == STEPS, "not all was stored"
        last = self._fetched()
        assert last is not None
        assert (last.folder / "policy").is_dir()

    def _new(self) -> Driver:
        number = len(self.drivers) + 1
        lives = self.world.random.choice((None, self.world.random.randint(1, 400)))
        process = Process(f"driver {number}", lives)
        driver = Driver(number, self.folder / f"machine {number}" / "run", process)
        self.drivers.append(driver)
        return driver

    def _begin(self, driver: Driver, *, resumed: bool) -> Any:
        work = functools.partial(self._drive, driver, resumed)
        return driver, self.world.spawn(driver.process, work)

    def _pass_time(self, actor: Any) -> None:
        """A driver learns for a while, or to its end."""
        seconds = self.world.random.choice((1e6, self.world.random.uniform(0.0, 200.0)))
        self.world.wait(lambda: actor.is_finished, seconds)

    def _follow(self) -> Any:
        """Another driver goes on, whether or not the one before it is really dead."""
        before, chance = self.drivers[-1], self.world.random
        if chance.random() < 0.5:
            self.world.kill(before.process)
        if not self.is_damaged and chance.random() < 0.2:
            self._damage()
        if chance.random() < 0.3:
            return self._go_on_with(self.drivers[0])
        driver = self._fetched()
        return None if driver is None else self._begin(driver, resumed=True)

    def _go_on_with(self, earlier: Driver) -> Any:
        """In the folder that an earlier driver left."""
        self.world.kill(earlier.process)
        if not (earlier.folder / "arguments.json").exists():
            return None
        driver = self._new()
        driver.folder = earlier.folder
        return self._begin(driver, resumed=True)

    def _fetched(self) -> Driver | None:
        """A driver on another machine, with what it found; None where there was nothing."""
        driver, expected = self._new(), self._newest
        for attempt in range(50):
            if attempt > 20:
                self.objects.fates, self.disk.trouble = ("done",), None
            expected = self._newest
            try:
                self.world.run(
                    Process(f"fetch {driver.number}"),
                    functools.partial(fetch_run, "uri", driver.folder),
                )
                break
            except (StorageError, CheckpointError) as problem:
                self.world.log.append(str(problem))
                if isinstance(problem, CheckpointError) or is_damage(problem):
                    assert self.is_damaged or not expected.pieces, "what was stored isn't found"
                    return None
                self.world.wait(lambda: False, 10.0)
        else:
            raise AssertionError("nothing can be fetched")
        self._check(driver, expected)
        return driver

    @property
    def _newest(self) -> Stored:
        """What the last driver that knows something to be stored knows now."""
        return next((d.stored for d in reversed(self.drivers) if d.stored.pieces), Stored())

    def _check(self, driver: Driver, expected: Stored) -> None:
        store = CheckpointStore(driver.folder / "checkpoints", "run")
        for path in store.folder.glob("step_*"):
            verify_folder(path)
            assert self._piece(path)[0] == int(path.name[5:])
        latest, best = store.latest_good(), store.best()
        step = 0 if latest is None else latest.step
        told = _told(driver.folder)
        assert told == list(range(1, len(told) + 1)), f"metrics of {told}"
        assert len(told) >= step, f"metrics of {told}, though step {step} is stored"
        if self.is_damaged:
            return
        assert step >= expected.latest, f"step {step}, though {expected.latest} was stored"
        cost = 9.0 if best is None or best.cost is None else best.cost
        assert cost <= expected.best, f"the best costs {cost}, {expected.best} was stored"
        if any(step == 0 for step, _, _ in expected.pieces):
            assert self._piece(driver.folder / "policy")

    def _piece(self, folder: Path) -> Piece:
        """What a sealed folder holds, which somebody saved."""
        piece = self.pieces[(folder / SUMS_FILE).read_bytes()]
        weights = folder / "weights" if piece[0] == 0 else folder / "state" / "weights"
        assert weights.read_text() == piece[2]
        return piece

    def _drive(self, driver: Driver, resumed: bool) -> None:
        folder, expected = driver.folder, self._newest
        if not resumed:
            RunRecord(run="run", command="train").write(folder)
        with (
            suppress(StorageError, CheckpointError, ConfigError),
            stored_run(folder, "uri", resumed=resumed) as saved,
        ):
            store = CheckpointStore(folder / "checkpoints", "run", keep=2, saved=saved)
            latest = store.latest_good()
            step = 0 if latest is None else latest.step
            if not self.is_damaged:
                assert step >= expected.latest, f"{step} takes the place of {expected.latest}"
            while step < STEPS:
                step += 1
                time.sleep(60.0 * self.world.random.random())
                if step not in _told(folder):
                    with (folder / "metrics.jsonl").open("a") as log:
                        log.write(json.dumps({"step": step}) + "\n")
                if self.world.random.random() < 0.3:  # it is validated later
                    self._save(store, step, None)
                self._save(store, step, self.costs[step])
            time.sleep(60.0 * self.world.random.random())
            text = f"policy {self.world.random.random()}"
            write_folder(
                folder / "policy", lambda path: (path / "weights").write_text(text), replace=True
            )
            self.pieces[(folder / "policy" / SUMS_FILE).read_bytes()] = 0, None, text

    def _save(self, store: CheckpointStore, step: int, cost: float | None) -> None:
        text = f"{step} {self.world.random.random()}"

        def write(state: Path) -> None:
            (state / "weights").write_text(text)

        try:
            store.save(step, write, {"text": text}, cost)
        finally:  # the driver may be told that it is the owner no more
            sums = store.folder / f"step_{step:09d}" / SUMS_FILE
            self.pieces.setdefault(sums.read_bytes(), (step, cost, text))

    @contextmanager
    def _acknowledged(self) -> Iterator[None]:
        """Note what every driver knows to be stored; watch the order."""
        store_all, copy_in = StoredRun._store_all, Storage._copy_in

        def noted(run: StoredRun) -> None:
            store_all(run)
            driver = next(d for d in reversed(self.drivers) if d.folder == run.folder)
            driver.stored = Stored(tuple(self.pieces[sums] for _, sums in run._listed.values()))
            self.world.log.append(f"driver {driver.number} has stored {driver.stored}")

        def watched(place: Storage, source: Path, name: str, progress: Any) -> str:
            if name == SUMS_FILE:
                listed = [f"{place._path}/{other}" for other in read_sums(source)]
                is_there = [p in self.objects.objects or Path(p).exists() for p in listed]
                self.too_early += [] if all(is_there) else [place.uri]
            return copy_in(place, source, name, progress)

        with (
            patch.object(StoredRun, "_store_all", noted),
            patch.object(Storage, "_copy_in", watched),
        ):
            yield

    def _damage(self) -> None:
        harmed = self.disk.flip_a_bit("*") if self.is_disk else self.objects.flip_a_bit()
        self.world.log.append(f"a bit of {harmed} is flipped")
        self.is_damaged = bool(harmed) and "owner.json" not in str(harmed)

    def _change_weather(self, process: Process, what: str) -> None:
        chance = self.world.random
        if chance.random() < 0.1:
            self.objects.fates = chance.choice(FATES)
        if chance.random() < 0.01:
            self.disk.trouble = chance.choice(TROUBLES)


def _told(folder: Path) -> list[int]:
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["step"] for line in lines]


@pytest.mark.parametrize(
    "seeds", [range(40), pytest.param(range(40, 900), marks=pytest.mark.nightly)]
)
def test_what_is_stored_is_found_elsewhere(seeds: range) -> None:
    """A driver is lost, or only thought to be; its storage and its network fail as they like."""
    play_seeds(seeds, lambda world, folder: Site(world, folder).play())
