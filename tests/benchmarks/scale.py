"""Does a step's cost grow with the network? `python -m tests.benchmarks.scale [--batches 1 16]`.

Steps the environment, observations and base policy included, on `scale_1000` and on a network of
ten nodes from the same generator, with as many SKUs. Process CPU time of one core; the best of
repeats that alternate between the two. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

from conf.compose import compose
from envs.environment.batched_env import BatchedEnv
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.commands.evaluate import EvaluateCommand

__all__ = ["main"]

SMALL = ("suppliers=2", "plants=1", "warehouses=2", "stores=7")
REPEATS = 5


def scenario(*network: str) -> Scenario:
    """The shipped scenario, with these numbers of nodes."""
    overrides = [f"scenario.network.{choice}" for choice in network]
    composed = compose(EvaluateCommand, ["scenario=scale_1000", *overrides])
    return build_scenario(composed.command.scenario)


def timed(env: BatchedEnv, steps: int) -> float:
    """CPU seconds of a step."""
    start = time.process_time()
    for _ in range(steps):
        env.step(env.no_action)
    return (time.process_time() - start) / steps


def main(arguments: list[str] | None = None) -> None:
    """Print the table, then the numbers as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    options = parser.parse_args(arguments)
    start = time.process_time()
    large, small = scenario(), scenario(*SMALL)
    pairs = {"large": len(large.network.stocks), "small": len(small.network.stocks)}
    numbers: dict[str, float] = {"build_s": round(time.process_time() - start, 2)}
    print(f"{pairs['large']} against {pairs['small']} pairs; built in {numbers['build_s']} s")
    print(f"{'batch':>6} {'ns/pair-step':>13} {'10 nodes':>9} {'ratio':>6} {'reset s':>8}")
    for batch in options.batches:
        envs = {"large": BatchedEnv(large, batch), "small": BatchedEnv(small, batch)}
        start = time.process_time()
        for env in envs.values():
            env.reset(0)
        reset = time.process_time() - start
        best = dict.fromkeys(envs, float("inf"))
        for env in envs.values():
            timed(env, 3)
        for _ in range(REPEATS):
            for size, env in envs.items():
                best[size] = min(best[size], timed(env, 4 if size == "large" else 200))
        cost = {size: 1e9 * best[size] / (pairs[size] * batch) for size in envs}
        ratio = cost["large"] / cost["small"]
        print(
            f"{batch:>6} {cost['large']:>13.0f} {cost['small']:>9.0f} {ratio:>6.2f} {reset:>8.2f}"
        )
        numbers[f"ns_per_pair_step_batch_{batch}"] = round(cost["large"], 1)
        numbers[f"ratio_batch_{batch}"] = round(ratio, 3)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    numbers["peak_memory_gb"] = round(memory, 2)
    print(f"peak memory {memory:.2f} GB")
    print(json.dumps(numbers))


if __name__ == "__main__":
    main()
