"""Algorithms side by side: python tests/benchmarks/learning.py SCENARIO [key=value ...]

Own keys: algorithms=pathwise,ppo  seconds=40 (of training, each)  seeds=3  classical=<rule, tuned>
out=out/learning. Others go to `echelon train`. Prints, per algorithm, validation cost at the end
and how many seconds and simulated periods it took to 90 % of the largest gain of all runs, and
draws the curves with the base policy, the classical rule and the optimum (where it is computable).
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from evaluation.workers import prepare_ray

prepare_ray()

from conf.compose import compose
from envs.scenarios import build_scenario
from evaluation.comparison.plots import save_figure
from evaluation.comparison.rollout import Competitor, play
from evaluation.console import ConsoleProgress, make_console
from evaluation.optima.exact import NotCovered, solve_scenario
from evaluation.ray_workers import ray_session
from evaluation.tuning.search import tune_policy
from training.commands.train import TrainCommand
from training.job.train import train

_OWN = {"algorithms": "pathwise,ppo", "seconds": "40", "seeds": "3", "classical": "",
        "out": "out/learning"}  # fmt: skip
_DEFAULTS = ["register=false", "algorithm.iterations=1000000", "validation.traces=256"]

Curve = list[tuple[int, float, float, float]]  # iteration, seconds, periods, validation cost


def _command(scenario: str, algorithm: str, seconds: str, seed: int, rest: list[str]) -> Any:
    arguments = [f"scenario={scenario}", f"algorithm={algorithm}", *_DEFAULTS, *rest]
    arguments += [f"time_limit={seconds}", f"seed={seed}"]
    return compose(TrainCommand, arguments).command


def _until(curve: Curve, cost: float) -> tuple[float, float]:
    """Seconds and simulated periods until the validation cost was that low; infinite if never."""
    for _, seconds, periods, found in curve:
        if found <= cost:
            return seconds, periods
    return float("inf"), float("inf")


def main(name: str, overrides: list[str]) -> None:
    """Train every algorithm with every seed; print the table, write the picture."""
    torch.set_num_threads(1)
    own = _OWN | dict(o.split("=", 1) for o in overrides if o.split("=", 1)[0] in _OWN)
    rest = [o for o in overrides if o.split("=", 1)[0] not in _OWN]
    scenario, curves = None, dict[str, list[Curve]]()
    for algorithm in own["algorithms"].split(","):
        for seed in range(int(own["seeds"])):
            command = _command(name, algorithm, own["seconds"], seed, rest)
            built = scenario or build_scenario(command.scenario)
            with (
                tempfile.TemporaryDirectory() as folder,
                ray_session(len(command.resources.bundles)),
                ConsoleProgress(make_console(), lambda *_: None) as progress,
            ):
                outcome = train(built, command, Path(folder), progress)
            scenario = outcome.scenario  # with the base policy's parameters: tuned once
            curves.setdefault(algorithm, []).append(outcome.curve)
    assert scenario is not None
    levels = {f"base policy: {scenario.base_policy}": curves[next(iter(curves))][0][0][3]}
    if own["classical"]:
        levels[f"rule: {own['classical']}"] = _classical(scenario, own["classical"], command)
    with contextlib.suppress(NotCovered):
        levels["optimum"] = solve_scenario(scenario, time_limit=120.0).cost
    start, *_ = levels.values()
    lowest = min(point[3] for runs in curves.values() for run in runs for point in run)
    goal = start - 0.9 * (start - lowest)
    for label, cost in levels.items():
        print(f"{label:<40}{cost:10.4f}")
    for algorithm, runs in curves.items():
        ends = [min(point[3] for point in run) for run in runs]
        seconds, periods = np.median([_until(run, goal) for run in runs], axis=0)
        print(
            f"{algorithm:<12} best {np.mean(ends):10.4f} ({', '.join(f'{e:.4f}' for e in ends)})  "
            f"to {goal:.4f}: {seconds:.1f} s, {periods:,.0f} periods (medians)"
        )
    print("Wrote", _draw(name, levels, curves, Path(own["out"]), scenario.currency))


def _classical(scenario: Any, policy: str, command: Any) -> float:
    """The rule's cost on the validation traces, tuned on training traces."""
    tuned = tune_policy(scenario, policy, command.tune)
    rule = Competitor(policy, policy, tuned.parameters).build(scenario)
    result = play(scenario, rule, traces=command.validation.traces, seed=command.validation.seed,
                  split="tune")  # fmt: skip
    return float(result.cost.mean())


def _draw(
    name: str, levels: dict[str, float], curves: dict[str, list[Curve]], folder: Path, unit: str
) -> Path:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    colours = dict(
        zip(curves, ("tab:green", "tab:orange", "tab:purple", "tab:brown"), strict=False)
    )
    styles = ("--", "-.", ":")
    for axis, column, label in ((axes[0], 1, "seconds of training"), (axes[1], 2, "periods")):
        for algorithm, runs in curves.items():
            for i, run in enumerate(runs):
                # An extra validation at the end has no count of periods.
                points = [point for point in run if point[column] > 0.0]
                axis.plot(
                    [point[column] for point in points],
                    [point[3] for point in points],
                    color=colours[algorithm], linewidth=0.9, label=None if i else algorithm,
                )  # fmt: skip
        for (level, cost), style in zip(levels.items(), styles, strict=False):
            axis.axhline(cost, color="0.3", linestyle=style, linewidth=1.0, label=level)
        axis.set_xscale("log")
        axis.set_xlabel(label)
    axes[0].set_ylabel(f"validation cost [{unit} per period]")
    axes[0].set_title(name, fontsize="medium")
    axes[1].legend(fontsize="x-small")
    folder.mkdir(parents=True, exist_ok=True)
    return save_figure(figure, folder / f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
