"""What the report keeps of a policy's episodes: small, plain, enough for every statistic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.kpis.pairs import EpisodeKpis
from envs.scenario import Scenario

_WEEK = 7  # periods
_KPIS = ("fill_rate", "ready_rate", "days_of_supply", "cvar90_cost")


@dataclass(frozen=True)
class Played:
    """A policy on the common traces.

    trace_cost [B], currency per period. samples: the independent values behind intervals: the same,
    or the cost per period of each week where one history is replayed. sold, demand [B]: units, and
    units served at once. segments: label -> currency per period; they add up to the cost by node
    kind, and again by class of SKU. kpis: by name.
    """

    trace_cost: tuple[float, ...]
    samples: tuple[float, ...]
    sold: tuple[float, ...]
    demand: tuple[float, ...]
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

    def as_dict(self) -> dict[str, Any]:
        """Plain data; `Played(**...)` reads it back."""
        return asdict(self)


def measure(scenario: Scenario, result: EpisodeKpis, classes: Mapping[str, str]) -> Played:
    """Boil episodes down. classes: SKU -> class, for the segments."""
    per_trace = result.cost.mean(axis=0)
    weekly = scenario.splits is not None
    return Played(
        trace_cost=_plain(per_trace),
        samples=_plain(_weeks(result.cost.mean(axis=1)) if weekly else per_trace),
        sold=_plain(result.sums.sold),
        demand=_plain(result.demand.sum(axis=0)),
        segments=_segments(scenario, result, classes),
        kpis={key: value for key, value in result.summary().items() if key in _KPIS},
    )


def _weeks(per_period: NDArray[np.float64]) -> NDArray[np.float64]:
    """[T] -> [weeks]: weeks of one history are nearer to independent than its days."""
    weeks = per_period.size // _WEEK
    if weeks < 2:
        return per_period
    means: NDArray[np.float64] = per_period[: weeks * _WEEK].reshape(weeks, _WEEK).mean(axis=1)
    return means


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


def _plain(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(x) for x in values)
