"""`echelon tune`: the best parameters of the classical policies, and the best policy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from rich.table import Table

from conf.compose import Composed
from envs.errors import ConfigError
from envs.scenarios import build_scenario
from evaluation.commands.multirun import TrackedCommand, run_each
from evaluation.comparison.compare import Comparison, compare, costs_of, verdicts_of
from evaluation.comparison.rollout import Competitor
from evaluation.comparison.units import cost_unit
from evaluation.console import ConsoleProgress, make_console
from evaluation.files.atomic_folder import write_file
from evaluation.files.storage import open_storage
from evaluation.tasks import Task
from evaluation.tracking.origin import describe, log_data
from evaluation.tracking.tracker import Tracker, must_be_unused
from evaluation.tuning.cache import digest, load_tuned, source_digest, store_tuned
from evaluation.tuning.choose import best_rule, unfit
from evaluation.tuning.config import ChooseConfig, TuneConfig
from evaluation.tuning.search import Tuned, stock_classes, tune_policy
from evaluation.value.candidates import candidates
from evaluation.workers import open_workers


@dataclass(frozen=True)
class TuneCommand(TrackedCommand):
    """`echelon tune`.

    policies: empty for those the network calls for.
    workers: policies searched at once.
    cache: folder, place in a storage, or None.
    """

    name: ClassVar = "tune"
    policies: list[str]
    classes: str
    traces: int
    budget: int
    seed: int
    check: ChooseConfig
    workers: int
    cache: str | None
    out: str | None


def tune(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    return run_each(TuneCommand, argv, _run)


def _run(composed: Composed[TuneCommand]) -> dict[str, float]:
    command, console = composed.command, make_console()
    must_be_unused(composed.folder)
    scenario = build_scenario(command.scenario)
    stock_classes(scenario, command.classes)  # mistakes fail before anything long starts
    if min(command.traces, command.budget, command.check.traces, command.workers) < 1:
        raise ConfigError(
            f"traces is {command.traces}, budget {command.budget}, check.traces "
            f"{command.check.traces} and workers {command.workers}; expected at least one of each."
        )
    names = list(dict.fromkeys(command.policies or candidates(scenario)))
    reasons = {name: unfit(scenario, name) for name in names}
    names = [name for name in names if reasons[name] is None]
    for name, reason in reasons.items():
        if reason is not None:
            console.print(f"Left out {name}: {reason}.", highlight=False, soft_wrap=True)
    if not names:
        raise ConfigError(
            f"policies [{', '.join(reasons)}]: none applies to scenario '{scenario.name}'."
        )
    facts = {"scenario": composed.resolved["scenario"], "data": scenario.data_hash}
    search = {"seed": command.seed, "traces": command.traces, "budget": command.budget,
              "classes": command.classes}  # fmt: skip
    keys = {
        name: digest({**facts, **search, "policy": name, "source": source_digest()})
        for name in names
    }
    cache = open_storage(command.cache) if command.cache else None
    known = {name: load_tuned(cache, keys[name]) if cache else None for name in names}
    tuned = {name: found for name, found in known.items() if found is not None}
    cached = list(tuned)
    missing = [name for name in names if name not in tuned]
    config = TuneConfig(command.traces, command.budget, command.seed)
    find = partial(tune_policy, classes=command.classes)
    tasks = [Task(name, partial(find, scenario, name, config)) for name in missing]
    workers_needed = min(command.workers, len(missing))
    with ConsoleProgress(console) as progress, open_workers(workers_needed) as workers:
        for ended in workers.run(f"tune {len(tasks)} policies", tasks, progress):
            name = missing[ended.index]
            tuned[name] = ended.result()
            if cache:
                store_tuned(cache, keys[name], tuned[name])
        tuned = {name: tuned[name] for name in names}  # workers end in any order
        comparison = compare(
            scenario,
            [Competitor(n, n, t.parameters, origin="tuned") for n, t in tuned.items()],
            traces=command.check.traces,
            seed=command.check.seed,
            split="tune",
            workers=workers,
            progress=progress,
        )
    best = best_rule(comparison)
    record = _record(comparison, tuned, cached, best, digest(facts), command)
    path = composed.folder / "tuned.json"
    with Tracker(command.tracking, composed.folder, parent=composed.parent) as tracker:
        composed.write()
        write_file(path, (json.dumps(record, indent=2, allow_nan=False) + "\n").encode())
        console.print(_table(comparison, tuned, cached))
        console.print(f"Best rule: {names[best]}.", highlight=False)
        tracker.start(
            f"tune {scenario.name}",
            params=composed.parameters,
            tags={"command": "tune", "best_rule": names[best], **verdicts_of(comparison)},
            description=f"{', '.join(names)} tuned on {describe(scenario)}",
        )
        log_data(tracker, scenario, "tuning", command.network)
        tracker.log_metrics(0, _metrics(comparison, tuned))
        tracker.log_artifacts(path)
    console.print(f"Wrote {path}.", highlight=False, soft_wrap=True)
    return costs_of(comparison)


def _table(comparison: Comparison, tuned: dict[str, Tuned], cached: list[str]) -> Table:
    scenario = comparison.scenario
    unit = cost_unit(scenario)
    table = Table(title=f"{scenario.name}: tuned policies", title_justify="left")
    for heading in ("policy", f"training {unit}", f"held out {unit}", "sets", "periods",
                    "periods/s", "CPU s", "parameters"):  # fmt: skip
        left = heading in ("policy", "parameters")
        table.add_column(heading, justify="left" if left else "right", overflow="fold")
    for e in comparison.policies:
        name = e.competitor.name
        t = tuned[name]
        low, high = e.cost.interval
        again = " (cached)" if name in cached else ""
        table.add_row(
            f"{name}{again}", f"{t.cost:,.5g}", f"{e.cost.mean:,.5g} ± {0.5 * (high - low):.2g}",
            f"{t.evaluations}", f"{t.periods:,}", f"{t.periods / max(t.seconds, 1e-9):,.0f}",
            f"{t.cpu_seconds:.1f}", _short(t.parameters),
        )  # fmt: skip
    return table


def _short(parameters: dict[str, Any]) -> str:
    """Return the parameters in words; many values of one as their range."""
    words = []
    for key, values in parameters.items():
        if len(values) > 4:
            low, high = min(values.values()), max(values.values())
            words.append(f"{key} {low:.4g}..{high:.4g}")
        else:
            words.append(f"{key} " + ", ".join(f"{k} {v:.4g}" for k, v in values.items()))
    return "; ".join(words)


def _record(
    comparison: Comparison,
    tuned: dict[str, Tuned],
    cached: list[str],
    best: int,
    scenario_digest: str,
    command: TuneCommand,
) -> dict[str, Any]:
    return {
        "scenario": comparison.scenario.name,
        "scenario_sha256": scenario_digest,
        "source_sha256": source_digest(),
        "seed": command.seed,
        "traces": command.traces,
        "budget": command.budget,
        "classes": command.classes,
        "check": {"split": "tune", "traces": command.check.traces, "seed": command.check.seed},
        "best_rule": comparison.policies[best].competitor.name,
        "policy_params": {name: t.parameters for name, t in tuned.items()},
        "policies": {
            e.competitor.name: {
                "training_cost": tuned[e.competitor.name].cost,
                "training_half_width": _finite(tuned[e.competitor.name].half_width),
                "held_out_cost": e.cost.mean,
                "held_out_interval": [_finite(bound) for bound in e.cost.interval],
                "parameter_sets": tuned[e.competitor.name].evaluations,
                "periods": tuned[e.competitor.name].periods,
                "seconds": tuned[e.competitor.name].seconds,
                "cpu_seconds": tuned[e.competitor.name].cpu_seconds,
                "cached": e.competitor.name in cached,
                "history": tuned[e.competitor.name].history,
            }
            for e in comparison.policies
        },
    }


def _finite(value: float) -> float | None:
    """Return None where one sample gave no interval: JSON has no infinity."""
    return float(value) if np.isfinite(value) else None


def _metrics(comparison: Comparison, tuned: dict[str, Tuned]) -> dict[str, float]:
    return {
        f"{e.competitor.name}/{key}": float(value)
        for e in comparison.policies
        for key, value in {
            "training_cost": tuned[e.competitor.name].cost,
            "held_out_cost": e.cost.mean,
            "cpu_seconds": tuned[e.competitor.name].cpu_seconds,
            "parameter_sets": tuned[e.competitor.name].evaluations,
        }.items()
    }
