"""Tune a classical policy by simulation, on training traces only.

A pattern search (Hooke & Jeeves 1961) on common traces, over one step count per parameter and
stock class. A direction moves one parameter of one class, or two at once (++, +-, -+, --, then 2:1
and 1:2): two levels that are linked, as order-up-to and expedite levels are, form a valley that
steps along the axes cannot follow. Steps start coarse and shrink until they no longer matter.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.errors import ConfigError, did_you_mean
from envs.policies import policy_class
from envs.policies.base import Parameter
from envs.scenario import Scenario
from envs.types import Floats
from evaluation.comparison.compare import estimate
from evaluation.comparison.rollout import play
from evaluation.progress import SILENT, Progress
from evaluation.tuning.config import TuneConfig

CLASSES = ("kind", "abc", "sku", "pair")
_STEPS = (1.0, 0.5, 0.25, 0.1)  # in units of a parameter's scale
_FINE = 0.6  # of the budget that the coarse steps leave for the fine ones
_FEW = 8  # traces that the first, coarse steps are tried on, at least
_MOST_PAIRS = 12  # axes up to which all pairs of them are tried, not just those of one class


@dataclass(frozen=True)
class Tuned:
    """The best parameters found, and what the search took."""

    parameters: dict[str, Any]  # as `build_policy` takes them
    cost: float  # currency per period on training traces
    evaluations: int  # parameter sets simulated
    periods: int  # simulated in all
    half_width: float = 0.0  # of the cost's 95 % interval
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    history: list[tuple[int, float]] = field(default_factory=list)  # (evaluation, lowest cost)


def tune_policy(
    scenario: Scenario,
    name: str,
    config: TuneConfig,
    progress: Progress = SILENT,
    *,
    classes: str = "kind",
) -> Tuned:
    """Search the policy's parameters on episodes of the train split.

    config.budget: parameter sets simulated on all traces at most; on fewer they count for less.
    progress: one phase, a step a parameter set.
    classes: what moves together, see `stock_classes`; classes finer than a node kind are searched
        after it, with what is left of the budget.
    Raises ConfigError for an unknown policy or class.
    """
    began, cpu_began = time.perf_counter(), time.process_time()
    progress.phase(f"tune {name}", config.budget)
    tunable = {
        key: _searchable(parameter)
        for key, parameter in policy_class(name).tunable(scenario.compiled).items()
    }
    kinds, groups = stock_classes(scenario, "kind"), stock_classes(scenario, classes)
    search, traces = _Search(scenario, name, tunable, config, progress), config.traces
    few = max(_FEW, traces // 4) if traces >= 2 * _FEW else traces
    best = np.zeros((len(tunable), len(kinds)))
    search.cost(best, traces)
    for wanted in dict.fromkeys(("kind", classes)):
        axes = _axes(tunable, kinds if wanted == "kind" else groups)
        moves = [[a * _step(tunable, a, step) for a in axes] for step in _STEPS]
        search.reserve = _FINE * search.left
        for singles in moves[:2]:
            best = search.descend(best, [singles, _together(tunable, singles)], few)
        search.reserve = 0.0
        best = search.best(best)
        for singles in (*moves, _halves(tunable, axes)):
            best = search.descend(best, [singles], traces)
        for singles in moves:
            together = _together(tunable, singles)
            linked = [singles, together, _pairs(singles, (1.0,)), _pairs(singles, (2.0, 0.5))]
            best = search.descend(best, linked, traces)
    final = _values(tunable, best)
    labels = [s.label for s in scenario.compiled.network.stocks]  # in the order of the rows
    low, high = estimate(search.samples).interval
    return Tuned(
        {k: compact(v, kinds, labels) for k, v in final.items()},
        search.lowest,
        search.evaluations,
        search.periods,
        half_width=0.5 * (high - low),
        seconds=time.perf_counter() - began,
        cpu_seconds=time.process_time() - cpu_began,
        history=search.history,
    )


class _Search:
    """Plays parameter sets, each once, until the budget is spent.

    lowest: cost of the best set played on all traces.
    samples: [traces] its cost per trace.
    left: sets on all traces that the budget still allows.
    reserve: of these, not to be spent now.
    """

    def __init__(
        self,
        scenario: Scenario,
        name: str,
        tunable: dict[str, Parameter],
        config: TuneConfig,
        progress: Progress,
    ) -> None:
        self._scenario, self._policy, self._tunable = scenario, policy_class(name), tunable
        self._seed, self._traces = config.seed, config.traces
        self.left, self.reserve = float(config.budget), 0.0
        self._progress = progress
        self._known: dict[tuple[int, bytes], float] = {}
        self._found: Floats | None = None
        self.lowest, self.samples = float("inf"), np.zeros(0)
        self.evaluations = self.periods = 0
        self.history: list[tuple[int, float]] = []

    def cost(self, x: Floats, traces: int) -> float:
        """Mean cost on the first `traces` episodes; infinite where the budget doesn't reach."""
        values = _values(self._tunable, x)
        key = traces, b"".join(v.tobytes() for v in values.values())
        price = traces / self._traces
        if key not in self._known and price <= self.left - self.reserve + 1e-9:
            scenario = self._scenario
            policy = self._policy(scenario.compiled, {k: v[:, None] for k, v in values.items()})
            result = play(scenario, policy, traces=traces, seed=self._seed, split="train")
            self._known[key] = cost = float(result.cost.mean())
            self.left -= price
            self.evaluations += 1
            self.periods += traces * (scenario.episode_length("train") + scenario.warm_up)
            if traces == self._traces and cost < self.lowest:
                self.lowest, self.samples, self._found = cost, result.cost.mean(axis=0), x.copy()
                self.history.append((self.evaluations, cost))
            self._progress.update(self.evaluations, f"cost {self.lowest:.5g}")
        return self._known.get(key, float("inf"))

    def best(self, x: Floats) -> Floats:
        """Return x, or what was better on all traces."""
        self.cost(x, self._traces)
        assert self._found is not None
        return self._found

    def descend(self, best: Floats, tiers: list[list[Floats]], traces: int) -> Floats:
        """Go along directions, both ways, as long as cost falls; a later tier only where no
        direction of an earlier one gets any further."""
        lowest, improved = self.cost(best, traces), True
        while improved:
            improved = False
            for directions in tiers:
                for direction in directions:
                    for move in (direction, -direction):
                        while (new := self.cost(trial := best + move, traces)) < lowest:
                            best, lowest, improved = trial, new, True
                if improved:
                    break
        return best


def stock_classes(scenario: Scenario, classes: str) -> NDArray[np.str_]:
    """Return the class of every pair [P]: pairs of one class move together.

    kind: the node kind.
    abc: within it, by demand x holding cost per period: the pairs that make up the first 80 % are
        A, the next 15 % B, the rest C.
    sku: node kind and SKU.
    pair: each alone.
    Raises ConfigError for another name.
    """
    if classes not in CLASSES:
        raise ConfigError(
            f"tune.classes is '{classes}'; expected one of {', '.join(CLASSES)}."
            f"{did_you_mean(classes, CLASSES)}"
        )
    net = scenario.compiled
    kind_of = {n.id: n.kind for n in net.agent_nodes}
    stocks = net.network.stocks
    kinds = np.array([str(kind_of[s.node]) for s in stocks])
    if classes == "sku":
        return np.array([f"{kind}/{s.sku}" for kind, s in zip(kinds, stocks, strict=True)])
    if classes == "pair":
        return np.array([s.label for s in stocks])
    if classes == "kind":
        return kinds
    value = net.demand.mean * net.arrays.stocks.holding_cost
    letters = np.full(len(stocks), "C")
    for kind in dict.fromkeys(kinds):
        rows = np.flatnonzero(kinds == kind)
        rows = rows[np.argsort(-value[rows], kind="stable")]
        total = float(value[rows].sum())
        before = (np.cumsum(value[rows]) - value[rows]) / total if total > 0.0 else value[rows]
        letters[rows] = np.where(before < 0.8, "A", np.where(before < 0.95, "B", "C"))
    return np.char.add(np.char.add(kinds, "/"), letters)


def _searchable(parameter: Parameter) -> Parameter:
    """Where demand has no spread, and so no step: a quarter of the textbook value is one."""
    if parameter.scale is None:
        return parameter
    scale = np.where(parameter.scale > 0.0, parameter.scale, 0.25 * np.abs(parameter.start))
    return replace(parameter, scale=scale)


def _axes(tunable: dict[str, Parameter], groups: NDArray[np.str_]) -> list[Floats]:
    """Return [K, P] of zeros and ones per (parameter, class) that can be searched."""
    axes = []
    for k, parameter in enumerate(tunable.values()):
        for group in dict.fromkeys(groups) if parameter.scale is not None else ():
            axis = np.zeros((len(tunable), len(groups)))
            axis[k] = groups == group
            axes.append(axis)
    return axes


def _together(tunable: dict[str, Parameter], singles: list[Floats]) -> list[Floats]:
    """Return, per parameter, moves of several classes by the same number of units: of the first
    classes, of the last ones, of all. Echelon levels of a chain need that: raising the stock of one
    stage raises the levels of all above, and one level alone is only in the others' way."""
    moved: dict[int, list[Floats]] = {}
    for single in singles:
        moved.setdefault(int(single.any(axis=1).argmax()), []).append(single)
    directions = []
    for k, moves in moved.items():
        parameter = list(tunable.values())[k]
        scale = parameter.scale
        if not 1 < len(moves) <= _MOST_PAIRS or scale is None or not (scale > 0.0).all():
            continue
        units = [float((move[k] * scale).max()) for move in moves]
        step = max(min(units), 1.0) if parameter.whole else min(units)
        even = [move * (step / unit) for move, unit in zip(moves, units, strict=True)]
        parts = range(2, len(even))
        sets = [even, *(even[:i] for i in parts), *(even[-i:] for i in parts)]
        directions += [np.sum(one, axis=0) for one in sets]
    return directions


def _pairs(singles: list[Floats], ratios: tuple[float, ...]) -> list[Floats]:
    """Return a + r b and a - r b of two directions: of all where they are few, else of one class.

    Ratio 0.5 is b + 2 a: halves of a whole unit would be rounded away.
    """
    related: dict[bytes, list[Floats]] = {}
    for single in singles:
        key = single.any(axis=0).tobytes() if len(singles) > _MOST_PAIRS else b""
        related.setdefault(key, []).append(single)
    return [
        max(1.0, 1.0 / ratio) * (a + sign * ratio * b)
        for group in related.values()
        for a, b in itertools.combinations(group, 2)
        for ratio in ratios
        for sign in (1.0, -1.0)
    ]


def _step(tunable: dict[str, Parameter], axis: Floats, step: float) -> float:
    """Return the step, or one unit where whole numbers would round it away."""
    k = int(axis.any(axis=1).argmax())
    parameter = list(tunable.values())[k]
    if not parameter.whole or parameter.scale is None:
        return step
    scale = parameter.scale[axis[k] > 0.0]
    return max(step, 1.0 / float(scale.max())) if scale.max() > 0.0 else step


def _halves(tunable: dict[str, Parameter], axes: list[Floats]) -> list[Floats]:
    """Return moves of a little over half a unit of the widest scale, where whole numbers of several
    scales move together: they move some pairs by one and leave the others."""
    moves = []
    for axis in axes:
        k = int(axis.any(axis=1).argmax())
        parameter = list(tunable.values())[k]
        if parameter.whole and parameter.scale is not None:
            scale = parameter.scale[axis[k] > 0.0]
            if 0.0 < scale.max() > scale.min():
                moves.append(axis * (0.51 / scale.max()))
    return moves


def _values(tunable: dict[str, Parameter], x: Floats) -> dict[str, Floats]:
    return {key: tunable[key].moved(row) for key, row in zip(tunable, x, strict=True)}


def compact(values: Floats, kinds: NDArray[np.str_], labels: list[str]) -> dict[str, float]:
    """[P] -> one number per node kind where its pairs agree, else one per pair, by label."""
    compact: dict[str, float] = {}
    for kind in dict.fromkeys(kinds):
        rows = np.flatnonzero(kinds == kind)
        if np.ptp(values[rows]) < 1e-12:
            compact[str(kind)] = float(values[rows[0]])
        else:
            compact.update({labels[row]: float(values[row]) for row in rows})
    return compact
