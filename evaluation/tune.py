"""Tune a classical policy by simulation, on training traces only.

A pattern search over one step count per (parameter, node kind), on common traces: coarse steps
first, halved until they no longer matter. Few parameters, no gradients, no surprises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.policies import Parameter, policy_class
from envs.scenario import Scenario
from evaluation.rollout import play

__all__ = ["Tuned", "tune_policy"]

_STEPS = (1.0, 0.5, 0.25, 0.1)  # in units of a parameter's scale


@dataclass(frozen=True)
class Tuned:
    """parameters: as `build_policy` takes them. cost: currency per period on training traces.
    evaluations: how many parameter sets were simulated. periods: simulated in all."""

    parameters: dict[str, Any]
    cost: float
    evaluations: int
    periods: int


def tune_policy(
    scenario: Scenario,
    name: str,
    *,
    seed: int,
    traces: int = 256,
    budget: int = 400,
    on_evaluation: Callable[[int, float], None] | None = None,
) -> Tuned:
    """Search the policy's parameters on `traces` episodes of the train split.

    budget: parameter sets simulated at most. on_evaluation(count, best cost) reports progress.
    Raises ConfigError for an unknown policy.
    """
    net, cls = scenario.compiled, policy_class(name)
    tunable = cls.tunable(net)
    kind_of = {n.id: n.kind for n in net.agent_nodes}
    kinds = np.array([kind_of[s.node] for s in net.network.stocks])
    moves = [
        (key, kind)
        for key, parameter in tunable.items()
        if parameter.scale is not None
        for kind in dict.fromkeys(kinds)
    ]
    known: dict[bytes, float] = {}

    def cost(x: dict[tuple[str, str], float]) -> float:
        values = _values(tunable, kinds, x)
        key = b"".join(v.tobytes() for v in values.values())
        if key not in known and len(known) < budget:
            policy = cls(net, {k: v[:, None] for k, v in values.items()})
            result = play(scenario, policy, traces=traces, seed=seed, split="train")
            known[key] = float(result.cost.mean())
            if on_evaluation is not None:
                on_evaluation(len(known), min(known.values()))
        return known.get(key, float("inf"))

    best = dict.fromkeys(moves, 0.0)
    lowest = cost(best)
    for step in _STEPS:
        improved = True
        while improved and len(known) < budget:
            improved = False
            for move in moves:
                for sign in (1.0, -1.0):
                    while (new := cost(trial := {**best, move: best[move] + sign * step})) < lowest:
                        best, lowest, improved = trial, new, True
    final = _values(tunable, kinds, best)
    labels = [s.label for s in net.network.stocks]
    parameters = {k: _compact(v, kinds, labels) for k, v in final.items()}
    periods = len(known) * traces * (scenario.horizon + scenario.warm_up)
    return Tuned(parameters, lowest, len(known), periods)


def _values(
    tunable: dict[str, Parameter],
    kinds: NDArray[np.str_],
    x: dict[tuple[str, str], float],
) -> dict[str, NDArray[np.float64]]:
    return {
        key: parameter.moved(np.array([x.get((key, kind), 0.0) for kind in kinds]))
        for key, parameter in tunable.items()
    }


def _compact(values: NDArray[np.float64], kinds: NDArray[np.str_], labels: list[str]) -> Any:
    """One number per node kind where its pairs agree, else one per pair."""
    compact: dict[str, float] = {}
    for kind in dict.fromkeys(kinds):
        rows = np.flatnonzero(kinds == kind)
        if np.ptp(values[rows]) < 1e-12:
            compact[str(kind)] = float(values[rows[0]])
        else:
            compact.update({labels[row]: float(values[row]) for row in rows})
    return compact
