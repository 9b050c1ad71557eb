"""The loop of a training: iterations of an algorithm, its checkpoints, the choice of the best."""

from __future__ import annotations

import functools
import logging
import time

import numpy as np
from ray.rllib.algorithms.algorithm import Algorithm

from envs.errors import CheckpointError, Interrupted, TrainingStopped
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.simulation.action_spaces import ActionSpace
from evaluation.artifact.actor import Actor
from evaluation.artifact.correction import learned_correction
from evaluation.comparison.rollout import play
from evaluation.progress import Progress
from training.config import Settings
from training.job.account import Account
from training.job.checkpoint import Checkpoint, CheckpointStore
from training.job.stopping import Stopping, stopped_by_signals
from training.objective import objective
from training.rllib.saved_state import restore_state, save_state
from training.rllib.trainer import iteration_metrics, trained_actors

_LONG_ITERATION = 5.0  # seconds: each that takes longer is saved, since none can be waited for

_log = logging.getLogger(__name__)


class LearningLoop:
    """Learn, validate now and then, keep the best, save.

    iteration, seconds: done so far.
    has_best: whether a checkpoint is better than the base policy.
    best_iteration: of that checkpoint.
    curve: see `training.job.train.Outcome`.
    """

    def __init__(
        self,
        scenario: Scenario,
        settings: Settings,
        store: CheckpointStore,
        progress: Progress,
        base_cost: float,
    ) -> None:
        self._scenario, self._settings = scenario, settings
        self._store, self._progress = store, progress
        name = scenario.base_policy
        self._base = build_policy(name, scenario.compiled, scenario.policy_params[name])
        self.base_cost = base_cost
        self._is_whole = False  # whether the models are those of the end of an iteration
        self._untold: dict[str, float] | None = None
        resources = settings.resources
        self._account = Account(resources.price_per_hour, resources.max_price)
        self._told = -1  # the last iteration that was reported: each is, once
        self._reset()

    def _reset(self) -> None:
        """Nothing is learned yet."""
        self._best_cost = self.base_cost
        self._cost: float | None = None  # on validation, of the models as they are
        self.best_iteration = self.iteration = 0
        self.has_best = False
        self.seconds = 0.0
        self.curve: list[tuple[int, float, float, float]] = [(0, 0.0, 0.0, self.base_cost)]

    def run(self, algorithm: Algorithm, checkpoint: Checkpoint | None, is_warm: bool) -> None:
        """Learn until the iterations or the time are used up.

        is_warm: the models are trained already, so they are validated first.
        """
        self._reset()
        if checkpoint is not None:
            self._restore(algorithm, checkpoint)
        elif is_warm or self._scenario.action_space is not ActionSpace.residual:
            self._begin(algorithm)
        with stopped_by_signals() as stopping:
            try:
                self._learn(algorithm, stopping)
            except Interrupted as interrupted:
                raise self._left(algorithm, interrupted) from None

    def _learn(self, algorithm: Algorithm, stopping: Stopping) -> None:
        settings = self._settings
        iterations, limit = settings.algorithm.iterations, settings.time_limit
        self._progress.phase("learn", limit if limit is not None else iterations)
        already, start = self.seconds, time.monotonic()
        last_cost, metrics = self._best_cost, dict[str, float]()
        while self.iteration < iterations and (limit is None or self.seconds < limit):
            if self._account.is_spent:
                _log.warning("resources.max_price is reached: learning ends.")
                break
            # By it schedules fall; algorithms without any don't look.
            algorithm.progress = max(
                self.iteration / iterations, 0.0 if limit is None else self.seconds / limit
            )
            begun = time.monotonic()
            metrics = self._untold = self._iterate(algorithm)
            self.seconds = already + time.monotonic() - start
            self._account.note()
            is_long = time.monotonic() - begun > _LONG_ITERATION
            is_best = False
            if self.iteration % settings.validation.every == 0 or self.iteration == iterations:
                is_best = self._validate(algorithm, metrics)
                last_cost = self.curve[-1][-1]
            self._tell()  # first: an iteration that is saved isn't played again
            if is_best or is_long or self.iteration % settings.checkpoint_every == 0:
                self._save(algorithm)
            text = (
                f"iteration {self.iteration}, validation {last_cost / self.base_cost - 1:+.2%}, "
                f"best {self._best_cost / self.base_cost - 1:+.2%} vs base policy"
            )
            self._progress.update(self.seconds if limit is not None else self.iteration, text)
            stopping.check()
        if self.iteration % settings.validation.every and self._validate(algorithm, metrics):
            self._save(algorithm)

    def _tell(self) -> None:
        """Report the numbers of the iteration, once."""
        if self._untold is not None:
            own = {"time/train_seconds": self.seconds, "time/iteration": self.iteration}
            self._report(self._untold | own | self._account.metrics(self.seconds))
            self._untold = None

    def _report(self, metrics: dict[str, float]) -> None:
        if self.iteration > self._told:
            self._told = self.iteration
            self._progress.metrics(self.iteration, metrics)

    def _left(self, algorithm: Algorithm, interrupted: Interrupted) -> Interrupted:
        """Save what is learned; return what to tell. An iteration left half done is lost."""
        if self._is_whole:
            self._tell()
            self._save(algorithm)
        saved = self._store.latest_good()
        if saved is None:
            how = "nothing was learned yet"
        else:
            how = (
                f"iteration {saved.step} is saved; go on with: "
                f"echelon train resume={self._store.folder.parent}"
            )
        return Interrupted(interrupted.number, f"{interrupted}; {how}.")

    def _begin(self, algorithm: Algorithm) -> None:
        """Validate and keep what learning begins with: it may be the best there will be."""
        if self._scenario.action_space is not ActionSpace.residual:
            self._best_cost = np.inf  # zeros are not the base policy, to fall back to
        self.curve.clear()
        metrics: dict[str, float] = {}
        self._validate(algorithm, metrics)
        self._report(metrics)
        self._save(algorithm)

    def newest(self) -> Checkpoint | None:
        """Return what to go on from."""
        return self._store.latest_good()

    def best_actors(self, algorithm: Algorithm) -> dict[str, Actor]:
        """Return the models of the best validation; the base policy's zeros if none beat it."""
        if (best := self._find_best() if self.has_best else None) is not None:
            restore_state(algorithm, best.state)
            return trained_actors(algorithm)
        if self._scenario.action_space is not ActionSpace.residual:
            raise CheckpointError(
                f"No validated checkpoint in '{self._store.folder}' verifies, see the warnings; "
                "expected the best one. Resume the run with more algorithm.iterations."
            )
        actors = trained_actors(algorithm)
        for actor in actors.values():
            actor.answer_zero()
        return actors

    def _find_best(self) -> Checkpoint | None:
        """Return the best checkpoint that is left; where it is another one, go on with that."""
        best, fallback = self._store.best(), np.inf
        if self._scenario.action_space is ActionSpace.residual:
            fallback = self.base_cost
        if best is not None and best.cost is not None and best.cost < fallback:
            cost, step = best.cost, best.step
        else:
            best, cost, step = None, fallback, 0
        if best is None or step != self.best_iteration:
            _log.warning(
                "The best checkpoint, of iteration %d, is lost; %s takes its place.",
                self.best_iteration,
                "the base policy" if best is None else f"that of iteration {step}",
            )
            self._best_cost, self.best_iteration, self.has_best = cost, step, best is not None
        return best

    def _iterate(self, algorithm: Algorithm) -> dict[str, float]:
        self._is_whole, self._cost = False, None
        result = algorithm.train()
        self.iteration += 1
        self._is_whole = True
        return iteration_metrics(result)

    def _validate(self, algorithm: Algorithm, metrics: dict[str, float]) -> bool:
        """Add what the models cost to the metrics; returns whether they are the best so far."""
        validation = self._settings.validation
        actors = trained_actors(algorithm)
        result = play(
            self._scenario,
            self._base,
            learned_correction(actors, self._scenario),
            traces=validation.traces,
            seed=validation.seed,
            split="tune",
        )
        cost = objective(result, self._settings.reward)
        if not np.isfinite(cost):
            raise TrainingStopped(
                f"validation cost is {cost} in iteration {self.iteration}; lower "
                "algorithm.learning_rate, then resume from the last checkpoint."
            )
        metrics["validation/cost_per_period"] = cost
        metrics["validation/base_policy_cost_per_period"] = self.base_cost
        metrics["validation/fill_rate"] = result.summary()["fill_rate"]
        periods = metrics.get("sampling/num_env_steps_sampled_lifetime", 0.0)
        self.curve.append((self.iteration, self.seconds, periods, cost))
        self._cost = cost
        if cost < self._best_cost:
            self._best_cost, self.best_iteration, self.has_best = cost, self.iteration, True
            return True
        return False

    def _save(self, algorithm: Algorithm) -> None:
        meta = {
            "base_policy": self._scenario.base_policy,
            "policy_params": self._scenario.policy_params,
            "best_cost": self._best_cost,
            "best_iteration": self.best_iteration,
            "has_best": self.has_best,
            "base_cost": self.base_cost,
            "seconds": self.seconds,
            "curve": self.curve,
            "account": self._account.kept,
        }
        self._store.save(self.iteration, functools.partial(save_state, algorithm), meta, self._cost)

    def _restore(self, algorithm: Algorithm, checkpoint: Checkpoint) -> None:
        restore_state(algorithm, checkpoint.state)
        value, self._cost = checkpoint.value, checkpoint.cost
        self.iteration, self.seconds = checkpoint.step, value("seconds", float)
        self.best_iteration, self._best_cost = (
            value("best_iteration", int),
            value("best_cost", float),
        )
        self.has_best, self.base_cost = value("has_best", bool), value("base_cost", float)
        self.curve = [tuple(point) for point in value("curve", list)]
        if self._told < 0:  # this process has counted nothing yet
            self._account.go_on(value("account", dict))
            self._told = checkpoint.step
        if self.has_best:
            self._find_best()
        _log.warning("Resumed from the checkpoint of iteration %d.", self.iteration)
