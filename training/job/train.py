"""The main job: tune the base policy, learn a correction, choose on validation, prove on test.

The phases are the functions below, in the order of `train`. Everything lands in the run folder
first; MLflow gets copies.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm import Algorithm

from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError, WorkerError
from envs.reward import RewardConfig
from envs.scenario import Scenario
from envs.simulation.action_spaces import ActionSpace
from envs.types import Floats
from evaluation.artifact.actor import Actor
from evaluation.artifact.correction import learned_correction
from evaluation.artifact.registry import local_policy
from evaluation.comparison.compare import Comparison, compare
from evaluation.comparison.rollout import Competitor, play
from evaluation.progress import Progress
from evaluation.ray_workers import usable_cpus
from evaluation.tuning.config import TuneConfig
from evaluation.tuning.search import Tuned, tune_policy
from evaluation.workers import open_workers
from training.config import Settings
from training.job.learning_loop import LearningLoop
from training.job.run_record import checkpoints_of
from training.job.supervisor import learn
from training.job.warm_start import Imitated, imitate_policy, load_start
from training.objective import objective
from training.rllib.algorithms import check_capabilities
from training.rllib.env_factory import ScenarioEnvFactory
from training.rllib.modules import seen_by
from training.rllib.placement import require_nodes
from training.rllib.trainer import build_algorithm, set_actors, trained_actors

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Outcome:
    """What a run ended with.

    curve: (iteration, seconds, simulated periods, validation cost).
    is_base_policy: no checkpoint beat the base policy on validation: the correction is zero.
    imitated: what learning began with, where it began with that.
    """

    scenario: Scenario
    tuned: Tuned | None
    actors: dict[str, Actor]
    best_iteration: int  # whose models these are; 0: those learning began with
    iterations: int
    seconds: float
    base_validation_cost: float
    comparison: Comparison
    reward: RewardConfig
    curve: list[tuple[int, float, float, float]] = field(default_factory=list)
    is_base_policy: bool = False
    imitated: Imitated | None = None


def train(
    scenario: Scenario,
    settings: Settings,
    folder: Path,
    progress: Progress,
    saved: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run the whole job in `folder`; goes on from its newest good checkpoint, if there is one.

    saved: called after each checkpoint.

    Raises TrainingStopped, NonFiniteError or CheckpointError
    with the cause.
    """
    check_capabilities(settings.algorithm, settings.resources, settings.reward)
    # Mistakes fail before anything is tuned.
    require_nodes(settings.resources)
    settings.algorithm.envs_at_once(len(scenario.network.stocks), settings.resources)
    settings.imitate.teacher(scenario)
    scenario = seen_by(scenario, settings.model)
    store = checkpoints_of(folder, saved)
    checkpoint = store.latest_good()
    start = None
    if checkpoint is None and settings.start is not None:
        start = load_start(local_policy(settings.start), scenario)
    known = None
    if checkpoint is not None:
        known = checkpoint.value("policy_params", dict)
        base_policy = checkpoint.value("base_policy", str)
        scenario = dataclasses.replace(scenario, base_policy=base_policy)
    if start is not None:
        known = {**scenario.policy_params, scenario.base_policy: start.parameters}
    scenario, tuned = prepare_scenario(scenario, settings.tune, progress, known)
    progress.phase("base policy's cost")
    validation = settings.validation
    base = play(scenario, _base(scenario), traces=validation.traces, seed=validation.seed,
                split="tune")  # fmt: skip
    if settings.reward.target_fill_rate is not None and scenario.preference is not None:
        raise ConfigError(
            "reward.target_fill_rate and scenario.preference both set what a missing unit is "
            "worth; expected one of them: give reward=cost or scenario.preference=null."
        )
    # No salvage while training: where an episode is cut, the critic values what is left.
    reward = dataclasses.replace(settings.reward, salvage_share=0.0)
    scale = _cost_scale(scenario, reward, settings.tune)
    factory = ScenarioEnvFactory(scenario, reward=reward, cost_scale=scale)
    loop = LearningLoop(scenario, settings, store, progress, objective(base, reward), base)
    imitated: list[Imitated] = []

    def begin(algorithm: Algorithm) -> bool:
        if start is not None:
            set_actors(algorithm, start.actors)
        elif settings.imitate.policy is not None:
            imitated[:] = [_imitate(algorithm, scenario, settings, progress)]
        return start is not None or bool(imitated)

    actors = learn(lambda: build_algorithm(factory, settings), begin, loop, checkpoint)
    comparison = _test(scenario, actors, settings, progress)
    return Outcome(
        scenario, tuned, actors, loop.best_iteration, loop.iteration, loop.seconds,
        loop.base_cost, comparison, settings.reward, loop.curve, not loop.has_best,
        imitated[0] if imitated else None,
    )  # fmt: skip


def _imitate(
    algorithm: Algorithm, scenario: Scenario, settings: Settings, progress: Progress
) -> Imitated:
    """Let the algorithm begin with models that act like a classical policy."""
    actors = trained_actors(algorithm)
    imitated = imitate_policy(scenario, actors, settings, progress)
    set_actors(algorithm, actors)
    progress.metrics(0, imitated.metrics)
    return imitated


def prepare_scenario(
    scenario: Scenario, tune: TuneConfig, progress: Progress, known: Mapping[str, Any] | None = None
) -> tuple[Scenario, Tuned | None]:
    """Give the base policy its parameters: known ones, the scenario's, else tuned ones."""
    name = scenario.base_policy
    if known is not None:
        return dataclasses.replace(scenario, policy_params=known), None
    if scenario.policy_params.get(name):
        return scenario, None
    tuned = tune_policy(scenario, name, tune, progress)
    params = {**scenario.policy_params, name: tuned.parameters}
    return dataclasses.replace(scenario, policy_params=params), tuned


def _cost_scale(scenario: Scenario, reward: RewardConfig, tune: TuneConfig) -> Floats:
    """[P] What the base policy makes each pair answer for [currency per period]."""
    rows = len(scenario.network.stocks)
    env = BatchedEnv(
        scenario,
        tune.traces,
        base_policy=_base(scenario),
        reward=dataclasses.replace(reward, paired=False),  # against itself the base policy pays 0
        cost_scale=np.ones(rows),
        action_space=ActionSpace.residual,
    )
    env.reset(tune.seed)
    total = np.zeros(rows)
    for _ in range(env.horizon):
        total += np.abs(env.step(env.no_action)[1].mean(axis=1))
    mean = total / env.horizon
    # Pairs that cost next to nothing would hide the rest behind their noise.
    return np.maximum(mean, max(0.1 * float(np.median(mean)), 1e-9))


def _base(scenario: Scenario) -> Any:
    name = scenario.base_policy
    return Competitor(name, name, scenario.policy_params[name]).build(scenario)


def _test(
    scenario: Scenario, actors: dict[str, Actor], settings: Settings, progress: Progress
) -> Comparison:
    """Side by side where the runners were; in this process if one of these workers is lost."""
    name = scenario.base_policy
    parameters = scenario.policy_params[name]
    competitors = [
        Competitor(name, name, parameters, origin="tuned"),
        Competitor("learned", name, parameters, learned_correction(actors, scenario), "tuned"),
    ]
    test, runners = settings.test, settings.resources.runners
    play_all = functools.partial(
        compare, scenario, competitors, traces=test.traces, seed=test.seed, progress=progress
    )
    try:
        with open_workers(min(runners, usable_cpus()) if runners else 1) as workers:
            return play_all(workers=workers)
    except WorkerError as lost:
        _log.warning("%s The test is played in this process.", lost)
        return play_all()
