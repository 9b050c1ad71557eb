"""How fast training samples and learns, beside RLlib's own path on the same simulator.

    python -m tests.benchmarks.rllib [--repeats 5] [--quick]

One core: CPU seconds of this process, one torch thread. The contenders take turns, so that
a noisy machine hits all of them; medians are reported. The last line is JSON.

The floor of a PPO iteration is what the networks' own arithmetic costs: floating-point operations
of their layers, at the rate of a product that stays in cache, and tanh, at its rate. Simulator,
loss, optimiser and shuffling are not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig

from envs.network.demand import DemandConfig
from envs.scenarios import build_scenario
from tests.envs.networks import one_warehouse
from tests.settings import as_shipped, training
from training.config import TrainingConfig
from training.rllib.algorithms.ppo import PpoConfig
from training.rllib.env_factory import EnvFactory, ScenarioEnvFactory
from training.rllib.trainer import build_algorithm, configure

PERIODS = 32  # per fragment


def scenario_factory(nodes: int) -> EnvFactory:
    """One warehouse and nodes - 1 stores, one SKU: one agent per node."""
    return ScenarioEnvFactory(
        build_scenario(
            one_warehouse(
                name=f"{nodes} nodes",
                stores=nodes - 1,
                lost_sale_cost=9.0,
                demand=DemandConfig("poisson", mean=5.0),
                horizon=100,
                warm_up=20,
            )
        )
    )


def settings(envs: int) -> TrainingConfig:
    """Four epochs, 64x64 actor and critic."""
    rows = 8192 if envs > 32 else 4096
    return training(
        algorithm=as_shipped("algorithm=ppo", discount=0.99, minibatch_rows=rows),
        resources=as_shipped("resources", envs_per_runner=envs, fragment_periods=PERIODS),
    )


def ours(factory: EnvFactory, envs: int) -> Algorithm:
    """BatchedPPO on whole batches."""
    return build_algorithm(factory, settings(envs))


def rllibs(factory: EnvFactory, envs: int, output: str) -> Algorithm:
    """RLlib's PPO, on its own sampler ("agents") or on our episodes ("episodes")."""
    config = settings(envs)
    assert isinstance(config.algorithm, PpoConfig)
    rllib = configure(PPOConfig(), factory, config, output)
    config.algorithm.fill(rllib)
    # It refuses minibatches of more rows than the batch has env steps: the largest it takes.
    rllib.training(minibatch_size=min(config.algorithm.minibatch_rows, envs * PERIODS))
    return rllib.build_algo()


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU time of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def arithmetic_rates() -> tuple[float, float]:
    """Seconds of CPU per floating-point operation of a layer, and per tanh."""
    rows, units, rounds = 2048, 64, 100
    inputs, weights = torch.randn(rows, units), torch.randn(units, units)
    outputs = torch.empty(rows, units)

    def products() -> None:
        for _ in range(rounds):
            torch.mm(inputs, weights, out=outputs)

    def tanhs() -> None:
        for _ in range(rounds):
            torch.tanh(inputs, out=outputs)

    layer, tanh = (min(cpu_seconds(work) for _ in range(3)) / rounds for work in (products, tanhs))
    return layer / (2 * rows * units * units), tanh / (rows * units)


def operations_per_env_step(factory: EnvFactory, config: TrainingConfig) -> tuple[int, int]:
    """Floating-point operations of the layers, and tanhs, that one env step costs.

    Actor and critic look once while sampling; then each epoch once forward and once back, where
    every layer's weights get a gradient, and its inputs too, the first layer's excepted.
    """
    env, flops, tanhs = factory(1), 0, 0
    assert isinstance(config.algorithm, PpoConfig)
    hidden, epochs = config.model.hidden, config.algorithm.epochs
    for group in env.groups:
        for outputs in (group.action_size, 1):
            layers = list(pairwise((env.observation_size, *hidden, outputs)))
            forward = 2 * sum(wide * high for wide, high in layers)
            first = 2 * layers[0][0] * layers[0][1]
            rows = group.stop - group.start
            flops += rows * (forward + epochs * (3 * forward - first))
            tanhs += rows * (1 + epochs) * sum(hidden)
    return flops, tanhs


def measure(
    contenders: dict[str, tuple[Algorithm, int]], repeats: int
) -> dict[str, dict[str, float]]:
    """Seconds of CPU per env step, sampling and whole iterations: {name: {what: seconds}}.

    contenders: {name: (algorithm, env steps per iteration)}. Under "arithmetic": seconds per
    "operation" and per "tanh".
    """
    samples: dict[str, dict[str, list[float]]] = {
        name: {"sample": [], "train": []} for name in contenders
    }
    samples["arithmetic"] = {"operation": [], "tanh": []}
    for algorithm, _ in contenders.values():  # compile, allocate, measure the base policy
        algorithm.train()
        algorithm.env_runner.sample()
    for _ in range(repeats):
        for name, (algorithm, steps) in contenders.items():
            sampling = cpu_seconds(algorithm.env_runner.sample)
            samples[name]["sample"].append(sampling / steps)
            samples[name]["train"].append(cpu_seconds(algorithm.train) / steps)
            for what, rate in zip(("operation", "tanh"), arithmetic_rates(), strict=True):
                samples["arithmetic"][what].append(rate)
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
    for nodes, envs in ((few, 32), (few, 256), (many, 32), (many, 256)):
        name = f"batches, {nodes} nodes, {envs} envs"
        contenders[name] = (ours(factory_of(nodes), envs), envs * PERIODS)
    for output, name, nodes in (
        ("episodes", "episodes", few),
        ("agents", "RLlib's own", few),
        ("agents", "RLlib's own", many),
    ):
        contenders[f"{name}, {nodes} nodes, 32 envs"] = (
            rllibs(factory_of(nodes), 32, output),
            32 * PERIODS,
        )
    seconds = measure(contenders, repeats)
    arithmetic = seconds.pop("arithmetic")
    print(f"\n{'':34}{'sampling':>16}{'whole PPO':>16}{'whole PPO':>12}")
    print(f"{'':34}{'agent-steps/s':>16}{'env-steps/s':>16}{'to floor':>12}")
    to_floor = {}
    for name, both in seconds.items():
        nodes = many if f", {many} nodes" in name else few
        flops, tanhs = operations_per_env_step(factory_of(nodes), settings(32))
        floor = flops * arithmetic["operation"] + tanhs * arithmetic["tanh"]
        to_floor[name] = both["train"] / floor
        print(
            f"{name:34}{nodes / both['sample']:16,.0f}{1 / both['train']:16,.0f}"
            f"{to_floor[name]:12.2f}"
        )
    small = seconds[f"batches, {few} nodes, 32 envs"]
    large = seconds[f"batches, {many} nodes, 32 envs"]
    fast = seconds[f"batches, {few} nodes, 256 envs"]
    stock = seconds[f"RLlib's own, {few} nodes, 32 envs"]
    numbers = {
        "sampling_agent_steps_per_second": round(few / fast["sample"]),
        "ppo_env_steps_per_second": round(1 / fast["train"]),
        "sampling_cost_per_agent_step_many_to_few": round(
            large["sample"] / many / (small["sample"] / few), 2
        ),
        "ppo_cost_per_agent_step_many_to_few": round(
            large["train"] / many / (small["train"] / few), 2
        ),
        "sampling_speedup_same_envs": round(stock["sample"] / small["sample"], 1),
        "ppo_speedup_same_envs": round(stock["train"] / small["train"], 1),
        "sampling_speedup": round(stock["sample"] / fast["sample"], 1),
        "ppo_speedup": round(stock["train"] / fast["train"], 1),
    }
    print()
    for nodes in sizes:
        stock = seconds[f"RLlib's own, {nodes} nodes, 32 envs"]
        for envs in (32, 256):
            name = f"batches, {nodes} nodes, {envs} envs"
            speedups = [stock[what] / seconds[name][what] for what in ("sample", "train")]
            print(
                f"{nodes} nodes, {envs} envs: sampling {speedups[0]:.1f}x, whole PPO "
                f"{speedups[1]:.1f}x RLlib's own at 32; {to_floor[name]:.2f}x its floor"
            )
            numbers[f"ppo_speedup_{nodes}_nodes_{envs}_envs"] = round(speedups[1], 1)
            numbers[f"ppo_to_floor_{nodes}_nodes_{envs}_envs"] = round(to_floor[name], 2)
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
