"""Where to hold safety stock in a tree of stages that quote service times to one another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.errors import ConfigError
from envs.types import Floats


@dataclass(frozen=True)
class Stage:
    """A stage."""

    id: str
    holding_cost: float  # currency per unit and period
    processing_time: int  # periods
    suppliers: tuple[str, ...] = ()  # ids of the stages it is supplied by
    inbound: int = 0  # service time of outside suppliers [periods]
    outbound: int | None = None  # longest service time that customers accept; None: it has none
    demand_sd: float = 0.0  # of its own customers' demand [units per period]


@dataclass(frozen=True)
class Placement:
    """Where safety stock goes."""

    service_times: dict[str, int]  # what each stage quotes [periods]
    cost: float  # currency per period


def place_safety_stock(stages: Sequence[Stage], safety_factor: float) -> Placement:
    """Return the service times of least safety-stock cost, sum of h z sd sqrt(SI + T - S), by the
    dynamic programme of Graves and Willems (2000) over a tree.

    SI: longest service time of a stage's suppliers; T: its processing time; S: what it quotes.
    safety_factor [z]: demand over n periods is covered up to z sd sqrt(n) beyond its mean.
    Raises ConfigError where the stages are no tree or a number is out of range.
    """
    place = {stage.id: i for i, stage in enumerate(stages)}
    for stage in stages:
        if any(name not in place for name in stage.suppliers):
            raise ConfigError(f"stage '{stage.id}': suppliers {stage.suppliers} aren't all stages.")
        if stage.holding_cost < 0.0 or stage.processing_time < 0 or stage.demand_sd < 0.0:
            raise ConfigError(f"stage '{stage.id}': expected numbers >= 0; got {stage}.")
    edges = [(place[name], j) for j, stage in enumerate(stages) for name in stage.suppliers]
    order, parent = _walk(len(stages), edges)
    spread = _pooled(stages, edges)
    longest = sum(s.processing_time + s.inbound for s in stages) + 1
    times = np.arange(longest)
    inbound, quoted = times[:, None], times[None, :]  # SI, S
    cost: dict[int, Floats] = {}
    message: dict[int, Floats] = {}
    for k in reversed(order):
        stage = stages[k]
        exposure = inbound + stage.processing_time - quoted
        total = stage.holding_cost * safety_factor * spread[k] * np.sqrt(np.maximum(exposure, 0.0))
        allowed = (exposure >= 0) & (inbound >= stage.inbound)
        if stage.outbound is not None:
            allowed &= quoted <= stage.outbound
        total = np.where(allowed, total, np.inf)
        for i, j in edges:
            if j == k and parent[i] == k:  # a supplier below in the walk: it quotes SI at most
                total = total + np.minimum.accumulate(message[i])[:, None]
            if i == k and parent[j] == k:  # a customer: its SI is S at least
                total = total + np.minimum.accumulate(message[j][::-1])[::-1][None, :]
        cost[k] = total
        if parent[k] >= 0:
            is_supplier = (k, parent[k]) in edges
            message[k] = total.min(axis=0) if is_supplier else total.min(axis=1)
    chosen = _retrace(order, parent, edges, cost, message)
    root = order[0]
    return Placement({stages[k].id: chosen[k][1] for k in sorted(chosen)}, float(cost[root].min()))


def _walk(count: int, edges: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Return the stages in an order in which all but the first have one neighbour before them."""
    parent, order = [-1] * count, [0]
    for k in order:
        for a, b in edges:
            for here, there in ((a, b), (b, a)):
                if here == k and there not in order:
                    parent[there] = k
                    order.append(there)
    if len(order) != count or len(edges) != count - 1:
        raise ConfigError(
            f"guaranteed service: {count} stages and {len(edges)} links are no tree; expected one."
        )
    return order, parent


def _pooled(stages: Sequence[Stage], edges: list[tuple[int, int]]) -> Floats:
    """[stages] sd of demand, that of all customers below, independent of one another."""
    spread = np.array([stage.demand_sd for stage in stages])

    def below(k: int) -> float:
        return float(spread[k] ** 2 + sum(below(j) for i, j in edges if i == k))

    return np.sqrt([below(k) for k in range(len(stages))])


def _retrace(
    order: list[int], parent: list[int], edges: list[tuple[int, int]], cost: dict[int, Floats],
    message: dict[int, Floats],
) -> dict[int, tuple[int, int]]:  # fmt: skip
    """Return stage -> (SI, S), from the first stage of the walk on."""
    chosen: dict[int, tuple[int, int]] = {}
    for k in order:
        table = cost[k]
        if parent[k] >= 0:
            inbound, quoted = chosen[parent[k]]
            if (k, parent[k]) in edges:  # it supplies its parent: the cheapest S <= SI there
                fixed = int(np.argmin(message[k][: inbound + 1]))
                chosen[k] = int(np.argmin(table[:, fixed])), fixed
            else:
                fixed = quoted + int(np.argmin(message[k][quoted:]))
                chosen[k] = fixed, int(np.argmin(table[fixed]))
            continue
        best = int(np.argmin(table))
        chosen[k] = best // table.shape[1], best % table.shape[1]
    assert all(math.isfinite(cost[k][chosen[k]]) for k in order)
    return chosen
