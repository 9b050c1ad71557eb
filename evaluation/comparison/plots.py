"""Pictures of a comparison: stock and orders over time, cost by column, key figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from envs.scenario import Scenario
from evaluation.comparison.compare import Comparison
from evaluation.comparison.rollout import Timeline, record_timeline
from evaluation.comparison.time_axis import label_periods
from evaluation.comparison.units import cost_unit

_KPIS = ("fill_rate", "ready_rate", "cycle_service_level")


def draw_all(comparison: Comparison, folder: Path) -> list[Path]:
    """Draw every picture into the folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    timelines = {
        e.competitor.name: record_timeline(
            comparison.scenario, e.competitor, comparison.seed, comparison.split
        )
        for e in comparison.policies
    }
    figures = {
        "stock_and_orders": _stock_and_orders(comparison, timelines),
        "cost_by_column": _cost_by_column(comparison),
        "kpis": _kpis(comparison),
    }
    return [save_figure(figure, folder / f"{name}.png") for name, figure in figures.items()]


class Curve(Protocol):
    """A training run, as far as its curve goes."""

    curve: list[tuple[int, float, float, float]]
    base_validation_cost: float
    scenario: Scenario


def draw_learning_curve(run: Curve, folder: Path) -> Path:
    """Draw validation cost against wall time and simulated periods, the base policy as a line."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _, seconds, periods, cost = zip(*run.curve, strict=True)
    for axis, x, label in ((left, seconds, "seconds"), (right, periods, "simulated periods")):
        axis.plot(x, cost, marker=".", label="learned")
        axis.axhline(run.base_validation_cost, linestyle="--", color="0.4", label="base policy")
        axis.set_xlabel(label)
    left.set_ylabel(f"validation cost [{cost_unit(run.scenario)}]")
    right.legend(fontsize="small")
    return save_figure(figure, folder / "learning_curve.png")


def draw_gain(gains: Sequence[tuple[int, float, float, float]], folder: Path) -> Path:
    """Draw what is saved of the base policy's cost on the same validation traces.

    gains: iteration, share saved, and the ends of its 95 % interval.
    """
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axis = figure.subplots()
    iteration, gain, low, high = zip(*gains, strict=True)
    axis.fill_between(iteration, low, high, alpha=0.25, label="95 % interval")
    axis.plot(iteration, gain, marker=".", label="saved, paired")
    axis.axhline(0.0, linestyle="--", color="0.4", label="base policy")
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.set_xlabel("iteration")
    axis.set_ylabel("share of the base policy's cost")
    axis.legend(fontsize="small")
    return save_figure(figure, folder / "paired_gain.png")


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG; return its path."""
    FigureCanvasAgg(figure).print_figure(str(path), dpi=110, bbox_inches="tight")
    return path


def _stock_and_orders(comparison: Comparison, timelines: dict[str, Timeline]) -> Figure:
    first = next(iter(timelines.values()))
    kinds = list(first.on_hand)
    figure = Figure(figsize=(10, 2.6 * len(kinds)), layout="constrained")
    axes = figure.subplots(len(kinds), 2, squeeze=False, sharex=True)
    for row, kind in enumerate(kinds):
        for name, line in timelines.items():
            axes[row, 0].plot(line.on_hand[kind], label=name, linewidth=1.2)
            axes[row, 1].plot(line.ordered[kind], label=name, linewidth=1.0)
        axes[row, 1].plot(first.demand, ":", color="0.5", label="demand")
        axes[row, 0].set_ylabel(f"{kind} [units]")
        axes[row, 0].set_title("stock on hand" if row == 0 else "")
        axes[row, 1].set_title("ordered" if row == 0 else "")
    for axis in axes[-1]:
        label_periods(axis, comparison.scenario, first.first, len(first.demand), " of trace 0")
    axes[0, 1].legend(fontsize="small")
    return figure


def _cost_by_column(comparison: Comparison) -> Figure:
    figure = Figure(figsize=(1.6 + 1.6 * len(comparison.policies), 4), layout="constrained")
    axis = figure.subplots()
    names = [e.competitor.name for e in comparison.policies]
    columns = [e.kpis.cost_columns() for e in comparison.policies]
    upper, lower = np.zeros(len(names)), np.zeros(len(names))
    for column in dict.fromkeys(c for one in columns for c in one):
        values = np.array([one.get(column, 0.0) for one in columns])
        bottom = np.where(values >= 0, upper, lower)
        axis.bar(names, values, bottom=bottom, label=column.replace("_", " "))
        upper += np.maximum(values, 0)
        lower += np.minimum(values, 0)
    means = [e.cost.mean for e in comparison.policies]
    errors = [
        e.cost.half_width if np.isfinite(e.cost.half_width) else 0.0 for e in comparison.policies
    ]
    axis.errorbar(names, means, yerr=errors, fmt="k_", capsize=4, label="total, 95 % interval")
    axis.set_ylabel(cost_unit(comparison.scenario))
    axis.tick_params(axis="x", labelrotation=15)
    axis.legend(fontsize="small")
    return figure


def _kpis(comparison: Comparison) -> Figure:
    figure = Figure(figsize=(10, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    width = 0.8 / len(comparison.policies)
    for i, e in enumerate(comparison.policies):
        kpis = e.kpis.summary()
        left.bar(
            np.arange(len(_KPIS)) + i * width,
            [kpis[k] for k in _KPIS],
            width,
            label=e.competitor.name,
        )
        bullwhips = {k: v for k, v in kpis.items() if k.startswith("bullwhip_")}
        right.bar(np.arange(len(bullwhips)) + i * width, list(bullwhips.values()), width)
        labels = [k.removeprefix("bullwhip_") for k in bullwhips]
        right.set_xticks(np.arange(len(labels)) + 0.4 - width / 2, labels)
    left.set_xticks(np.arange(len(_KPIS)) + 0.4 - width / 2, [k.replace("_", " ") for k in _KPIS])
    left.set_ylim(0, 1.02)
    left.set_title("service")
    left.set_ylabel("share of units, periods, cycles")
    left.legend(fontsize="small", loc="lower right")
    right.set_title("bullwhip: CV² of orders / CV² of demand")
    return figure
