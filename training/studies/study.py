"""The work behind one line of the value report: tune the rules, train some seeds, find the bound.

Each step gives what its file in the scenario's folder holds (`evaluation.value.record`). It may run
on another node: of the report's folder it needs nothing, and leaves a training's run folder there.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError, EchelonError
from envs.scenario import Scenario
from envs.scenarios import ScenarioConfig, build_scenario
from evaluation.artifact.artifact import load_artifact
from evaluation.artifact.transfer import learned_competitor, seen_in_training
from evaluation.comparison.rollout import Competitor, play
from evaluation.optima.bounds import best_bound
from evaluation.progress import PrefixedProgress, Progress
from evaluation.tuning.config import ChooseConfig, TimedTuneConfig
from evaluation.tuning.search import tune_policy
from evaluation.value.candidates import candidates
from evaluation.value.features import features_of, sku_classes
from evaluation.value.measure import Played, measure
from evaluation.value.record import (
    BOUND,
    ClassicalPart,
    PolicyRecord,
    plain_bound,
    read_part,
)
from evaluation.value.verdict import TrainedSeed
from training.config import Settings, TestConfig
from training.job.export import export
from training.job.run_record import checkpoints_of
from training.job.stored_run import stored_part
from training.job.train import train

_CHECKPOINT_EVERY = 50  # iterations
_ENDLESS = 1_000_000  # iterations: the time limit ends training


@dataclass(frozen=True)
class Study:
    """One scenario and how it is studied."""

    label: str
    folder: Path
    scenario: ScenarioConfig
    train: Settings
    classical: tuple[str, ...]  # policies to tune; empty: what the network calls for
    artifacts: tuple[Path, ...]  # of trained policies, one per seed, to use instead of training
    start_from: str  # best_rule | base_policy
    seeds: int
    train_seconds: float | None
    traces: int
    seed: int
    tune: TimedTuneConfig
    choose: ChooseConfig
    bound_traces: int
    bound_seconds: float
    storage: str | None  # where a copy of the folder is kept


@dataclass(frozen=True)
class Step:
    """A file of a study that isn't there yet."""

    study: Study
    file: str
    name: str  # for people
    run: Callable[[Progress], dict[str, Any]]  # gives what the file holds


def rules(studies: Iterable[Study]) -> list[Step]:
    """Return what has to be tuned before anything is trained.

    Raises ConfigError where the files that are there were made with other numbers.
    """
    steps = []
    for one in studies:
        part = ClassicalPart.read(one.folder)
        if part is None:
            steps.append(Step(one, "classical.json", one.label, partial(classical, one)))
        elif (part.traces, part.seed) != (one.traces, one.seed):
            raise ConfigError(
                f"'{one.folder}' was made with traces={part.traces} seed={part.seed}, not "
                f"traces={one.traces} seed={one.seed}; resume with the same numbers, or start a "
                "new report."
            )
    return steps


def trainings(studies: Iterable[Study]) -> list[Step]:
    """Return what has to be trained, where the rules are tuned; then what bounds are missing."""
    steps, bounds = [], []
    for one in studies:
        part = ClassicalPart.read(one.folder)
        if part is not None:
            for i in range(one.seeds):
                name = f"{one.label}, seed {i}"
                steps.append(Step(one, f"seed_{i}.json", name, partial(seed, one, part, i)))
        bounds.append(Step(one, BOUND, f"{one.label}, bound", partial(bound, one)))
    return [s for s in (*steps, *bounds) if read_part(s.study.folder / s.file) is None]


def classical(job: Study, progress: Progress) -> dict[str, Any]:
    """Tune and play the classical policies: what classical.json holds. Raises EchelonError."""
    progress = PrefixedProgress(progress, job.label)
    return asdict(_classical(build_scenario(job.scenario), job, progress))


def seed(job: Study, part: ClassicalPart, index: int, progress: Progress) -> dict[str, Any]:
    """Train a policy, or take the artifact, and play it: what seed_INDEX.json holds.

    part: what `classical` gave. Raises EchelonError.
    """
    scenario = _with_base(build_scenario(job.scenario), part)
    if job.artifacts:
        return _from_artifact(scenario, job, index)
    return _learned(scenario, job, index, PrefixedProgress(progress, f"{job.label}, seed {index}"))


def bound(job: Study, progress: Progress) -> dict[str, Any]:
    """Find what no policy can beat: what bound.json holds, or why there is none."""
    progress = PrefixedProgress(progress, f"{job.label}, bound")
    progress.phase("value iteration")
    try:
        found = best_bound(
            build_scenario(job.scenario), traces=job.bound_traces, seed=job.seed,
            time_limit=job.bound_seconds, progress=progress,
        )  # fmt: skip
    except EchelonError as error:
        return plain_bound(None, str(error))
    return plain_bound(found, "" if found is not None else "no method covers it")


def _classical(scenario: Scenario, job: Study, progress: Progress) -> ClassicalPart:
    classes = sku_classes(scenario.compiled)
    names = job.classical or tuple(candidates(scenario))
    records = [_policy(name, scenario, job, classes, progress) for name in names]
    usable = [record for record in records if record.played is not None]
    if not usable:
        raise ConfigError(f"no classical policy can be used: {records[0].why_not}")
    best_rule = min(usable, key=lambda record: record.validation_cost).name
    own = job.scenario.base_policy or best_rule
    keeps = job.start_from == "base_policy" and any(record.name == own for record in usable)
    return ClassicalPart(
        period_name=scenario.period_name,
        currency=scenario.currency,
        features=features_of(scenario.compiled),
        policies=tuple(records),
        best_rule=best_rule,
        base_policy=own if keeps else best_rule,
        traces=job.traces,
        seed=job.seed,
        bound_traces=job.bound_traces,
        start_date=scenario.start_date,
        by_date=scenario.by_date,
    )


def _policy(
    name: str, scenario: Scenario, job: Study, classes: Mapping[str, str], progress: Progress
) -> PolicyRecord:
    """Tune on training traces, weigh on the tune split, play on the common test traces."""
    began = time.process_time()
    try:
        budget = _affordable(name, scenario, job)
        tuned = tune_policy(scenario, name, dataclasses.replace(job.tune, budget=budget), progress)
        seconds = time.process_time() - began
        # Parameters that the scenario ships may have had a longer search than this one.
        given = scenario.policy_params.get(name)
        options = [Competitor(name, name, tuned.parameters, origin="tuned")]
        options += [] if given is None else [Competitor(name, name, given)]
        traces, seed = job.choose.traces, job.choose.seed
        weighed = [
            float(
                play(
                    scenario, option.build(scenario), traces=traces, seed=seed, split="tune"
                ).cost.mean()
            )
            for option in options
        ]
        cheapest = int(np.argmin(weighed))
        competitor = options[cheapest]
        progress.phase(f"play {name}")
        played = _play(scenario, competitor, job, classes)
    except EchelonError as error:
        return PolicyRecord(name, why_not=str(error))
    return PolicyRecord(
        name,
        dict(competitor.parameters),
        tuned.evaluations,
        float(tuned.periods),
        seconds,
        weighed[cheapest],
        played,
    )


def _affordable(name: str, scenario: Scenario, job: Study) -> int:
    """Return how many parameter sets fit into the seconds, judged by two plays of the start one:
    the first may compile."""
    for _ in range(2):
        began = time.monotonic()
        policy = Competitor(name, name).build(scenario)
        play(scenario, policy, traces=job.tune.traces, seed=job.tune.seed, split="train")
        seconds = time.monotonic() - began
        if seconds > 0.1 * job.tune.seconds:
            break
    return max(1, min(job.tune.budget, int(job.tune.seconds / seconds)))


def _play(
    scenario: Scenario, competitor: Competitor, job: Study, classes: Mapping[str, str]
) -> Played:
    policy = competitor.build(scenario)
    result = play(scenario, policy, competitor.correction, traces=job.traces, seed=job.seed)
    return measure(scenario, result, classes)


def _with_base(scenario: Scenario, part: ClassicalPart) -> Scenario:
    """Let learning start from the tuned rule, so that what it adds is beyond the rule."""
    name = part.base_policy
    record = next(p for p in part.policies if p.name == name)
    based = dataclasses.replace(
        scenario, base_policy=name, policy_params={name: dict(record.parameters)}
    )
    BatchedEnv(based, 1)  # what a policy can't be corrected in fails here, not in Ray
    return based


def _learned(scenario: Scenario, job: Study, index: int, progress: Progress) -> dict[str, Any]:
    folder, settings = job.folder / f"seed_{index}", _settings(job, index)
    place = None if job.storage is None else f"{job.storage}/{folder.name}"
    with stored_part(folder, place) as saved:
        folder.mkdir(parents=True, exist_ok=True)
        resumed = checkpoints_of(folder).latest_good() is not None
        began = time.process_time()
        outcome = train(scenario, settings, folder, progress, saved)
        seconds = time.process_time() - began
        if resumed:  # the earlier process' share is only known as wall time
            seconds = max(seconds, outcome.seconds)
        export(outcome, {"command": "report", "scenario": dict(scenario.config)}, folder / "policy")
    played = measure(scenario, outcome.comparison.policies[1].kpis, sku_classes(scenario.compiled))
    # The last point of a curve has no count of periods where it is an extra validation.
    periods = max(point[2] for point in outcome.curve)
    trained = TrainedSeed(
        settings.seed, played, seconds, periods, outcome.iterations, outcome.best_iteration,
    )  # fmt: skip
    return {**asdict(trained), "curve": [list(point) for point in outcome.curve]}


def _settings(job: Study, index: int) -> Settings:
    algorithm = job.train.algorithm
    if job.train_seconds is not None:
        algorithm = dataclasses.replace(algorithm, iterations=_ENDLESS)
    return dataclasses.replace(
        job.train, algorithm=algorithm, seed=job.train.seed + index, tune=job.tune,
        test=TestConfig(job.traces, job.seed), time_limit=job.train_seconds,
        checkpoint_every=_CHECKPOINT_EVERY,
    )  # fmt: skip


def _from_artifact(scenario: Scenario, job: Study, index: int) -> dict[str, Any]:
    """Play a policy that was trained elsewhere; what its training took isn't known here."""
    folder = job.artifacts[index]
    artifact = load_artifact(folder)
    if artifact.manifest["scenario"] != scenario.name:
        raise ConfigError(
            f"artifact '{folder}' was trained on scenario '{artifact.manifest['scenario']}'; "
            f"expected '{scenario.name}'."
        )
    scenario = seen_in_training(artifact, scenario)
    learned = learned_competitor(artifact, scenario, artifact.manifest["base_policy"]["parameters"])
    played = _play(scenario, learned, job, sku_classes(scenario.compiled))
    return {**asdict(TrainedSeed(index, played, None, 0.0, 0, 1)), "curve": []}
