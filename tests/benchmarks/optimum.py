"""How far learning ends above the optimum: python tests/benchmarks/optimum.py FAMILY
[key=value ...]

FAMILY: lost_sales (the instances of Zipkin 2008 that `echelon verify` holds) or dual_sourcing
(Gijsbrechts et al. 2022, figure 9). Other keys go to `echelon train`. seeds=5, only=<part of a
name>, periods=2000000 to play. Prints a row per instance: optimum, tuned base policy, learned
policy of every seed, gaps in percent, CPU seconds of training.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from evaluation.workers import prepare_ray

prepare_ray()

from conf.compose import compose
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.artifact.actor import Actor
from evaluation.artifact.correction import learned_correction
from evaluation.comparison.rollout import Competitor, play
from evaluation.console import ConsoleProgress, make_console
from evaluation.optima.exact import solve_scenario
from evaluation.ray_workers import ray_session
from evaluation.verify.case import load_cases
from training.commands.train import TrainCommand
from training.job.train import train

_HORIZON = 2000  # periods of an episode played, after a warm-up of 100
_OWN = ("seeds", "only", "periods")
_DEFAULTS = [
    "time_limit=20", "algorithm.iterations=100000", "resources.envs_per_runner=64",
    "validation.traces=512", "validation.every=20", "register=false",
]  # fmt: skip
_BASE_POLICY = {"lost_sales": "capped_base_stock", "dual_sourcing": "capped_dual_index"}


def _instances(family: str) -> Iterator[tuple[str, list[str], float | None]]:
    """(name, what to set, optimal cost per period where it is known)."""
    if family == "dual_sourcing":
        for lead in (2, 3, 4):
            transit = f"scenario.lanes.regular.initial_in_transit={[2] * lead}"
            for cost in (105, 110):
                yield f"l{lead}_ce{cost}", [
                    f"scenario.lanes.regular.lead_time={lead}", transit,
                    f"scenario.lanes.expedite.unit_cost={cost}",
                ], None  # fmt: skip
        return
    for case in load_cases():
        if case.family == family:
            yield case.id.removeprefix("lostsales_"), [
                f"scenario.demand.distribution={case.params['demand']}",
                f"scenario.lead_time={case.whole('L')}",
                f"scenario.lost_sale_cost={case.number('p')}",
            ], case.optimal  # fmt: skip


def _cost(scenario: Scenario, actors: dict[str, Actor] | None, periods: int) -> tuple[float, float]:
    """Mean cost per period over so many periods, and its standard error."""
    name = scenario.base_policy
    long = dataclasses.replace(scenario, horizon=_HORIZON, warm_up=100)
    rule = Competitor(name, name, scenario.policy_params[name]).build(long)
    correction = learned_correction(actors, long) if actors else None
    kpis = play(long, rule, correction, traces=max(2, periods // _HORIZON), seed=3_000_000)
    cost = kpis.cost.mean(axis=0)
    return float(cost.mean()), float(cost.std(ddof=1) / np.sqrt(cost.size))


def main(family: str, overrides: list[str]) -> None:
    """Print the rows, and the mean and the largest gap."""
    own = dict(o.split("=", 1) for o in overrides if o.split("=", 1)[0] in _OWN)
    rest = [o for o in overrides if o.split("=", 1)[0] not in _OWN]
    seeds, periods = int(own.get("seeds", 5)), int(own.get("periods", 2_000_000))
    torch.set_num_threads(1)
    gaps = []
    for name, keys, optimum in _instances(family):
        if own.get("only", "") not in name:
            continue
        scenario, found, seconds, error = None, [], [], 0.0
        for seed in range(seeds):
            base = f"scenario.base_policy={_BASE_POLICY[family]}"
            arguments = [f"scenario={family}", base, *_DEFAULTS, *keys, *rest, f"seed={seed}"]
            command = compose(TrainCommand, arguments).command
            built = scenario or build_scenario(command.scenario)
            with (
                tempfile.TemporaryDirectory() as folder,
                ray_session(len(command.resources.bundles)),
                ConsoleProgress(make_console(), lambda *_: None) as progress,
            ):
                started = time.process_time()
                outcome = train(built, command, Path(folder), progress)
                seconds.append(time.process_time() - started)
            scenario = outcome.scenario  # with the base policy's parameters: tuned once
            mean, error = _cost(scenario, outcome.actors, periods)
            found.append(mean)
        assert scenario is not None
        if optimum is None:
            optimum = solve_scenario(scenario).cost
        rule, _ = _cost(scenario, None, periods)
        gap = 100.0 * (np.array(found) / optimum - 1.0)
        gaps.append(gap)
        print(
            f"{name:<18} optimum {optimum:8.4f}  {scenario.base_policy} {rule / optimum - 1:+.2%}  "
            f"learned {', '.join(f'{g:+.2f}' for g in gap)} %  mean {gap.mean():+.2f} "
            f"+- {100 * error / optimum:.2f} %  CPU {np.mean(seconds):.0f} s",
            flush=True,
        )
    means = np.array([gap.mean() for gap in gaps])
    print(
        f"{len(gaps)} instances x {seeds} seeds: mean gap {means.mean():+.2f} %, largest "
        f"{means.max():+.2f} %, largest of a seed {max(g.max() for g in gaps):+.2f} %"
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
