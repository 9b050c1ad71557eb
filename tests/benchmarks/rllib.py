"""How fast training samples and learns, beside RLlib's own path on the same simulator.

    python -m tests.benchmarks.rllib [--repeats 5] [--quick]

One core: CPU seconds of this process, one torch thread. The contenders take turns, so that
a noisy machine hits all of them; medians are reported. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig

from envs.demand import DemandConfig
from envs.scenarios import build_scenario
from envs.scenarios.one_warehouse import OneWarehouseConfig
from training.algorithms import build_algorithm, configure, set_ppo
from training.config import PpoConfig, ResourcesConfig, TrainingConfig
from training.env_factory import EnvFactory, ScenarioEnvFactory

PERIODS = 32  # per fragment


def scenario_factory(nodes: int) -> EnvFactory:
    """One warehouse and nodes - 1 stores, one SKU: one agent per node."""
    return ScenarioEnvFactory(
        build_scenario(
            OneWarehouseConfig(
                kind="one_warehouse",
                name=f"{nodes} nodes",
                stores=nodes - 1,
                lost_sale_cost=9.0,
                demand=DemandConfig(mean=5.0),
                horizon=100,
                warm_up=20,
            )
        )
    )


def settings(envs: int) -> TrainingConfig:
    """Four epochs, 64x64 actor and critic."""
    return TrainingConfig(
        algorithm=PpoConfig(epochs=4, minibatch_rows=8192 if envs > 32 else 4096),
        resources=ResourcesConfig(envs_per_runner=envs, fragment_periods=PERIODS),
    )


def ours(factory: EnvFactory, envs: int) -> Algorithm:
    """BatchedPPO on whole batches."""
    return build_algorithm(factory, settings(envs))


def rllibs(factory: EnvFactory, envs: int, output: str) -> Algorithm:
    """RLlib's PPO, on its own sampler ("agents") or on our episodes ("episodes")."""
    config = settings(envs)
    assert isinstance(config.algorithm, PpoConfig)
    rllib = configure(PPOConfig(), factory, config, output)
    set_ppo(rllib, config)
    # It refuses minibatches of more rows than the batch has env steps: the largest it takes.
    rllib.training(minibatch_size=min(config.algorithm.minibatch_rows, envs * PERIODS))
    return rllib.build_algo()


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU time of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(
    contenders: dict[str, tuple[Algorithm, int]], repeats: int
) -> dict[str, dict[str, float]]:
    """Seconds of CPU per env step, sampling and whole iterations: {name: {what: seconds}}.

    contenders: {name: (algorithm, env steps per iteration)}.
    """
    samples: dict[str, dict[str, list[float]]] = {
        name: {"sample": [], "train": []} for name in contenders
    }
    for algorithm, _ in contenders.values():  # compile, allocate, measure the base policy
        algorithm.train()
        algorithm.env_runner.sample()
    for _ in range(repeats):
        for name, (algorithm, steps) in contenders.items():
            sampling = cpu_seconds(algorithm.env_runner.sample)
            samples[name]["sample"].append(sampling / steps)
            samples[name]["train"].append(cpu_seconds(algorithm.train) / steps)
    return {
        name: {what: statistics.median(values) for what, values in both.items()}
        for name, both in samples.items()
    }


def run(factory_of: Callable[[int], EnvFactory], repeats: int, sizes: tuple[int, int]) -> Any:
    """Measure, print the table, return the numbers.

    factory_of: number of nodes -> recipe of the simulator. sizes: few and many nodes.
    """
    few, many = sizes
    contenders: dict[str, tuple[Algorithm, int]] = {}
    for nodes, envs in ((few, 32), (few, 256), (many, 32)):
        name = f"batches, {nodes} nodes, {envs} envs"
        contenders[name] = (ours(factory_of(nodes), envs), envs * PERIODS)
    for output, name in (("episodes", "episodes"), ("agents", "RLlib's own")):
        contenders[f"{name}, {few} nodes, 32 envs"] = (
            rllibs(factory_of(few), 32, output),
            32 * PERIODS,
        )
    seconds = measure(contenders, repeats)
    print(f"\n{'':34}{'sampling':>16}{'whole PPO':>16}")
    print(f"{'':34}{'agent-steps/s':>16}{'env-steps/s':>16}")
    for name, both in seconds.items():
        nodes = many if f", {many} nodes" in name else few
        print(f"{name:34}{nodes / both['sample']:16,.0f}{1 / both['train']:16,.0f}")
    small = seconds[f"batches, {few} nodes, 32 envs"]
    large = seconds[f"batches, {many} nodes, 32 envs"]
    fast = seconds[f"batches, {few} nodes, 256 envs"]
    stock = seconds[f"RLlib's own, {few} nodes, 32 envs"]
    numbers = {
        "sampling_agent_steps_per_second": round(few / fast["sample"]),
        "ppo_env_steps_per_second": round(1 / fast["train"]),
        "sampling_speedup_same_envs": round(stock["sample"] / small["sample"], 1),
        "ppo_speedup_same_envs": round(stock["train"] / small["train"], 1),
        "sampling_speedup": round(stock["sample"] / fast["sample"], 1),
        "ppo_speedup": round(stock["train"] / fast["train"], 1),
        "sampling_cost_per_agent_step_many_to_few": round(
            large["sample"] / many / (small["sample"] / few), 2
        ),
        "ppo_cost_per_agent_step_many_to_few": round(
            large["train"] / many / (small["train"] / few), 2
        ),
    }
    print(
        f"\nsampling {numbers['sampling_speedup_same_envs']}x, whole PPO "
        f"{numbers['ppo_speedup_same_envs']}x RLlib's own at the same 32 envs; an agent-step at "
        f"{many} nodes costs {numbers['sampling_cost_per_agent_step_many_to_few']} (sampling) and "
        f"{numbers['ppo_cost_per_agent_step_many_to_few']} (whole PPO) of one at {few}"
    )
    for algorithm, _ in contenders.values():
        algorithm.stop()
    return numbers


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="turns each contender takes")
    parser.add_argument("--quick", action="store_true", help="one turn, 20 nodes at most")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        # One core for the whole process: what other threads of it cost is counted, not hidden.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    quick = options.quick
    numbers = run(scenario_factory, 1 if quick else options.repeats, (10, 20 if quick else 100))
    ray.shutdown()
    print(json.dumps(numbers))


if __name__ == "__main__":
    main()
