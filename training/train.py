"""The main job: tune the base policy, learn a correction, choose on validation, prove on test.

The phases are the functions below, in the order of `train`. Everything lands in the run folder
first; MLflow gets copies.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm import Algorithm

from envs.action_spaces import ActionSpace
from envs.batched_env import BatchedEnv
from envs.errors import ConfigError, NonFiniteError, TrainingStopped
from envs.reward import RewardConfig
from envs.scenario import Scenario
from evaluation.actor import Actor
from evaluation.compare import Comparison, compare, verdict
from evaluation.correction import learned_correction
from evaluation.rollout import Competitor, play
from evaluation.tune import Tuned, tune_reported
from training.algorithms import build_algorithm, iteration_metrics, trained_actors
from training.checkpoint import Checkpoint, CheckpointStore
from training.config import AlgorithmConfig, ModelConfig, ResourcesConfig, TrainingConfig
from training.env_factory import ScenarioEnvFactory
from training.objective import objective
from training.pathwise import Pathwise

__all__ = ["Budget", "Outcome", "Progress", "Settings", "prepare_scenario", "train"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Budget:
    """Seeds and sizes. Episodes of training, tuning, validation and test never meet."""

    tune_traces: int
    tune_budget: int
    tune_seed: int
    validation_traces: int
    validation_every: int  # iterations
    validation_seed: int
    test_traces: int
    test_seed: int
    time_limit: float | None  # seconds of training
    checkpoint_every: int  # iterations


@dataclass(frozen=True)
class Settings:
    """All that decides a training run, apart from the scenario."""

    budget: Budget
    algorithm: AlgorithmConfig
    model: ModelConfig
    resources: ResourcesConfig
    reward: RewardConfig
    seed: int


class Progress(Protocol):
    """Who is told how far the job is."""

    def phase(self, text: str, total: float | None = None) -> None:
        """A phase begins; total: steps it may take."""

    def update(self, done: float, text: str = "") -> None:
        """So many steps of the phase are done."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of an iteration."""


@dataclass(eq=False)
class Outcome:
    """What a run ended with. curve: (iteration, seconds, simulated periods, validation cost).
    best_iteration 0: no checkpoint beat the base policy on validation, so it is the base policy.
    """

    scenario: Scenario
    tuned: Tuned | None
    actors: dict[str, Actor]
    best_iteration: int
    iterations: int
    seconds: float
    base_validation_cost: float
    comparison: Comparison
    reward: RewardConfig = field(default_factory=RewardConfig)
    curve: list[tuple[int, float, float, float]] = field(default_factory=list)

    @property
    def worse_than_base(self) -> bool:
        """Whether the test shows the learned policy to cost more than the tuned base policy; where
        another aim was set, whether it is farther from that one."""
        base, learned = (policy.kpis for policy in self.comparison.policies)
        if self.reward.target_fill_rate is not None or self.reward.tail_share < 1.0:
            return objective(learned, self.reward) > objective(base, self.reward)
        difference = self.comparison.policies[1].difference
        assert difference is not None
        return verdict(difference) == "worse"


def train(scenario: Scenario, settings: Settings, folder: Path, progress: Progress) -> Outcome:
    """Run the whole job in `folder`; goes on from its newest good checkpoint, if there is one.

    Raises TrainingStopped, NonFiniteError or CheckpointError with the cause.
    """
    budget = settings.budget
    store = CheckpointStore(folder / "checkpoints")
    checkpoint = store.latest_good()
    known = None if checkpoint is None else checkpoint.meta["policy_params"]
    scenario, tuned = prepare_scenario(scenario, budget, progress, known)
    progress.phase("base policy's cost")
    base = play(scenario, _base(scenario), traces=budget.validation_traces,
                seed=budget.validation_seed, split="tune")  # fmt: skip
    if settings.reward.target_fill_rate is not None and scenario.preference is not None:
        raise ConfigError(
            "reward.target_fill_rate and scenario.preference both set what a missing unit is "
            "worth; expected one of them: give reward=cost or scenario.preference=null."
        )
    # No salvage while training: where an episode is cut, the critic values what is left.
    reward = dataclasses.replace(settings.reward, salvage_share=0.0)
    factory = ScenarioEnvFactory(
        scenario, reward=reward, cost_scale=_cost_scale(scenario, reward, budget)
    )
    config = TrainingConfig(settings.algorithm, settings.model, settings.resources, settings.seed)
    algorithm = build_algorithm(factory, config)
    try:
        learner = _Learning(scenario, settings, store, progress, objective(base, reward))
        learner.run(algorithm, checkpoint)
        actors = learner.best_actors(algorithm)
    finally:
        algorithm.stop()
    progress.phase("test on common traces", 2 * budget.test_traces)
    comparison = _test(scenario, actors, budget, progress)
    return Outcome(
        scenario, tuned, actors, learner.best_iteration, learner.iteration, learner.seconds,
        learner.base_cost, comparison, settings.reward, learner.curve,
    )  # fmt: skip


def prepare_scenario(
    scenario: Scenario, budget: Budget, progress: Progress, known: Mapping[str, Any] | None = None
) -> tuple[Scenario, Tuned | None]:
    """Give the base policy its parameters: known ones, the scenario's, else tuned ones."""
    name = scenario.base_policy
    if known is not None:
        return dataclasses.replace(scenario, policy_params=known), None
    if scenario.policy_params.get(name):
        return scenario, None
    tuned = tune_reported(
        scenario,
        name,
        progress,
        seed=budget.tune_seed,
        traces=budget.tune_traces,
        budget=budget.tune_budget,
    )
    params = {**scenario.policy_params, name: tuned.parameters}
    return dataclasses.replace(scenario, policy_params=params), tuned


def _cost_scale(scenario: Scenario, reward: RewardConfig, budget: Budget) -> NDArray[np.float64]:
    """[P] What the base policy makes each pair answer for [currency per period]."""
    rows = len(scenario.network.stocks)
    env = BatchedEnv(
        scenario,
        budget.tune_traces,
        base_policy=_base(scenario),
        reward=reward,
        cost_scale=np.ones(rows),
        action_space=ActionSpace.residual,
    )
    env.reset(budget.tune_seed)
    total = np.zeros(rows)
    for _ in range(env.horizon):
        total += np.abs(env.step(env.no_action)[1].mean(axis=1))
    mean = total / env.horizon
    # Pairs that cost next to nothing would drown the rest in their noise.
    return np.maximum(mean, max(0.1 * float(np.median(mean)), 1e-9))


def _base(scenario: Scenario) -> Any:
    name = scenario.base_policy
    return Competitor(name, name, scenario.policy_params[name]).build(scenario)


class _Learning:
    """The loop: learn, validate now and then, keep the best, save."""

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
        self.base_cost = self._best_cost = base_cost
        self.best_iteration = self.iteration = 0
        self.seconds = 0.0
        self.curve: list[tuple[int, float, float, float]] = [(0, 0.0, 0.0, base_cost)]

    def run(self, algorithm: Algorithm, checkpoint: Checkpoint | None) -> None:
        """Learn until the iterations or the time are used up."""
        budget = self._settings.budget
        if checkpoint is not None:
            self._restore(algorithm, checkpoint)
        self._initial = trained_actors(algorithm) if checkpoint is None else None
        iterations = self._settings.algorithm.iterations
        limit = budget.time_limit
        self._progress.phase("learn", limit if limit is not None else iterations)
        already, start = self.seconds, time.monotonic()
        last_cost, metrics = self._best_cost, {}
        while self.iteration < iterations and (limit is None or self.seconds < limit):
            if isinstance(algorithm, Pathwise):
                algorithm.progress = max(
                    self.iteration / iterations, 0.0 if limit is None else self.seconds / limit
                )
            metrics = self._iterate(algorithm)
            self.seconds = already + time.monotonic() - start
            if self.iteration % budget.validation_every == 0 or self.iteration == iterations:
                last_cost = self._validate(algorithm, metrics)
            if self.iteration % budget.checkpoint_every == 0:
                self._save(algorithm)
            metrics |= {"time/train_seconds": self.seconds, "time/iteration": self.iteration}
            self._progress.metrics(self.iteration, metrics)
            text = (
                f"iteration {self.iteration}, validation {last_cost / self.base_cost - 1:+.2%}, "
                f"best {self._best_cost / self.base_cost - 1:+.2%} vs base policy"
            )
            self._progress.update(self.seconds if limit is not None else self.iteration, text)
        if self.iteration % budget.validation_every:
            self._validate(algorithm, metrics)

    def best_actors(self, algorithm: Algorithm) -> dict[str, Actor]:
        """Return the networks of the best validation; the base policy's zeros if none beat it."""
        if self.best_iteration == 0:
            actors = trained_actors(algorithm)
            for actor in actors.values():
                actor.silence()
            return actors
        best = self._store.best()
        assert best is not None
        algorithm.restore_from_path(str(best.state))
        return trained_actors(algorithm)

    def _iterate(self, algorithm: Algorithm) -> dict[str, float]:
        result = algorithm.train()
        self.iteration += 1
        metrics = iteration_metrics(result)
        if not all(np.isfinite(value) for value in metrics.values()):
            bad = next(key for key, value in metrics.items() if not np.isfinite(value))
            raise NonFiniteError(
                f"training metric {bad} is {metrics[bad]} in iteration {self.iteration}; lower "
                "algorithm.learning_rate, then resume from the last checkpoint."
            )
        return metrics

    def _validate(self, algorithm: Algorithm, metrics: dict[str, float]) -> float:
        budget = self._settings.budget
        actors = trained_actors(algorithm)
        result = play(
            self._scenario,
            _base(self._scenario),
            learned_correction(actors, self._scenario),
            traces=budget.validation_traces,
            seed=budget.validation_seed,
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
        if cost < self._best_cost:
            self._best_cost, self.best_iteration = cost, self.iteration
            self._save(algorithm)
            self._store.mark_best(self.iteration)
        return cost

    def _save(self, algorithm: Algorithm) -> None:
        meta = {
            "policy_params": self._scenario.policy_params,
            "best_cost": self._best_cost,
            "best_iteration": self.best_iteration,
            "base_cost": self.base_cost,
            "seconds": self.seconds,
            "curve": self.curve,
        }
        self._store.save(self.iteration, lambda path: algorithm.save_to_path(str(path)), meta)

    def _restore(self, algorithm: Algorithm, checkpoint: Checkpoint) -> None:
        algorithm.restore_from_path(str(checkpoint.state))
        meta = checkpoint.meta
        self.iteration, self.seconds = checkpoint.step, float(meta["seconds"])
        self.best_iteration, self._best_cost = int(meta["best_iteration"]), float(meta["best_cost"])
        self.base_cost = float(meta["base_cost"])
        self.curve = [tuple(point) for point in meta["curve"]]
        _log.warning("Resumed from the checkpoint of iteration %d.", self.iteration)


def _test(
    scenario: Scenario, actors: dict[str, Actor], budget: Budget, progress: Progress
) -> Comparison:
    name = scenario.base_policy
    parameters = scenario.policy_params[name]
    competitors = [
        Competitor(name, name, parameters, origin="tuned"),
        Competitor("learned", name, parameters, learned_correction(actors, scenario), "tuned"),
    ]
    done: dict[str, int] = {}

    def report(policy: str, traces: int) -> None:
        done[policy] = traces
        progress.update(sum(done.values()), policy)

    return compare(
        scenario,
        competitors,
        traces=budget.test_traces,
        seed=budget.test_seed,
        on_batch=report,
    )
