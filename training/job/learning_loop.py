"""The loop of a training: iterations of an algorithm, its checkpoints, the choice of the best."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ray.exceptions import RayError
from ray.rllib.algorithms.algorithm import Algorithm

from envs.errors import CheckpointError, Interrupted, TrainingStopped
from envs.kpis.pairs import EpisodeKpis
from envs.scenario import Scenario
from envs.simulation.action_spaces import ActionSpace
from evaluation.artifact.actor import Actor
from evaluation.progress import Progress
from training.config import Settings
from training.job.account import Account
from training.job.checkpoint import Checkpoint, CheckpointStore
from training.job.stopping import Stopping, stopped_by_signals
from training.job.validation import Result, Validation, paired_gain
from training.objective import objective
from training.rllib.saved_state import State, restore_state, take_state
from training.rllib.trainer import iteration_metrics, trained_actors

_LONG_ITERATION = 5.0  # seconds: each that takes longer is saved, since none can be waited for
_LAST_WAIT = 3.0  # seconds, for a validation's result when a signal asks to stop

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Moment:
    """The end of an iteration: what it can be gone on from."""

    iteration: int
    seconds: float
    account: Mapping[str, float]
    state: State


@dataclass(frozen=True, eq=False)
class _Validated:
    """Models that are played on the validation traces, while learning goes on."""

    result: Result
    moment: _Moment
    metrics: dict[str, float]  # of the iteration; nobody was told of it yet
    is_kept: bool


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
        base: EpisodeKpis | None = None,
    ) -> None:
        """base_cost: the base policy's objective on the validation traces; base: how it did there,
        which gains are told against."""
        self._scenario, self._settings = scenario, settings
        self._store, self._progress = store, progress
        self._validation = Validation(scenario, settings)
        self.base_cost, self._base = base_cost, base
        self._is_whole = False  # whether the models are those of the end of an iteration
        resources = settings.resources
        self._account = Account(resources.price_per_hour, resources.max_price)
        self._told = -1  # the last iteration that was reported: each is, once
        self._reset()

    def _reset(self) -> None:
        """Nothing is learned yet."""
        self._best_cost = self.base_cost
        self._cost: tuple[int, float] | None = None  # (iteration, what its models cost)
        self._validated: _Validated | None = None
        self._untold: list[tuple[int, dict[str, float]]] = []
        self.best_iteration = self.iteration = self._saved = 0
        self.has_best = False
        self.seconds = 0.0
        self.curve: list[tuple[int, float, float, float]] = [(0, 0.0, 0.0, self.base_cost)]

    def run(self, algorithm: Algorithm, checkpoint: Checkpoint | None, is_warm: bool) -> None:
        """Learn until the iterations or the time are used up.

        is_warm: the models are trained already, so they are validated first.
        """
        self._reset()
        try:
            if checkpoint is not None:
                self._restore(algorithm, checkpoint)
                self._catch_up(algorithm, checkpoint)
            elif is_warm or self._scenario.action_space is not ActionSpace.residual:
                self._begin(algorithm)
            with stopped_by_signals() as stopping:
                try:
                    self._learn(algorithm, stopping)
                except RayError:
                    stopping.check()  # then nobody waits for another learner
                    raise
                except Interrupted:
                    with contextlib.suppress(RayError):  # it is lost in this moment
                        self._leave(algorithm)
                    raise
        finally:
            self._validation.close()

    def _learn(self, algorithm: Algorithm, stopping: Stopping) -> None:
        settings = self._settings
        iterations, limit = settings.algorithm.iterations, settings.time_limit
        self._progress.phase("learn", limit if limit is not None else iterations)
        already, start = self.seconds, time.monotonic()
        while self.iteration < iterations and (limit is None or self.seconds < limit):
            if self._account.is_spent:
                _log.warning("resources.max_price is reached: learning ends.")
                break
            # By it schedules fall; algorithms without any don't look.
            algorithm.progress = max(
                self.iteration / iterations, 0.0 if limit is None else self.seconds / limit
            )
            begun = time.monotonic()
            metrics = self._iterate(algorithm)
            self.seconds = already + time.monotonic() - start
            self._account.note()
            metrics |= {"time/train_seconds": self.seconds, "time/iteration": self.iteration}
            metrics |= self._account.metrics(self.seconds)
            self._untold.append((self.iteration, metrics))
            is_long = time.monotonic() - begun > _LONG_ITERATION
            is_kept = is_long or self.iteration % settings.checkpoint_every == 0
            is_due = self.iteration % settings.validation.every == 0 or self.iteration == iterations
            # Iterations are told of in their order, and before they are saved: one that is saved
            # isn't played again. So these wait for the validation of an earlier one.
            self._judge(math.inf if is_due or is_kept else 0.0)
            if is_due:
                self._validate(algorithm, self._moment(algorithm), metrics, is_kept)
            elif self._validated is None:
                self._tell()
                if is_kept:
                    self._save(self._moment(algorithm))
            text = (
                f"iteration {self.iteration}, "
                f"validation {self.curve[-1][-1] / self.base_cost - 1:+.2%}, "
                f"best {self._best_cost / self.base_cost - 1:+.2%} vs base policy"
            )
            self._progress.update(self.seconds if limit is not None else self.iteration, text)
            stopping.check()
        self._judge(math.inf)
        if self.curve[-1][0] != self.iteration:
            self._validate(algorithm, self._moment(algorithm))
            self._judge(math.inf)
        if self._saved != self.iteration:  # whoever resumes from here goes on where it ended
            self._save(self._moment(algorithm))

    def _tell(self, until: float = math.inf) -> None:
        """Report the numbers of iterations, each once."""
        while self._untold and self._untold[0][0] <= until:
            iteration, metrics = self._untold.pop(0)
            if iteration > self._told:
                self._told = iteration
                self._progress.metrics(iteration, metrics)

    def _leave(self, algorithm: Algorithm) -> None:
        """Save what is learned, and what is being validated: who resumes does that. An iteration
        left half done is lost."""
        self._judge(_LAST_WAIT)
        if (late := self._validated) is not None:
            self._validated = None
            self._tell(late.moment.iteration)
            self._save(late.moment)
        if self._is_whole:
            self._tell()
            if self._saved != self.iteration:
                self._save(self._moment(algorithm))

    def _begin(self, algorithm: Algorithm) -> None:
        """Validate and keep what learning begins with: it may be the best there will be."""
        if self._scenario.action_space is not ActionSpace.residual:
            self._best_cost = np.inf  # zeros are not the base policy, to fall back to
        self.curve.clear()
        metrics: dict[str, float] = {}
        self._untold.append((0, metrics))
        self._validate(algorithm, self._moment(algorithm), metrics, is_kept=True)
        self._judge(math.inf)

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
        self._is_whole = False
        result = algorithm.train()
        self.iteration += 1
        self._is_whole = True
        return iteration_metrics(result)

    def _validate(
        self, algorithm: Algorithm, moment: _Moment, metrics: dict[str, float] | None = None,
        is_kept: bool = False,
    ) -> None:  # fmt: skip
        """Begin to play the models as they are; `_judge` says what they cost.

        moment: when the models became that.
        metrics: of the iteration, which the result is added to; None: nobody is told.
        is_kept: whether they are saved whatever they cost.
        """
        result = self._validation.begin(trained_actors(algorithm))
        self._validated = _Validated(result, moment, {} if metrics is None else metrics, is_kept)
        self._judge(0.0)

    def _judge(self, seconds: float) -> None:
        """See what the models cost that are validated, if that is known in so many seconds; tell
        of them, and save them if they are the best so far."""
        validated = self._validated
        if validated is None or (kpis := validated.result(seconds)) is None:
            return
        self._validated, moment, metrics = None, validated.moment, validated.metrics
        cost = objective(kpis, self._settings.reward)
        if not np.isfinite(cost):
            raise TrainingStopped(
                f"validation cost is {cost} in iteration {moment.iteration}; lower "
                "algorithm.learning_rate, then resume from the last checkpoint."
            )
        metrics["validation/cost_per_period"] = cost
        metrics["validation/base_policy_cost_per_period"] = self.base_cost
        metrics["validation/fill_rate"] = kpis.summary()["fill_rate"]
        if self._base is not None:
            metrics |= paired_gain(self._scenario, self._base, kpis)
        periods = metrics.get("sampling/num_env_steps_sampled_lifetime", 0.0)
        self.curve.append((moment.iteration, moment.seconds, periods, cost))
        self._cost = moment.iteration, cost
        is_best = cost < self._best_cost
        if is_best:
            self._best_cost, self.best_iteration, self.has_best = cost, moment.iteration, True
        self._tell(moment.iteration)
        if is_best or validated.is_kept:
            self._save(moment)

    def _moment(self, algorithm: Algorithm) -> _Moment:
        return _Moment(self.iteration, self.seconds, self._account.kept, take_state(algorithm))

    def _save(self, moment: _Moment) -> None:
        meta = {
            "base_policy": self._scenario.base_policy,
            "policy_params": self._scenario.policy_params,
            "best_cost": self._best_cost,
            "best_iteration": self.best_iteration,
            "has_best": self.has_best,
            "base_cost": self.base_cost,
            "seconds": moment.seconds,
            "curve": self.curve,
            "account": moment.account,
        }
        cost = None
        if self._cost is not None and self._cost[0] == moment.iteration:
            cost = self._cost[1]
        self._store.save(moment.iteration, moment.state.write, meta, cost)
        self._saved = moment.iteration

    def _catch_up(self, algorithm: Algorithm, newest: Checkpoint) -> None:
        """Validate what a signal didn't wait for."""
        every = self._settings.validation.every
        late = [c for c in self._store.after(self.curve[-1][0]) if c.step % every == 0]
        for checkpoint in late:
            restore_state(algorithm, checkpoint.state)
            seconds, account = checkpoint.value("seconds", float), checkpoint.value("account", dict)
            moment = _Moment(checkpoint.step, seconds, account, take_state(algorithm))
            self._validate(algorithm, moment)
            self._judge(math.inf)
        if late:
            restore_state(algorithm, newest.state)

    def _restore(self, algorithm: Algorithm, checkpoint: Checkpoint) -> None:
        restore_state(algorithm, checkpoint.state)
        value = checkpoint.value
        self.iteration = self._saved = checkpoint.step
        self.seconds = value("seconds", float)
        if checkpoint.cost is not None:
            self._cost = checkpoint.step, checkpoint.cost
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
