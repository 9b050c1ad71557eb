"""Faults of whole trainings on two nodes: a lost learner, kills for minutes, kills at random."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from echelon import main
from evaluation.artifact.artifact import load_artifact
from evaluation.artifact.network_io import scenario_from_plain
from evaluation.artifact.transfer import learned_competitor
from evaluation.comparison.rollout import play
from tests.benchmarks.fault_parts.nodes import Killer, Nodes
from tests.benchmarks.fault_parts.row import Row, say, timed
from training.job import train as job
from training.rllib.learners import on_learners
from training.rllib.trainer import build_algorithm

BEGIN = [
    "train", "scenario=lost_sales", "scenario.base_policy=base_stock", "tune.budget=20",
    "tune.traces=16", "validation.every=10", "test.traces=256", "register=false",
    "tracking.enabled=false", "resources.envs_per_runner=32", "resources.restart_wait=120",
]  # fmt: skip
_TRACES = 2000  # on which two policies are compared


def _train(out: Path, *options: str) -> None:
    """On the Ray that is connected."""
    code = main([*BEGIN, f"out={out}", *options])
    if code != 0:
        raise RuntimeError(f"the training ended with exit code {code}")


def told(folder: Path) -> list[dict[str, Any]]:
    """The iterations that a run has recorded: its numbers, with their time."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    records = [json.loads(line) for line in lines if line.endswith("}")]
    return [
        {"at": record["time"], "step": record["step"], **record["metrics"]}
        for record in records
        if "time/iteration" in record["metrics"]
    ]


@contextmanager
def _steps(before: Callable[[Any, int], None], after: Callable[[], None]) -> Iterator[None]:
    """Call something around every iteration, with the algorithm and the iterations begun."""
    begun = [0]

    def build(*arguments: Any) -> Any:
        algorithm = build_algorithm(*arguments)
        train = algorithm.train

        def step() -> Any:
            begun[0] += 1
            before(algorithm, begun[0])
            result = train()
            after()
            return result

        algorithm.train = step
        return algorithm

    with patch.object(job, "build_algorithm", build):
        yield


def learner_killed(folder: Path) -> list[Row]:
    """Of pathwise and of PPO."""
    rows = []
    for name in ("pathwise", "ppo"):
        killed, back, saved = list[float](), list[float](), list[int]()
        out = folder / name

        def harm(
            algorithm: Any, begun: int, killed: list[float] = killed, saved: list[int] = saved,
            out: Path = out,
        ) -> None:  # fmt: skip
            if begun == 8:
                paths = (out / "checkpoints").glob("step_*")
                saved.append(max(int(path.name.removeprefix("step_")) for path in paths))
                killed.append(time.monotonic())
                os.kill(on_learners(algorithm, lambda _: os.getpid())[0], signal.SIGKILL)

        def note(killed: list[float] = killed, back: list[float] = back) -> None:
            if killed and not back:
                back.append(time.monotonic())

        say(f"learner SIGKILL, {name}")
        with Nodes(), _steps(harm, note):
            _train(
                out, f"algorithm={name}", "algorithm.iterations=12", "resources.env_runners=0",
                "resources.learners=1", "checkpoint_every=5",
            )  # fmt: skip
        steps = [record["step"] for record in told(out)]
        assert steps == list(range(1, 13)), steps
        rows.append(
            timed(f"learner SIGKILL ({name})", "a new one goes on; each iteration is told once",
                  f"{7 - saved[0]} iterations of 7", back[0] - killed[0], 60.0)
        )  # fmt: skip
    return rows


def kills_for_minutes(folder: Path, every: float, minutes: float) -> list[Row]:
    """The share of the time in which what is learned was learned."""
    out = folder / "kills"
    with Nodes() as nodes, Killer(nodes, every) as killer:
        _train(
            out, "algorithm=pathwise", "algorithm.shards=4", "algorithm.iterations=1000000",
            f"time_limit={60 * minutes:g}", "resources.env_runners=2", "checkpoint_every=20",
        )  # fmt: skip
        kills = list(killer.kills)
    records = told(out)
    share = records[-1]["time/effective_share"]
    first = records[0]["at"] + 0.8 * every
    calm = [record for record in records if record["at"] < first]
    rest = [record for record in records if record["at"] >= first]
    pace = _pace(rest) / _pace(calm)
    steps = [record["step"] for record in records]
    assert steps == list(range(1, len(steps) + 1)), "an iteration is missing"
    return [
        Row(
            f"a runner or a node SIGKILL every {every:g} s",
            f"{len(kills)} kills in {minutes:g} min: effective training time {share:.1%}; "
            f"{len(records)} iterations, at {pace:.0%} of the pace before the first kill",
            "no iteration", None, ">= 90 % of the time", share >= 0.9 and len(kills) > 0,
        )
    ]  # fmt: skip


def _pace(records: list[dict[str, Any]]) -> float:
    """Iterations a second."""
    seconds = records[-1]["at"] - records[0]["at"] if len(records) > 1 else 0.0
    return (len(records) - 1) / seconds if seconds > 0.0 else float("nan")


def paired(folder: Path, kills: int, algorithm: str) -> list[Row]:
    """The same training with kills at random moments and without."""
    own = ["algorithm.shards=4"] if algorithm == "pathwise" else []
    own += [f"algorithm={algorithm}", f"algorithm.iterations={2 * kills + 10}"]
    own += ["resources.env_runners=2"]
    chance, done = random.Random(0), [0]
    policies = []
    for name, is_disturbed in (("undisturbed", False), ("disturbed", True)):
        say(f"training {name}")
        with Nodes() as nodes:

            def harm(_: Any, begun: int, nodes: Nodes = nodes, on: bool = is_disturbed) -> None:
                if on and done[0] < kills and begun > 2:
                    threading.Timer(chance.uniform(0.0, 0.3), strike, (nodes,)).start()

            def strike(nodes: Nodes) -> None:
                runners = nodes.runners()
                if runners and done[0] < kills:
                    os.kill(chance.choice(runners), signal.SIGKILL)
                    done[0] += 1

            with _steps(harm, lambda: None):
                _train(folder / name, *own)
        policies.append(folder / name / "policy")
    sums = [hashlib.sha256((p / "policy.safetensors").read_bytes()).hexdigest() for p in policies]
    if sums[0] == sums[1]:
        happened, is_good = f"the same weights, SHA-256 {sums[0][:12]}", True
    else:
        costs = [_costs(policy) for policy in policies]
        difference = costs[1] - costs[0]
        width = 1.96 * difference.std(ddof=1) / np.sqrt(_TRACES)
        mean, base = difference.mean(), costs[0].mean()
        is_good = bool(abs(mean) <= width)
        happened = (
            f"cost {mean / base:+.3%} +- {width / base:.3%} (95 %, paired, {_TRACES} episodes)"
        )
    return [Row(f"{done[0]} runners SIGKILL ({algorithm})", happened, "nothing", None,
                "the same cost", is_good and done[0] == kills)]  # fmt: skip


def _costs(folder: Path) -> Any:
    """[traces] currency per period, on the test traces."""
    artifact = load_artifact(folder)
    assert artifact.network is not None
    scenario = scenario_from_plain(artifact.network)
    learned = learned_competitor(artifact, scenario)
    return play(
        scenario, learned.build(scenario), learned.correction, traces=_TRACES, seed=3_000_000
    ).cost
