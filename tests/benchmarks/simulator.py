"""How fast is the simulator? `python -m tests.benchmarks.simulator [--stores 9] [--seconds 1]`.

Steps the public `BatchedEnv` on a warehouse with stores, Poisson demand and lost sales: demand is
drawn, observations are written, the base policy orders. Times are process CPU time of one core,
the best of repeats that alternate between the batch sizes, so that a busy machine disturbs all of
them alike. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from envs.environment.batched_env import BatchedEnv
from envs.network.demand import DemandConfig
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from tests.envs.networks import one_warehouse

__all__ = ["main", "measure", "network"]

BATCH_SIZES = (1, 32, 256, 1024, 8192)
PARTS = ("draw", "close", "open", "observe")
REPEATS = 7

_FIRST_STEP = "from tests.benchmarks.simulator import first_step; first_step()"


def network(stores: int) -> Scenario:
    """Return a warehouse with so many stores; an episode that does not end while we look."""
    return build_scenario(
        one_warehouse(
            name="benchmark",
            horizon=1_000_000,
            demand=DemandConfig("poisson", mean=5.0),
            stores=stores,
            lost_sale_cost=9.0,
        )
    )


def first_step() -> None:
    """Reset and step once: what compiles, or loads, every kernel."""
    env = BatchedEnv(network(2), 1)
    env.reset(0)
    env.step(env.no_action)


def measure(scenario: Scenario, seconds: float) -> dict[int, dict[str, float]]:
    """Return per batch size: CPU microseconds of a step, and of its parts.

    seconds: CPU time for each batch size, about.
    """
    envs = {batch: BatchedEnv(scenario, batch) for batch in BATCH_SIZES}
    rounds, best = {}, dict.fromkeys(BATCH_SIZES, float("inf"))
    for batch, env in envs.items():
        env.reset(0)
        _cpu_time(env, 3)  # compiles, and fills the caches
        rounds[batch] = max(3, int(seconds / REPEATS / (_cpu_time(env, 5) / 5)))
    for _ in range(REPEATS):
        for batch, env in envs.items():
            best[batch] = min(best[batch], _cpu_time(env, rounds[batch]) / rounds[batch])
    return {
        batch: {"step": 1e6 * best[batch], **_parts(env, min(rounds[batch] * 2, 4000))}
        for batch, env in envs.items()
    }


def _cpu_time(env: BatchedEnv, steps: int) -> float:
    action = env.no_action
    start = time.process_time()
    for _ in range(steps):
        env.step(action)
    return time.process_time() - start


def _parts(env: BatchedEnv, steps: int) -> dict[str, float]:
    """Mean CPU microseconds of the parts of a step; the clock's own cost is taken off."""
    spent = dict.fromkeys(PARTS, 0)

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            start = time.process_time_ns()
            result = function(*args)
            spent[part] += time.process_time_ns() - start
            return result

        return call

    simulator: Any = env.simulator
    for part, owner, name in (
        ("draw", simulator.trace, "advance"),
        ("close", simulator, "close_period"),
        ("open", simulator, "open_period"),
        ("observe", env, "observe"),
    ):
        setattr(owner, name, timed(part, getattr(owner, name)))
    _cpu_time(env, steps)
    spent["open"] -= spent["draw"]  # opening a period draws it
    clock = _clock_cost()
    return {part: max(0.0, spent[part] / steps - clock) / 1e3 for part in PARTS}


def _clock_cost() -> float:
    """Nanoseconds that reading the clock adds to what is between two readings."""
    readings = [time.process_time_ns() for _ in range(2001)]
    return (readings[-1] - readings[0]) / 2000


def compile_seconds() -> dict[str, float]:
    """Return CPU seconds of a new process's first step, without and with compiled kernels."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        times = []
        for _ in range(2):
            before = os.times()
            subprocess.run([sys.executable, "-c", _FIRST_STEP], env=environment, check=True)
            after = os.times()
            times.append(after.children_user - before.children_user)
    return {"first_step_s_cold": times[0], "first_step_s_warm": times[1]}


def main(arguments: list[str] | None = None) -> None:
    """Print the table, then the numbers as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.simulator")
    parser.add_argument("--stores", type=int, default=9, help="stores behind the warehouse")
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU time per batch size")
    parser.add_argument("--compile", action="store_true", help="also time a fresh compilation")
    options = parser.parse_args(arguments)
    scenario = network(options.stores)
    pairs = len(scenario.network.stocks)
    numbers: dict[str, float] = {"pairs": pairs}
    print(f"{pairs} node-SKU pairs; share of a step's CPU time in its parts")
    print(f"{'batch':>6} {'M steps/s':>10} {'us/step':>9}  " + "  ".join(f"{p:>7}" for p in PARTS))
    for batch, times in measure(scenario, options.seconds).items():
        rate = pairs * batch / times["step"] * 1e6
        shares = {part: times[part] / times["step"] for part in PARTS}
        print(
            f"{batch:>6} {rate / 1e6:>10.2f} {times['step']:>9.1f}  "
            + "  ".join(f"{shares[part]:>7.0%}" for part in PARTS)
        )
        numbers[f"steps_per_s_batch_{batch}"] = round(rate)
        numbers[f"us_per_step_batch_{batch}"] = round(times["step"], 2)
        for part in PARTS:
            numbers[f"share_{part}_batch_{batch}"] = round(shares[part], 3)
    if options.compile:
        for name, seconds in compile_seconds().items():
            print(f"{name}: {seconds:.1f}")
            numbers[name] = round(seconds, 2)
    print(json.dumps(numbers))


if __name__ == "__main__":
    main()
