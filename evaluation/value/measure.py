"""What the report keeps of a policy's episodes: small, plain, enough for every statistic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from envs.kpis.pairs import EpisodeKpis
from envs.scenario import Scenario
from envs.types import Floats
from evaluation.comparison.compare import independent_samples

_KPIS = ("fill_rate", "ready_rate", "days_of_supply", "cvar90_cost")


@dataclass(frozen=True)
class Played:
    """A policy on the common traces.

    segments: label -> currency per period; they add up to the cost by node kind, and again by
        class of SKU.
    """

    trace_cost: tuple[float, ...]  # [B] currency per period
    samples: tuple[float, ...]  # the independent values behind intervals
    sold: tuple[float, ...]  # [B] units served at once
    demand: tuple[float, ...]  # [B] units
    segments: Mapping[str, float]
    kpis: Mapping[str, float]

    @property
    def cost(self) -> float:
        """Mean, currency per period."""
        return float(np.mean(self.trace_cost))

    @property
    def fill_rate(self) -> float:
        """Units served at once / units demanded."""
        demand = float(np.sum(self.demand))
        return float(np.sum(self.sold)) / demand if demand else 1.0


def measure(scenario: Scenario, result: EpisodeKpis, classes: Mapping[str, str]) -> Played:
    """Reduce episodes to what the report keeps. classes: SKU -> class, for the segments."""
    return Played(
        trace_cost=_plain(result.cost.mean(axis=0)),
        samples=_plain(independent_samples(scenario, result.cost)),
        sold=_plain(result.sums.sold),
        demand=_plain(result.demand.sum(axis=0)),
        segments=_segments(scenario, result, classes),
        kpis={key: value for key, value in result.summary().items() if key in _KPIS},
    )


def _segments(
    scenario: Scenario, result: EpisodeKpis, classes: Mapping[str, str]
) -> dict[str, float]:
    costs: dict[str, float] = {}
    kinds = {n.id: n.kind for n in scenario.compiled.agent_nodes}
    for node, columns in result.cost_by_node().items():
        label = f"node kind {kinds[node]}"
        costs[label] = costs.get(label, 0.0) + sum(columns.values())
    if classes:
        for sku, columns in sorted(result.cost_by_sku().items(), key=lambda kv: classes[kv[0]]):
            label = f"SKU class {classes[sku]}"
            costs[label] = costs.get(label, 0.0) + sum(columns.values())
    return costs


def _plain(values: Floats) -> tuple[float, ...]:
    return tuple(float(x) for x in values)
