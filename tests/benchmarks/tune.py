"""Tuning cost per policy: python tests/benchmarks/tune.py TRACES BUDGET SCENARIO:POLICY ..."""

from __future__ import annotations

import sys

from conf.compose import compose
from envs.scenarios import build_scenario
from evaluation.commands.tune import TuneCommand
from evaluation.tuning.config import TuneConfig
from evaluation.tuning.search import tune_policy


def main(traces: int, budget: int, cases: list[str]) -> None:
    """Print cost, parameter sets, simulated periods per second and CPU seconds of each case."""
    for case in cases:
        name, policy = case.split(":")
        composed = compose(TuneCommand, [f"scenario={name}"])
        scenario = build_scenario(composed.command.scenario)
        tune_policy(scenario, policy, TuneConfig(1, 1, 1))  # compile before the clock starts
        tuned = tune_policy(scenario, policy, TuneConfig(traces, budget, 1_000_000))
        print(
            f"{name:<22}{policy:<22}cost {tuned.cost:10.4f}  sets {tuned.evaluations:4}  "
            f"periods/s {tuned.periods / tuned.seconds:9,.0f}  CPU s {tuned.cpu_seconds:7.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
