"""From `ray start` to the first gradient step: `python -m tests.benchmarks.cold_start`.

A Ray of its own on loopback, then a driver in a process of its own that trains pathwise on it with
runners. Seconds of each step and since the beginning, as a table in Markdown; the last line is one
JSON object. Kernels come from the cache of this checkout; with `--compile` a second start has an
empty cache, which takes minutes of CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from evaluation.workers import prepare_ray

_ROOT = Path(__file__).resolve().parents[2]
_STARTED = "Ray runtime started."
_DRIVER = """
import sys, time

def done(what):
    print(f"{time.time()} {what}", flush=True)

done("Python is there")
from evaluation.workers import prepare_ray
prepare_ray()
import ray, torch
from conf.compose import compose
from envs.scenarios import build_scenario
from training.commands.train import TrainCommand
from training.config import TrainingConfig
from training.rllib.env_factory import ScenarioEnvFactory
from training.rllib.trainer import build_algorithm, iteration_metrics
done("Ray, RLlib, torch, Echelon imported")
from evaluation.ray_workers import ray_session
with ray_session(0):
    done("connected to Ray")
    runners = int(sys.argv[2])
    options = [
        f"scenario={sys.argv[1]}", f"resources.env_runners={runners}",
        f"algorithm.shards={runners}", f"resources.envs_per_runner={16 * runners}",
    ]
    command = compose(TrainCommand, options).command
    scenario = build_scenario(command.scenario)
    factory = ScenarioEnvFactory(scenario)
    done("configuration read, scenario built")
    env = factory(1)
    env.reset(0)
    env.step(env.no_action)
    done("the simulator's kernels loaded, a period played")
    settings = TrainingConfig(command.algorithm, command.model, command.resources, seed=0)
    algorithm = build_algorithm(factory, settings)
    done("learner and runners up")
    assert iteration_metrics(algorithm.train())
    done("first gradient step")
    algorithm.train()
    done("second gradient step")
    algorithm.stop()
"""


def timeline(scenario: str, runners: int, cache: str | None) -> list[tuple[str, float]]:
    """Return what was done, and how many seconds after the beginning.

    cache: folder of the kernels; None: this checkout's.
    """
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = cache
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="cold", ignore_cleanup_errors=True) as folder:
        begun = time.time()
        ray = subprocess.Popen(
            [
                Path(sys.executable).parent / "ray", "start", "--head", "--block",
                "--node-ip-address=127.0.0.1", f"--port={port}", f"--num-cpus={runners + 1}",
                "--include-dashboard=false", f"--temp-dir={folder}",
            ],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            assert ray.stdout is not None
            said = []
            for line in ray.stdout:
                said.append(line)
                if _STARTED in line:
                    break
            else:
                raise RuntimeError(f"Ray did not start: {''.join(said)[-2000:]}")
            steps = [("`ray start`", time.time() - begun)]
            driver = subprocess.run(
                [sys.executable, "-c", _DRIVER, scenario, str(runners)], cwd=_ROOT,
                env={**environment, "RAY_ADDRESS": f"127.0.0.1:{port}"}, text=True,
                stdout=subprocess.PIPE, check=True,
            )  # fmt: skip
        finally:
            ray.send_signal(signal.SIGTERM)
            try:
                ray.wait(30.0)
            except subprocess.TimeoutExpired:
                ray.kill()
    for line in driver.stdout.splitlines():
        at, _, what = line.partition(" ")
        if at.replace(".", "", 1).isdigit():
            steps.append((what, float(at) - begun))
    return steps


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, then the numbers as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cold_start")
    parser.add_argument("--scenario", default="lost_sales")
    parser.add_argument("--runners", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="a second start without a cache")
    options = parser.parse_args(arguments)
    prepare_ray()
    numbers: dict[str, dict[str, float]] = {}
    print("| kernels | step | seconds | since the beginning |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as empty:
        for kernels, cache in (("cached", None), ("compiled", empty))[: 1 + options.compile]:
            last = 0.0
            for step, at in timeline(options.scenario, options.runners, cache):
                print(f"| {kernels} | {step} | {at - last:.1f} | {at:.1f} |", flush=True)
                numbers.setdefault(kernels, {})[step] = round(at, 2)
                last = at
    print(json.dumps(numbers))


if __name__ == "__main__":
    main()
