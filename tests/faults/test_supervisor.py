"""A training whose learner is lost ends with what it would have ended with, and tells it once.

`FAULT_SEED=17 python -m pytest tests/faults` plays one seed alone.
"""

from __future__ import annotations

import contextlib
import functools
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from ray.exceptions import ActorDiedError

from conf.compose import compose
from envs.errors import Interrupted, TrainingStopped
from envs.simulation.action_spaces import ActionSpace
from evaluation.progress import SilentProgress
from tests.faults.seeds import play_seeds
from tests.faults.world import Process, World
from training.commands.train import TrainCommand
from training.config import Settings
from training.job import learning_loop
from training.job.checkpoint import CheckpointStore
from training.job.learning_loop import LearningLoop
from training.job.supervisor import learn

ITERATIONS = 9
UNTRAINED, WARM, BASE_COST = 0, 1, 0.7
MOST_LOSSES = 4  # in a row, without a new checkpoint
Metrics = dict[str, float]


@dataclass(frozen=True)
class Ended:
    """What a training gives."""

    models: int
    iteration: int
    best_iteration: int
    has_best: bool
    curve: list[tuple[int, float]]


class Life:
    """A process that trains.

    begun_at: iteration of the checkpoint that it goes on from; None: there is none.
    mortality: of a learner, at each call.
    told: iterations, in their order.
    losses: the newest checkpoint at each loss of a learner.
    """

    def __init__(self, begun_at: int | None, mortality: float) -> None:
        self.begun_at, self.mortality = begun_at, mortality
        self.told: list[int] = []
        self.losses: list[int] = []
        self.is_told_to_stop = self.listens = False


class Run:
    """Lives of a training, the last of which nothing disturbs, and one that nothing ever did."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.folder = world, folder
        chance = world.random
        self.scenario: Any = SimpleNamespace(
            base_policy="base", policy_params={"base": {}},
            action_space=chance.choice((ActionSpace.residual, ActionSpace.direct)),
        )  # fmt: skip
        self.is_warm = chance.random() < 0.3
        self.settings = replace(
            _command(),
            checkpoint_every=chance.randint(1, 5),
            validation=replace(_command().validation, every=chance.randint(1, 4)),
        )
        self.numbers: dict[int, Metrics] = {}
        self.saved: set[int] = set()
        self.life = Life(None, 0.0)
        self.learners: list[Learner] = []
        models = self.begins_with = WARM if self.is_warm else UNTRAINED
        self.places = {models: 0}  # iteration by models
        for step in range(1, ITERATIONS + 1):
            models = _trained(models)
            self.places[models] = step

    def play(self) -> None:
        with self.world.clocks(), self._patched():
            wanted = self._live(0.0, self.folder / "undisturbed")
            assert self.life.told == self._all
            assert wanted is not None
            assert wanted.has_best == (self.places.get(wanted.models) == wanted.best_iteration)
            undisturbed, self.numbers = self.numbers, {}
            self.saved.clear()
            for _ in range(self.world.random.randint(1, 3)):
                mortality = self.world.random.choice((0.0, 0.02, 0.05, 0.2, 0.5))
                ended = self._live(mortality, self.folder / "run")
                if ended is not None:
                    break
            else:
                ended = self._live(0.0, self.folder / "run")
            assert ended == wanted
            assert self.numbers.keys() == undisturbed.keys()
            for step, numbers in self.numbers.items():  # one validation may be cut short by SIGTERM
                assert numbers.items() <= undisturbed[step].items()

    @property
    def _all(self) -> list[int]:
        begins_with_models = self.is_warm or self.scenario.action_space is ActionSpace.direct
        return list(range(0 if begins_with_models else 1, ITERATIONS + 1))

    def _live(self, mortality: float, folder: Path) -> Ended | None:
        """None where it was killed, or left with an error."""
        chance = self.world.random
        self.life = life = Life(max(self.saved, default=None), mortality)
        process = Process("life")
        if life.mortality:
            process.lives = chance.choice((None, chance.randint(1, 200)))
            self.world.at_step = self._change_weather
        ended, error = None, None
        try:
            ended = self.world.run(process, functools.partial(self._train, folder))
        except (TrainingStopped, Interrupted) as problem:
            error = problem
        self.world.at_step = lambda process, what: None
        self._check(process, ended, error)
        return ended

    def _check(self, process: Process, ended: Ended | None, error: Exception | None) -> None:
        life = self.life
        first = self._all[0] if life.begun_at is None else life.begun_at + 1
        expected = [step for step in self._all if step >= first]
        assert life.told == expected[: len(life.told)], f"not once and in order: {life.told}"
        if ended is not None:
            assert life.told == expected, f"not all: {life.told}"
        assert max(self.saved, default=0) in {0, *self.numbers}, "saved before it was told"
        streak, most = 0, 0
        for before, newest in zip([-1, *life.losses], life.losses, strict=False):
            streak = streak + 1 if newest == before else 1
            most = max(most, streak)
        assert most <= MOST_LOSSES, f"it goes on after losses at {life.losses}"
        if isinstance(error, TrainingStopped):
            assert streak == MOST_LOSSES, f"it ended after losses at {life.losses}"
        assert all(learner.is_stopped for learner in self.learners) or process.lives == 0
        self.learners.clear()

    def _train(self, folder: Path) -> Ended:
        store = CheckpointStore(folder / "checkpoints", "run")
        checkpoint = store.latest_good()

        def begin(learner: Any) -> bool:
            learner.models = self.begins_with
            return self.is_warm

        loop = LearningLoop(self.scenario, self.settings, store, _Told(self), BASE_COST)
        build: Callable[[], Any] = functools.partial(Learner, self)
        actors: Any = learn(build, begin, loop, checkpoint)
        return Ended(
            actors["kind"].models, loop.iteration, loop.best_iteration, loop.has_best,
            [(point[0], point[3]) for point in loop.curve],
        )  # fmt: skip

    def _change_weather(self, process: Process, what: str) -> None:
        if self.life.listens and self.world.random.random() < 0.005:
            self.world.log.append("SIGTERM")
            self.life.is_told_to_stop = True

    @contextlib.contextmanager
    def _patched(self) -> Iterator[None]:
        own = {
            "Validation": functools.partial(Validation, self),
            "objective": lambda kpis, _: kpis.cost, "iteration_metrics": dict,
            "trained_actors": lambda learner: learner.actors(),
            "take_state": lambda learner: learner.state(),
            "restore_state": lambda learner, folder: learner.restore(folder),
            "stopped_by_signals": self._stopping,
        }  # fmt: skip
        save = CheckpointStore.save

        def noted(store: CheckpointStore, step: int, *arguments: Any) -> Path:
            path = save(store, step, *arguments)
            self.saved.add(step)
            return path

        with contextlib.ExitStack() as stack:
            for name, value in own.items():
                stack.enter_context(patch.object(learning_loop, name, value))
            stack.enter_context(patch.object(CheckpointStore, "save", noted))
            yield

    @contextlib.contextmanager
    def _stopping(self) -> Iterator[Any]:
        life, life.listens = self.life, True

        def check() -> None:
            if life.is_told_to_stop:
                raise Interrupted(signal.SIGTERM)

        try:
            yield SimpleNamespace(check=check)
        finally:
            life.listens = False
        check()


class _Told(SilentProgress):
    def __init__(self, run: Run) -> None:
        self._run = run

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        own = {name: value for name, value in values.items() if name in _COMPARED}
        self._run.world.step(f"iteration {step}: {own}")
        self._run.life.told.append(step)
        before = self._run.numbers.setdefault(step, own)
        for name in before.keys() & own.keys():
            assert before[name] == own[name], f"iteration {step} was {before} and is {own}"
        before |= own


_COMPARED = ("loss", "validation/cost_per_period")


class Learner:
    """An algorithm whose models are one number, and whose process is lost at some moment."""

    def __init__(self, run: Run) -> None:
        self._run, self.models, self.progress = run, UNTRAINED, 0.0
        self.is_lost = self.is_stopped = False
        assert not run.life.is_told_to_stop, "it goes on after SIGTERM"
        run.learners.append(self)
        try:
            self._ask("build")
        except ActorDiedError:
            self.is_stopped = True
            raise

    def _ask(self, what: str) -> None:
        run = self._run
        run.world.step(what)
        if not self.is_lost and run.world.random.random() < run.life.mortality:
            run.world.log.append("the learner is lost")
            self.is_lost = True
            run.life.losses.append(max(run.saved, default=0))
        if self.is_lost:
            raise ActorDiedError

    def train(self) -> Metrics:
        self._ask("train")
        done = self._run.places[self.models]
        assert done >= max(self._run.saved, default=0), f"iteration {done + 1} is saved already"
        time.sleep(self._run.world.random.choice((0.1, 0.1, 10.0)))
        self.models = _trained(self.models)
        self._ask("give numbers")
        return {"loss": float(self.models)}

    def actors(self) -> Any:
        self._ask("give actors")
        return {"kind": _Actor(self.models)}

    def state(self) -> Any:
        self._ask("give state")
        text = str(self.models)
        return SimpleNamespace(write=lambda folder: (folder / "models").write_text(text))

    def restore(self, folder: Path) -> None:
        self._ask("restore")
        self.models = int((folder / "models").read_text())

    def stop(self) -> None:
        self.is_stopped = True


@dataclass
class _Actor:
    models: int

    def answer_zero(self) -> None:
        self.models = UNTRAINED


class Validation:
    """Plays models beside learning, for a while."""

    def __init__(self, run: Run, scenario: object, settings: object) -> None:
        self._world = run.world

    def begin(self, actors: Any) -> Callable[[float], Any]:
        cost = Random(actors["kind"].models).random()
        ready = self._world.now + self._world.random.choice((0.0, 1.0, 30.0))

        def result(seconds: float) -> Any:
            if seconds == math.inf or self._world.now + seconds >= ready:
                self._world.wait(lambda: False, ready - self._world.now)
                return SimpleNamespace(cost=cost, summary=lambda: {"fill_rate": 1.0})
            self._world.wait(lambda: False, seconds)
            return None

        return result

    def close(self) -> None:
        """Nothing to end."""


def _trained(models: int) -> int:
    return Random(models).randrange(10, 10**9)


@functools.cache
def _command() -> Settings:
    return compose(
        TrainCommand, ["scenario=lost_sales", f"algorithm.iterations={ITERATIONS}"]
    ).command


@pytest.mark.parametrize(
    "seeds", [range(60), pytest.param(range(60, 1500), marks=pytest.mark.nightly)]
)
def test_lost_learners_change_nothing(seeds: range) -> None:
    """At any moment; nor does a killed driver or a SIGTERM. Four losses without a new checkpoint
    end it."""
    play_seeds(seeds, lambda world, folder: Run(world, folder).play())
